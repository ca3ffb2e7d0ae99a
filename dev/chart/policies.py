"""Check the chart's objects by checkov's policies: `make lint-chart`. The first argument is checkov's program."""

import subprocess
import sys
import tempfile
from pathlib import Path

from dev.chart.schema import CHART
from dev.cluster.golang import program

SKIPPED = {
    "CKV_K8S_11": "A CPU limit would throttle the operator where its node is idle; its memory is limited.",
    "CKV_K8S_15": "A tag of a release never moves, so IfNotPresent spares the registry. image.pullPolicy changes it.",
    "CKV_K8S_21": "Helm gives the namespace of the release; a template that named one could not be installed elsewhere.",
    "CKV_K8S_38": "The operator asks the API server, for which its pod needs a token. No other container has one.",
    "CKV_K8S_43": "image.digest and runtimeImages take digests; a release that is not built yet has none.",
}


def main() -> int:
    """Render the chart with all that is off by default, and return checkov's exit status."""
    values = CHART / "ci" / "everything-values.yaml"
    command: list[str | Path] = [
        program("helm"),
        "template",
        "onnxmodel-operator",
        CHART,
        "--skip-tests",
        "--values",
        values,
    ]
    manifests = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chart.yaml"
        path.write_text(manifests)
        options = [
            "--framework=kubernetes",
            "--compact",
            "--quiet",
            "--skip-download",
            f"--skip-check={','.join(SKIPPED)}",
        ]
        return subprocess.run([sys.argv[1], "--file", path, *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
