"""What the pods look like: safe, placed, and nothing can break out of its place in a template."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxmodel_operator import names
from onnxmodel_operator.api.spec.source import SecretKeyReference
from onnxmodel_operator.drift import needs_apply
from onnxmodel_operator.memo import Named
from onnxmodel_operator.observe.values import AS_SERVER
from onnxmodel_operator.platform.settings import Artifacts, Pool
from onnxmodel_operator.render import templates
from onnxmodel_operator.render.job import job_manifest
from onnxmodel_operator.render.parts import Owner
from onnxmodel_operator.render.templates import render_template
from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import Stage
from tests import contexts
from tests.builders import SETTINGS, Cluster, body


def pods(cluster):
    for key, item in cluster.objects.items():
        if key[0] in ("Job", "Deployment"):
            yield item["metadata"]["name"], item["spec"]["template"]


@pytest.fixture(scope="module")
def cluster():
    source = {"uri": "s3://models/m.onnx", "secretRef": {"name": "s3-credentials"}}
    made = Cluster(body(source=source, serving={"nodePool": "a100"}))
    made.live()
    return made


def test_every_pod_meets_the_restricted_standard(cluster):
    for name, template in pods(cluster):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_only_the_fetch_container_sees_the_credentials(cluster):
    for name, template in pods(cluster):
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            allowed = container["name"] == "fetch"
            assert ("s3-credentials" in json.dumps(container)) == allowed, f"{name}: {container['name']}"
        assert "s3-credentials" not in json.dumps(template["spec"]["volumes"])


@pytest.mark.parametrize("stage", list(Stage))
def test_the_stage_that_asks_for_a_public_key_gets_it(stage):
    known = contexts.at(stage)
    last = contexts.walk(replace(known, steps=())).context.steps[-1]
    step = replace(last, public_key=SecretKeyReference(name="keys", key="cosign.pub"))
    owner = Owner(known.model.namespace, known.model.name, "uid")
    for asked, expected in ((step, ["ONNXMODEL_PUBLIC_KEY"]), (replace(step, public_key=None), [])):
        job = job_manifest(owner, Named("m", (known.model.spec, asked, "[]", SETTINGS)))
        containers = job["spec"]["template"]["spec"]["containers"]
        assert [variable["name"] for variable in containers[0].get("env", ())] == expected


def test_everything_is_placed_on_the_pool_and_what_measures_or_serves_has_the_gpu(cluster):
    for name, template in pods(cluster):
        spec = template["spec"]
        assert spec["nodeSelector"] == {"pool": "a100"}, name
        assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
        (container,) = spec["containers"]
        has_gpu = container["resources"]["limits"].get("nvidia.com/gpu") == "1"
        assert has_gpu == (container["name"] in (*AS_SERVER, "server")), name
        assert container["image"] == ("runtime:cpu" if container["name"] in ("fetch", "validate") else "runtime:gpu")


def test_children_carry_own_labels_only_and_an_owner():
    model = body()
    model["metadata"]["labels"] = {"app.kubernetes.io/instance": "argo-app"}
    cluster = Cluster(model)
    cluster.live()
    for key, item in cluster.objects.items():
        if key[0] in ("Job", "Deployment", "Service", "PersistentVolumeClaim"):
            labels = item["metadata"]["labels"]
            assert "app.kubernetes.io/instance" not in labels
            assert labels[names.MANAGED_BY] == names.MANAGER
            assert item["metadata"]["ownerReferences"][0]["uid"] == "uid-magika"


@pytest.mark.parametrize("providers", [["CPU"], ["TensorRT", "CPU"]])
def test_the_server_is_told_how_requests_wait(providers):
    batching = {
        "maxBatchSize": 16,
        "maxQueueDelayMicroseconds": 300,
        "preferredBatchSizes": [8, 4, 8],
        "defaultTimeoutMicroseconds": 2000,
        "maxQueueSize": 7,
    }
    limits = {"limits": {"cpu": "5", "memory": "1Gi"}}
    pool = {"nodePool": "a100"} if "TensorRT" in providers else {}
    serving = {"batching": batching, "instances": 2, "resources": limits, "accessLog": True, **pool}
    cluster = Cluster(body(serving={"executionProviders": providers, **serving}, benchmark={"batchSizes": [1]}))
    cluster.live()
    pod = cluster.deployments()[0]["spec"]["template"]["spec"]
    request = loads(ServeRequest, pod["containers"][0]["args"][2])
    assert request.max_queue_delay_microseconds == 300
    assert request.preferred_batch_sizes == (4, 8)
    assert (request.default_timeout_microseconds, request.max_queue_size) == (2000, 7)
    assert (request.instances, request.providers.threads) == (2, 2), "the container's cores are shared by the instances"
    assert request.access_log
    (size,) = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "tmp"]
    assert (request.engine_cache, size) == (("/tmp/engines", "16Gi") if pool else ("", "1Gi"))


def test_what_ends_the_same_way_again_ends_the_job(cluster):
    spec = cluster.jobs()["validate"]["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    assert rules[0]["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert ExitCode.REFUSED in rules[1]["onExitCodes"]["values"]
    assert ExitCode.RETRY not in rules[1]["onExitCodes"]["values"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_volume_as_the_source_is_mounted_for_the_fetch_alone():
    cluster = Cluster(body(source={"uri": "pvc://my-claim/models/m.onnx"}))
    cluster.settle()
    spec = cluster.jobs()["validate"]["spec"]["template"]["spec"]
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "my-claim", "readOnly": True}} in spec["volumes"]
    assert {"name": "source", "mountPath": "/source", "readOnly": True} in spec["initContainers"][0]["volumeMounts"]
    assert "/source" not in [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]


def test_the_kubelet_finds_no_variable_to_expand_in_a_request():
    uri = "https://example.com/$(AWS_SECRET_ACCESS_KEY)/a$$b"
    cluster = Cluster(body(source={"uri": uri, "secretRef": {"name": "s3-credentials"}}))
    cluster.settle()
    args = cluster.jobs()["validate"]["spec"]["template"]["spec"]["initContainers"][0]["args"]
    assert "$" not in str(args)
    assert loads(FetchRequest, args[2]).uri == uri


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_no_value_breaks_out_of_its_place(text, selector):
    manifest = render_template("service.yaml.j2", meta={"name": text}, selector=selector, headless=False)
    assert manifest["metadata"] == {"name": text}
    assert manifest["spec"]["selector"] == selector
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}


def test_a_missing_value_is_an_error():
    with pytest.raises(Exception, match="'artifacts' is undefined"):
        render_template("claim.yaml.j2", meta={})


def test_a_template_is_followed_once_for_each_way_its_conditions_turn_out(monkeypatch):
    templates._courses.cache_clear()
    followed = []
    follow = templates._follow
    monkeypatch.setattr(templates, "_follow", lambda *given: followed.append(given) or follow(*given))

    def claim(name, **artifacts):
        return render_template("claim.yaml.j2", meta={"name": name}, artifacts=Artifacts(**artifacts))

    for name in ("a", "b"):
        assert "storageClassName" not in claim(name)["spec"]
        assert claim(name, storage_class_name=name)["spec"]["storageClassName"] == name
        assert claim(name, size="1Gi")["spec"]["resources"]["requests"]["storage"] == "1Gi"
        assert claim(name)["metadata"] == {"name": name}
    assert len(followed) == 2


def test_what_is_repeated_is_as_long_as_its_values(monkeypatch):
    templates._courses.cache_clear()
    for secrets in (["a"], ["b", "c"], [], ["d"]):
        images = SETTINGS.images.model_copy(update={"pull_secrets": tuple(secrets)})
        cluster = Cluster(body(), platform=SETTINGS.model_copy(update={"images": images}))
        cluster.settle()
        pod = cluster.jobs()["validate"]["spec"]["template"]["spec"]
        assert [secret["name"] for secret in pod.get("imagePullSecrets", ())] == secrets


@pytest.mark.parametrize("template", ["{{ a == 1 }}", "{{ a ~ b }}"])
def test_a_template_prints_values_as_they_are(template):
    """Whatever else it made of them would be of the values that came first."""
    place = templates._Place(("a",), 1, [])
    with pytest.raises(TypeError):
        templates._environment().from_string(template).render(a=place, b=place)


@pytest.mark.parametrize("name", ["m", "a" * 63])
def test_names_end_at_63_characters_and_differ(name):
    one, other = names.child(name, "benchmark", "0123abcd"), names.child(name[:-1] + "b", "benchmark", "0123abcd")
    assert len(one) <= 63
    assert one != other
    assert one.endswith("-benchmark-0123abcd")


def _deployment(**container):
    return {
        "kind": "Deployment",
        "metadata": {"name": "d", "annotations": {names.ANNOTATION_APPLIED: "1"}},
        "spec": {"replicas": 1, "containers": [{"name": "c", **container}]},
    }


def _job(label="m", **container):
    made = _deployment(**container)
    return {
        **made,
        "kind": "Job",
        "metadata": {**made["metadata"], "labels": {names.LABEL_MODEL: label} if label else {}},
    }


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        (_deployment(), None, True),
        (_deployment(), _deployment(), False),
        (_deployment(), _deployment(terminationMessagePath="/dev/termination-log"), False),
        (_deployment(resources={"limits": {"cpu": "1000m"}}), _deployment(resources={"limits": {"cpu": "1"}}), False),
        (_deployment(resources={"limits": {"cpu": "2"}}), _deployment(resources={"limits": {"cpu": "1"}}), True),
        (_deployment(env=[]), _deployment(), False),
        (_deployment(image="a"), _deployment(image="b"), True),
        (_deployment(selector={"a": "1"}), _deployment(selector={"a": "1", "b": "2"}), True),
        (_deployment(env={"a": "1"}), _deployment(env={"a": "1", "b": "2"}), False),
        (_deployment(args=["a"]), _deployment(args=["a", "b"]), True),
        (_job(), _job(image="b"), False),
        (_job(), _job(label=""), True),
    ],
)
def test_drift(desired, live, expected):
    assert needs_apply(desired, live) is expected


def test_settings_of_pods_come_from_the_platform():
    quiet = SETTINGS.model_copy(
        update={
            "images": SETTINGS.images.model_copy(update={"pull_secrets": ("registry",)}),
            "pools": {
                "default": SETTINGS.pools["default"].model_copy(
                    update={
                        "runtime_class_name": "nvidia",
                        "priority_class_name": "high",
                        "affinity": {"nodeAffinity": {}},
                    }
                )
            },
        }
    )
    cluster = Cluster(body(), platform=quiet)
    cluster.live()
    for _, template in pods(cluster):
        spec = template["spec"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["runtimeClassName"] == "nvidia"
        assert spec["priorityClassName"] == "high"
        assert spec["affinity"]["nodeAffinity"] == {}


POD = {
    "labels": {"team": "search", "sidecar.istio.io/inject": "true", "kueue.x-k8s.io/queue-name": "mine"},
    "annotations": {"linkerd.io/inject": "enabled"},
    "serviceAccountName": "servers",
    "priorityClassName": "high",
    "imagePullSecrets": [{"name": "registry"}],
    "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
}


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_pods_carry_what_the_model_says_of_them(runtime):
    cluster = Cluster(body(serving={"pod": POD, "runtime": runtime}))
    cluster.live()
    kinds = set()
    for (kind, _, _), item in cluster.objects.items():
        if kind not in ("Job", "Deployment"):
            continue
        kinds.add(kind)
        template, serves = item["spec"]["template"], kind == "Deployment"
        labels, spec = template["metadata"]["labels"], template["spec"]
        assert labels["team"] == "search"
        assert labels[names.LABEL_MODEL] == item["metadata"]["labels"][names.LABEL_MODEL]
        # A proxy may join a server; a Job with one would not end.
        assert labels["sidecar.istio.io/inject"] == ("true" if serves else "false")
        assert template["metadata"]["annotations"]["linkerd.io/inject"] == ("enabled" if serves else "disabled")
        assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("servers", "high")
        assert spec["automountServiceAccountToken"] is False
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert "kueue.x-k8s.io/queue-name" not in labels
        assert (item["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "mine") is not serves
        if serves:
            (spread,) = spec["topologySpreadConstraints"]
            assert spread["labelSelector"] == {"matchLabels": item["spec"]["selector"]["matchLabels"]}
        else:
            assert "topologySpreadConstraints" not in spec
    assert kinds == {"Job", "Deployment"}


def test_gpus_of_a_pool_with_a_template_are_claims_of_all_that_would_have_the_gpu():
    pool = {"resourceClaimTemplateName": "one-gpu", "executionProviders": ["CUDA", "CPU"]}
    platform = SETTINGS.model_copy(update={"pools": {"default": Pool.model_validate(pool)}})
    cluster = Cluster(body(serving={"gpus": 2}), platform=platform)
    cluster.live()
    names_of = ["gpu-0", "gpu-1"]
    for name, template in pods(cluster):
        spec = template["spec"]
        stage = template["metadata"]["labels"].get(names.LABEL_STAGE)
        with_gpus = stage is None or stage in AS_SERVER
        claims = [{"name": each, "resourceClaimTemplateName": "one-gpu"} for each in names_of] if with_gpus else None
        assert spec.get("resourceClaims") == claims, name
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            asked = container["resources"].get("claims")
            assert asked == ([{"name": each} for each in names_of] if with_gpus else None)
            assert not {key for key in container["resources"]["limits"] if "/" in key or not key}


def test_the_account_of_the_source_is_that_of_jobs_that_fetch_and_its_token_that_of_the_fetch_alone():
    source = {"uri": "s3://models/m.onnx", "serviceAccountName": "reader", "env": {"AWS_REGION": "$(AWS_SECRET)"}}
    cluster = Cluster(body(source=source, serving={"pod": {"serviceAccountName": "servers"}}))
    cluster.live()
    fetching = 0
    for name, template in pods(cluster):
        spec, metadata = template["spec"], template["metadata"]
        containers = {c["name"]: c for c in (*spec.get("initContainers", ()), *spec["containers"])}
        env = {n: {v["name"]: v.get("value") for v in c.get("env", ())} for n, c in containers.items()}
        if "fetch" not in containers:
            assert spec["serviceAccountName"] == "servers", name
            assert "azure.workload.identity/use" not in metadata["labels"]
            continue
        fetching += 1
        others = {"validate", "pull", "push"}
        assert spec["serviceAccountName"] == "reader"
        assert spec["automountServiceAccountToken"] is False
        assert set(metadata["annotations"]["eks.amazonaws.com/skip-containers"].split(",")) == others
        assert set(metadata["annotations"]["azure.workload.identity/skip-containers"].split(";")) == others
        assert metadata["labels"]["azure.workload.identity/use"] == "true"
        assert env["fetch"] == {"ONNXMODEL_SECRET_AWS_REGION": "$$(AWS_SECRET)", "ONNXMODEL_IDENTITY": "used"}
        assert env["validate"] == {"ONNXMODEL_IDENTITY": "refused"}
    assert fetching == 1
