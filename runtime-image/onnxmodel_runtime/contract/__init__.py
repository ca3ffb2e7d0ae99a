"""The contract between the operator and the containers of the runtime image: requests, results and exit codes.

A request travels as one JSON argument (`onnxmodel STAGE --request JSON`), an outcome as the termination message.
The exit code alone decides what happens next: Kubernetes' podFailurePolicy sees nothing else.

The operator imports this package and nothing else of the runtime, so it uses the standard library only. Each stage has a
module with its request and result; `stages` is the table of them.
"""
