"""The ONNX Runtime server: one model by the Open Inference Protocol, over HTTP and gRPC.

`protocol` turns bytes into requests and answers into bytes, `scheduler` runs them, `http` and `grpc` are thin fronts.
"""
