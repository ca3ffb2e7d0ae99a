"""Renders docs/values.md, every value of the chart, from its schema."""

from dev.chart.schema import defaults, name_defaults, schema
from dev.docs import table
from onnxmodel_operator.api.crd import structural

_HEAD = """\
# Values of the chart

<!-- Generated from the operator's settings and dev/chart/own.yaml by `python -m dev.docs`. Do not edit. -->

`charts/onnxmodel-operator/values.schema.json` says the same to helm and to editors: helm refuses a wrong value, or one
that does not exist, with its path. What only the operator can check stops it at startup, and its log names the field.
[Install](install.md) explains the most important ones.

A **required** field is required within its parent. `[]` is an item of a list, `{}` a value of a map with arbitrary
keys. Kubernetes' own objects (tolerations, affinity) are passed on as they are.
"""


def render() -> str:
    """The whole page."""
    shown = structural(schema())
    name_defaults(shown, defaults())
    return f"{_HEAD}\n{table.of_fields(shown)}\n"
