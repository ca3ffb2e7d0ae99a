"""Turn a model, as the API server stores it, into what the page shows. Pure."""

from onnxmodel_page.view.detail import Detail, detail
from onnxmodel_page.view.row import Row, row

__all__ = ["Detail", "Row", "detail", "row"]
