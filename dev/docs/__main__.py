"""Entry point of `python -m dev.docs`."""

from pathlib import Path

from dev.docs import api, findings

DOCS = Path(__file__).parents[2] / "docs"

for page in (api, findings):
    target = DOCS / f"{page.__name__.rpartition('.')[2]}.md"
    target.write_text(page.render())
    print(f"{target.name}: {len(page.render())} characters")
