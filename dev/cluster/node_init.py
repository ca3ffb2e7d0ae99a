"""The first process of a node: it starts containerd and the kubelet, and ends when one of them does.

Runs as a program of its own, as process 1 of a process namespace and in a mount namespace that belongs to this node:

    python3 node_init.py FOLDER SOCKET -- CONTAINERD... -- KUBELET...

So a node is like a machine that can be switched off: when this process is killed, the kernel ends every container in it,
and their mounts, network namespaces and interfaces go with them. Nothing has to be found and cleaned up.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Paths that containerd, the network plugins and the kubelet insist on. Each node gets its own, which the machine's
# other containers, and the other node, do not see.
PRIVATE = ("/run", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers")


def main() -> int:
    """Start the node and stay until it ends."""
    folder, socket = Path(sys.argv[1]), Path(sys.argv[2])
    commands = sys.argv[4:]
    split = commands.index("--")
    for path in PRIVATE:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "node", path], check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    with (folder / "containerd.log").open("ab") as log:
        containerd = subprocess.Popen(commands[:split], stdout=log, stderr=log)
    while not socket.exists():
        if containerd.poll() is not None:
            return 1
        time.sleep(0.02)
    with (folder / "kubelet.log").open("ab") as log:
        kubelet = subprocess.Popen(commands[split + 1 :], stdout=log, stderr=log)

    while True:  # process 1 inherits the orphans of all others, and must take their exit codes
        pid, _ = os.wait()
        if pid in (containerd.pid, kubelet.pid):
            return 1


if __name__ == "__main__":
    sys.exit(main())
