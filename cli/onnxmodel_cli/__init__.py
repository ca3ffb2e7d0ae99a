"""The command line for people: `onnxmodel`, on a laptop, in CI and in a pod of the runtime image.

It is the only package that imports both the operator and the runtime. Neither of them imports it.
"""

VERSION = "0.1.0"
INTERRUPTED = 130
"""The exit code after SIGINT, as shells have it. Here, because an interrupt of the imports needs it too."""
