"""What a spec means on a platform: pools, providers, images, threads and resources, and what does not fit."""

from typing import Any

import pytest

from onnxmodel_operator.api.resource import SpecError
from onnxmodel_operator.platform.policy import PolicyError
from onnxmodel_operator.platform.resolve import Resolved, resolve
from onnxmodel_operator.platform.settings import Policy
from tests.builders import SETTINGS
from tests.contexts import model, platform


def _resolved(**serving: Any) -> Resolved:
    return resolve(model(serving=serving), SETTINGS)


GPU = {"nodePool": "a100"}


@pytest.mark.parametrize(
    ("serving", "providers", "image", "gpus"),
    [
        ({}, ("CPU",), "runtime:cpu", 0),
        (GPU, ("TensorRT", "CUDA", "CPU"), "runtime:gpu", 1),
        ({**GPU, "gpus": 4}, ("TensorRT", "CUDA", "CPU"), "runtime:gpu", 4),
        ({**GPU, "executionProviders": ["CUDA"]}, ("CUDA",), "runtime:gpu", 1),
        ({**GPU, "executionProviders": ["CPU"]}, ("CPU",), "runtime:cpu", 0),
        ({**GPU, "executionProviders": ["CPU"], "gpus": 1}, ("CPU",), "runtime:cpu", 1),
    ],
)
def test_what_serves_it(serving: Any, providers: tuple[str, ...], image: str, gpus: int) -> None:
    found = _resolved(**serving)
    assert (found.providers.names, found.server.image, found.server.gpus) == (providers, image, gpus)
    assert (found.client.image, found.client.gpus) == (image, 0)
    assert (found.validator.image, found.validator.gpus) == ("runtime:cpu", 0)
    assert found.client.pool is found.validator.pool is found.server.pool
    assert found.client.resources is found.validator.resources
    assert found.client.resources == SETTINGS.jobs.resources


@pytest.mark.parametrize(
    ("resources", "instances", "threads"),
    [
        (None, 1, 1),
        ({"limits": {"cpu": "4"}}, 1, 4),
        ({"limits": {"cpu": "4"}}, 2, 2),
        ({"limits": {"cpu": "4"}}, 3, 1),
        ({"limits": {"cpu": "1"}}, 4, 1),
        ({"limits": {"cpu": "3500m"}}, 1, 3),
        ({"limits": {}, "requests": {"cpu": "2"}}, 1, 2),
        ({"limits": {}, "requests": {}}, 1, 1),
    ],
)
def test_threads_are_an_instances_share_of_whole_cores(resources: Any, instances: int, threads: int) -> None:
    serving = {"instances": instances, **({"resources": resources} if resources is not None else {})}
    assert _resolved(**serving).providers.threads == threads


DEFAULT = SETTINGS.defaults.resources


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        (None, DEFAULT.requests, DEFAULT.limits),
        ({"limits": {"cpu": "2"}}, {}, {"cpu": "2"}),
        ({"requests": {"cpu": "500m"}}, {"cpu": "500m"}, DEFAULT.limits),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, {"cpu": "1"}, {"cpu": "2"}),
    ],
)
def test_resources_are_the_specs_or_the_platforms(given: Any, requests: Any, limits: Any) -> None:
    found = _resolved(**({"resources": given} if given else {})).server.resources
    assert (found.requests, found.limits) == (requests, limits)


@pytest.mark.parametrize(("runtime", "image"), [("onnxruntime", ""), ("triton", "triton:1")])
def test_triton_has_an_image_of_its_own(runtime: str, image: str) -> None:
    assert _resolved(runtime=runtime).triton == image


NO_TRITON = SETTINGS.images.model_copy(update={"triton": ""})
ONE, TWO = {"uri": "pvc://one/m.onnx"}, {"golden": {"uri": "pvc://two/g.npz"}}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"serving": {"nodePool": "x"}}, "spec.serving.nodePool",
         "there is no pool 'x'; the platform's pools are: a100, default"),
        ({"serving": {"executionProviders": ["CUDA"]}}, "spec.serving.executionProviders",
         "CUDA is not available: pool 'default' has no GPUs"),
        ({"serving": {**GPU, "executionProviders": ["OpenVINO"]}}, "spec.serving.executionProviders",
         "OpenVINO is not available: pool 'a100' offers TensorRT, CUDA, CPU"),
        ({"serving": {"gpus": 1}}, "spec.serving.gpus", "pool 'default' has no GPUs"),
        ({"serving": {**GPU, "gpus": 0}}, "spec.serving.gpus", "TensorRT needs at least 1 GPU"),
        ({"serving": {"providerOptions": {"CUDA": {"a": "b"}}}}, "spec.serving.providerOptions.CUDA", "CUDA is not one of CPU"),
        ({"serving": {"resources": {"requests": {"cpu": "2"}}}}, "spec.serving.resources.requests.cpu",
         "the request 2 exceeds the limit 1"),
        ({"source": ONE, "validation": TWO}, "spec.validation.golden.uri",
         "a model can be read from one PersistentVolumeClaim only, but one and two are named"),
        ({"serving": {"runtime": "triton"}}, "spec.serving.runtime",
         "the platform has no Triton image: set runtimeImages.triton in the chart's values"),
    ],
)  # fmt: skip
def test_what_does_not_fit(spec: Any, field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(model(**spec), platform(images=NO_TRITON))
    assert caught.value.fields == [(field, message)]
    assert not isinstance(caught.value, PolicyError)


def test_what_the_platform_forbids_comes_first() -> None:
    with pytest.raises(PolicyError):
        resolve(model(serving={"nodePool": "x"}), platform(policy=Policy(min_opset=99)))


def test_the_same_spec_and_settings_are_resolved_once() -> None:
    assert _resolved(**GPU).server is _resolved(**GPU).server
    assert resolve(model(), SETTINGS).server is not resolve(model(), platform(progress_deadline_seconds=5)).server
