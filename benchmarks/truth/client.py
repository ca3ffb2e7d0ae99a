"""Runs in a pod: perf_analyzer asks a model through its Service, with the rows that the benchmark used.

Arguments: host, model, then points as protocol:batch:callers. Prints one line of JSON for each.
"""

import csv
import json
import subprocess
import sys
import time

PORTS = {"http": 8000, "grpc": 8001}
WINDOWS = ("--measurement-interval=2000", "--max-trials=3", "--stability-percentage=999")  # three, whatever they say
SETTLE_SECONDS = 5  # the node is still busy with the pods that have come and gone
REPORT = "/dev/shm/report.csv"  # the only place where the pod can write


def measure(host: str, name: str, protocol: str, batch: str, callers: str) -> dict[str, float]:
    """p50 and p99 in milliseconds, and rows per second."""
    command = ["perf_analyzer", "-m", name, "-i", protocol, "-u", f"{host}:{PORTS[protocol]}", "-b", batch]
    command += [f"--concurrency-range={callers}", "--input-data=/files/rows.json", "-f", REPORT, *WINDOWS]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(done.stdout)
    with open(REPORT, newline="") as report:
        (row,) = csv.DictReader(report)
    latencies = {figure: float(row[f"{figure} latency"]) / 1000 for figure in ("p50", "p99")}
    return {**latencies, "throughput": float(row["Inferences/Second"])}


if __name__ == "__main__":
    time.sleep(SETTLE_SECONDS)
    host, name, *points = sys.argv[1:]
    for point in points:
        protocol, batch, callers = point.split(":")
        print(json.dumps({"point": point, **measure(host, name, protocol, batch, callers)}), flush=True)
