module onnx-operator.dev/addons/keda-operator

go 1.26.0

require github.com/kedacore/keda/v2 v2.20.2

replace github.com/google/cel-go => github.com/google/cel-go v0.26.0
replace github.com/prometheus/client_golang => github.com/prometheus/client_golang v1.23.2
replace github.com/prometheus/client_model => github.com/prometheus/client_model v0.6.2
replace github.com/prometheus/common => github.com/prometheus/common v0.66.1
replace github.com/prometheus/prometheus => github.com/prometheus/prometheus v0.304.2
replace k8s.io/api => k8s.io/api v0.35.5
replace k8s.io/apiextensions-apiserver => k8s.io/apiextensions-apiserver v0.35.5
replace k8s.io/apimachinery => k8s.io/apimachinery v0.35.5
replace k8s.io/apiserver => k8s.io/apiserver v0.35.5
replace k8s.io/client-go => k8s.io/client-go v0.35.5
replace k8s.io/code-generator => k8s.io/code-generator v0.35.5
replace k8s.io/component-base => k8s.io/component-base v0.35.5
replace k8s.io/gengo/v2 => k8s.io/gengo/v2 v2.0.0-20250922181213-ec3ebc5fd46b
replace k8s.io/kube-openapi => k8s.io/kube-openapi v0.0.0-20250910181357-589584f1c912
replace k8s.io/metrics => k8s.io/metrics v0.35.5
replace sigs.k8s.io/controller-runtime => sigs.k8s.io/controller-runtime v0.23.3
