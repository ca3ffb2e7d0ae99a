"""Names of the stages, for tests that walk through them by the table."""

from onnxmodel_runtime.contract.stages import STAGES

UNSERVED = tuple(stage.value for stage, row in STAGES.items() if not row.asks_server)
"""Those that come before a server."""
SERVED = tuple(stage.value for stage, row in STAGES.items() if row.asks_server)
"""Those that ask the server of a revision."""
