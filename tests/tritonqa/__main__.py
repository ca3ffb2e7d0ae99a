"""Run the suites of a checkout of Triton's server, and say what passes."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.tritonqa.servers import GrpcProxy, HttpProxy, Servers
from tests.tritonqa.suites import SUITES, Suite

TIMEOUT_SECONDS = 540


def run(suite: Suite, qa: Path, scratch: Path) -> dict[str, str]:
    """Whether each test passed: "" or what went wrong, by its name."""
    servers = Servers(suite.models(qa, scratch / "models"))
    http, grpc = HttpProxy(servers), GrpcProxy(servers)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        folder = _copied(qa, suite, scratch, http.server_address[1], grpc.port)
        report = scratch / "report.json"
        environment = {
            **os.environ,
            "BACKENDS": "onnx",
            "ENSEMBLES": "0",
            "TRITON_SERVER_CPU_ONLY": "1",
            "TRITONSERVER_IPADDR": "127.0.0.1",
        }
        command = [sys.executable, str(Path(__file__).with_name("driver.py")), suite.file, str(report), *suite.never]
        with (scratch / "log").open("wb") as log:
            ended = subprocess.run(
                command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=TIMEOUT_SECONDS, check=False
            )
        if ended.returncode:
            raise RuntimeError(f"{suite.name} did not run: {(scratch / 'log').read_text()[-2000:]}")
        return {**json.loads(report.read_text()), **dict.fromkeys(suite.never, "not tried")}
    finally:
        http.shutdown()
        http.server_close()
        grpc.stop()
        servers.stop()


def _copied(qa: Path, suite: Suite, scratch: Path, http: int, grpc: int) -> Path:
    """The suite's own files, which have ports written into them."""
    for name in ("common", suite.name):
        into = scratch / "qa" / name
        into.mkdir(parents=True)
        for file in (qa / name).glob("*.py"):
            text = file.read_text().replace(":8000", f":{http}").replace(":8001", f":{grpc}")
            (into / file.name).write_text(text)
    return scratch / "qa" / suite.name


def main(arguments: Sequence[str] | None = None, suites: Sequence[Suite] = SUITES) -> int:
    """0 where every test passes but for those that are known to be out of scope, and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/triton-inference-server/server")
    parser.add_argument("suites", nargs="*", help="names of suites; all without any")
    asked = parser.parse_args(arguments)
    qa = asked.checkout / "qa"
    if not (qa / "common" / "infer_util.py").is_file():
        parser.error(f"{asked.checkout} is no checkout of Triton's server: it has no qa/common/infer_util.py")
    bad = 0
    for suite in suites:
        if asked.suites and suite.name not in asked.suites:
            continue
        with tempfile.TemporaryDirectory(prefix="triton-qa-") as folder:
            results = run(suite, qa, Path(folder))
        passed = [name for name, wrong in results.items() if not wrong]
        print(f"{suite.name}: {len(passed)} of {len(results)} pass", flush=True)
        for name, wrong in results.items():
            if wrong and name not in suite.out:
                print(f"  FAILED {name}: {wrong[:300]}")
                bad += 1
            elif wrong:
                print(f"  out of scope: {name}: {suite.out[name]}")
            elif name in suite.out:
                print(f"  PASSED although it is said to be out of scope: {name}")
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
