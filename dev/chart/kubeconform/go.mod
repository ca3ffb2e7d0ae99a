// What checks the chart against the schemas of an API server (dev/chart/conform.py).
module onnx-operator.dev/kubeconform

go 1.26

require github.com/yannh/kubeconform v0.8.0

