// KServe's controller, that the operator is measured beside. It is built in its own module, with its own requirements.
module example.com/kserve

go 1.26.0

require github.com/kserve/kserve v0.20.0
