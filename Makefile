# One command per need; `make` alone lists them. Everything that is installed goes into .venv, everything that is built
# into a cache outside the clone (dev/cluster/README.md).
#
# CLUSTER=current|kind|embedded chooses the cluster; unset, it is kind where docker runs and the embedded one elsewhere.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
LOCAL  := $(PYTHON) -m dev.cluster
# What a lock names, and nothing else: pip neither resolves nor builds, and then says whether the lock was whole.
FROM_LOCK := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: -r
CHECK     := -m pip check --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup ready cluster kubeconfig images build down demo upload toy digits bench-optimize bench-memory bench-dataplane bench-fronts bench-compare bench-threads bench-page bench-truth bench-controlplane triton-qa unit integration e2e test test-addons test-faults lint lint-chart fmt crds lock sbom audit

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9 -]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the packages for development and tests

# ensurepip is what Debian leaves out of python3: it comes with python3-venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv python3-pip; }
	@$(PYTHON) -m venv $(VENV)

$(READY): locks/dev.txt pyproject.toml | $(BIN)/python
	@echo "setup: installing locks/dev.txt into $(VENV) ..."
	@$(BIN)/python $(FROM_LOCK) locks/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python $(CHECK) || { echo "setup: if $(VENV) has packages of an older lock, remove it and run make setup again"; exit 1; }
	@touch $@
	@echo "setup: done"

cluster: ## start the local Kubernetes (a healthy one is left alone)
	@$(LOCAL) up

kubeconfig: ## print the path of its kubeconfig
	@$(LOCAL) kubeconfig

images: ## build the images, load them into the cluster and print their names
	@$(LOCAL) images

down: ## stop the local Kubernetes and leave nothing behind
	@$(LOCAL) down

build: | $(BIN)/python ## build the local Kubernetes, the tools and the images
	@$(LOCAL) build

# At once: the one waits for downloads, the other needs the cores.
ready:
	@$(MAKE) --no-print-directory --jobs=2 setup build

demo: ready ## run the demo in the local Kubernetes: from nothing to an answered inference
	@$(BIN)/python -m examples.magika.demo

upload: setup ## upload your own model to the demo's S3 store: make upload FILE=model.onnx KEY=mine/model.onnx
	@test -f "$(FILE)" && test -n "$(KEY)" || { echo 'FILE must be a file, and KEY its place in the store: make upload FILE=model.onnx KEY=mine/model.onnx'; exit 2; }
	@$(BIN)/python -m examples.magika.demo "$(FILE)" "$(KEY)"

toy digits: ## export the model of examples/toy (PyTorch) or examples/digits (scikit-learn) again
	@$(LOCAL) files examples/$@

# Checked before Olive itself comes: it asks for torch and does nothing with it here (docs/benchmarks/optimizer.md).
build/olive: benchmarks/optimize/olive.txt benchmarks/optimize/olive-ai.txt
	@$(PYTHON) -m venv --clear $@
	@$@/bin/python $(FROM_LOCK) $<
	@$@/bin/python $(CHECK)
	@$@/bin/python $(FROM_LOCK) benchmarks/optimize/olive-ai.txt
	@touch $@

bench-optimize: setup build/olive ## compare our variants with plain ONNX Runtime and Olive, into docs/benchmarks/optimizer.md
	@$(BIN)/python -m benchmarks.optimize --write docs/benchmarks/optimizer.md

bench-memory: setup ## measure memory and time of the optimize stage for each variant
	@$(BIN)/python -m benchmarks.memory

build/dataplane: $(wildcard benchmarks/dataplane/peers/*.txt)
	@mkdir -p $@
	@for peer in kserve mlserver triton; do \
		$(PYTHON) -m venv --clear $@/$$peer \
			&& $@/$$peer/bin/python $(FROM_LOCK) benchmarks/dataplane/peers/$$peer.txt \
			&& $@/$$peer/bin/python $(CHECK) || exit 1; done
	@touch $@

bench-dataplane: setup build/dataplane ## compare our server with ONNX Runtime alone, Triton, KServe and MLServer
	@$(BIN)/python -m benchmarks.dataplane --write docs/benchmarks/dataplane.md

build/fronts: benchmarks/fronts/peers.txt
	@$(PYTHON) -m venv --clear $@
	@$@/bin/python $(FROM_LOCK) $<
	@$@/bin/python $(CHECK)
	@touch $@

bench-fronts: setup build/fronts ## compare the server's front end with uvicorn, granian, pyvoy and grpcio
	@$(BIN)/python -m benchmarks.fronts

bench-compare: setup ## measure what comparing live answers costs a server, into docs/benchmarks/compare.md
	@$(BIN)/python -m benchmarks.compare --write docs/benchmarks/compare.md

bench-threads: setup ## measure the cost of ONNX Runtime's spinning threads under CPU limits, for docs/serving.md
	@$(BIN)/python -m benchmarks.threads

bench-page: setup ## measure the page with 3,000 models in a real Chromium, for docs/page.md
	@$(BIN)/python -m benchmarks.page

bench-truth: ready ## compare the status with what a client measures through the Service, for both runtimes
	@$(BIN)/python -m benchmarks.truth

bench-controlplane: setup ## measure the operator's cost, next to KServe's controller: make bench-controlplane MODELS="5000 10000"
	@$(BIN)/python -m benchmarks.controlplane --models $(MODELS) --write docs/benchmarks/controlplane.md

triton-qa: setup ## run Triton's own qa suites against our server: make triton-qa TRITON=path/to/its/checkout
	@test -d "$(TRITON)/qa" || { echo 'TRITON must be a checkout of github.com/triton-inference-server/server'; exit 2; }
	@$(BIN)/python -m tests.tritonqa "$(TRITON)"

unit: setup ## run the tests that need no cluster; those of one package, in seconds: make unit TESTS=tests/unit/operator/plan
	@$(BIN)/python -m pytest $(or $(TESTS),tests/unit tests/lives tests/frozen)

integration: setup ## run the tests against a real API server without pods
	@$(BIN)/python -m pytest tests/integration

e2e: ready ## tests with real pods
	@$(LOCAL) build --tests
	@$(BIN)/python -m pytest tests/e2e

# By two workers (tests/conftest.py), the longest first: it waits for pods most of the time, and the others run beside it.
test: ready ## run all tests
	@$(LOCAL) build --tests
	@$(BIN)/python -m pytest --numprocesses=2 --dist=loadscope --no-loadscope-reorder tests/e2e tests/integration tests/frozen tests/lives tests/unit

# Not part of `make test`: the first build of the add-ons takes many minutes.
test-addons: ready ## run the operator with real add-ons (Envoy Gateway, Prometheus, KEDA, Flux, Argo CD) on the local Kubernetes
	@$(BIN)/python -m dev.addons
	@$(BIN)/python -m pytest $(or $(TESTS),tests/addons)

# Not part of `make test`: for nightly runs. By two workers, each with an API server of its own. One fault alone: .venv/bin/python -m pytest tests/faults -k etcd-paused
test-faults: setup ## inject each fault at each moment of a life on a real API server, and try 2,000 sequences of specs, into docs/benchmarks/faults.md; then fuzz HTTP/2
	@ONNXMODEL_SEQUENCES=2000 $(BIN)/python -m pytest --numprocesses=2 --dist=loadscope tests/faults tests/lives/test_sequences.py --figures docs/benchmarks/faults.md
	@ONNXMODEL_FRAMES=20000 $(BIN)/python -m pytest tests/unit/runtime/server/http2/test_fuzz.py

lint: setup ## check format, style, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

build/checkov: dev/chart/checkov.txt
	@$(PYTHON) -m venv --clear $@
	@$@/bin/python $(FROM_LOCK) $<
	@$@/bin/python $(CHECK)
	@touch $@

lint-chart: setup build/checkov ## check the chart's objects by checkov's policies
	@$(BIN)/python -m dev.chart.policies build/checkov/bin/checkov

fmt: setup ## format the sources
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

crds: setup ## generate the CRD from the pydantic models
	@$(BIN)/python -m onnxmodel_operator.api.crd .

lock: setup ## resolve the dependencies again, keeping the versions that fit (python -m locks --upgrade takes the newest)
	@$(BIN)/python -m locks

sbom: setup ## write the bill of materials of each image, from its lock, into build/sbom
	@mkdir -p build/sbom
	@for image in operator runtime-cpu runtime-gpu; do \
		$(BIN)/python -m locks.sbom $$image > build/sbom/$$image.cdx.json || exit 1; done

# Not part of `make test`: what is published about a dependency must not make yesterday's commit fail.
audit: setup ## look up every release in the images' locks in OSV's advisories (needs the network)
	@$(BIN)/python -m locks.audit
