"""`python -m tests.faults.forked ARGUMENTS`: an operator with these arguments for each line that it reads, and its pid on a line.

Each is a process of its own, forked from one that has imported everything: it begins in a moment, however often it is killed.
"""

import contextlib
import os
import signal
import sys

import onnxmodel_operator.__main__ as operator


def main() -> None:
    """Until standard input ends, and the last operator with it. The others are killed by others, and nobody waits for them."""
    pid = 0
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os._exit(operator.main())
        print(pid, flush=True)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
