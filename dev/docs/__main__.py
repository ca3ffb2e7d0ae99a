"""Entry point of `python -m dev.docs`."""

from pathlib import Path

from dev.chart import dashboards
from dev.chart.schema import CHART
from dev.chart.schema import render as values_schema
from dev.docs import api, findings, values

DOCS = Path(__file__).parents[2] / "docs"

made = {DOCS / f"{page.__name__.rpartition('.')[2]}.md": page.render() for page in (api, findings, values)}
made[CHART / "values.schema.json"] = values_schema()
made |= {CHART / "dashboards" / name: text for name, text in dashboards.files().items()}
for target, text in made.items():
    target.write_text(text)
    print(f"{target.name}: {len(text)} characters")
