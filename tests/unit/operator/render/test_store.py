"""Artifacts in a bucket or a registry: which container of a pod holds credentials, what each brings, and what it leaves."""

import json

import pytest

from dev.results import good, stage_container
from onnxmodel_operator.platform import settings
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant
from onnxmodel_runtime.contract.outcome import Outcome, decode, encode
from onnxmodel_runtime.contract.stages import MOVING, REPOSITORY, SERVE, STAGES
from tests.builders import SETTINGS, Cluster, body

S3 = {"endpoint": "http://s3.storage.svc:7070", "bucket": "artifacts", "secretRef": {"name": "artifact-store"}}
BUCKET = settings.parse(
    {**SETTINGS.model_dump(mode="json", by_alias=True), "artifacts": {"store": "s3", "s3": S3, "size": "3Gi"}}
)
OCI = {"repository": "registry.example.com/artifacts", "secretRef": {"name": "artifact-store"}}
REGISTRY = settings.parse(
    {**SETTINGS.model_dump(mode="json", by_alias=True), "artifacts": {"store": "oci", "oci": OCI, "size": "3Gi"}}
)
SOURCE = {"uri": "s3://models/m.onnx", "secretRef": {"name": "source-keys"}}
ROLE = "arn:aws:iam::111122223333:role/artifacts-$namespace"
AUTHORITY = {"name": "store-ca"}
AWS = {"bucket": "artifacts", "region": "eu-west-1", "webIdentity": {"roleArn": ROLE}}
OWN = {**S3, "secretRef": None, "webIdentity": {"roleArn": ROLE, "audience": "store", "caConfigMapRef": AUTHORITY}}


def stored(s3: dict[str, object]) -> settings.Settings:
    """The platform with a bucket of its own."""
    return settings.parse({**SETTINGS.model_dump(mode="json", by_alias=True), "artifacts": {"store": "s3", "s3": s3}})


def served(runtime: str = "onnxruntime", platform: settings.Settings = BUCKET, **source: str) -> Cluster:
    """A Ready model, whose Jobs are still there."""
    cluster = Cluster(body(source={**SOURCE, **source}, serving={"runtime": runtime}), platform=platform)
    cluster.live()
    return cluster


def pods(cluster):
    """The pod of each Job and Deployment, by what it is."""
    jobs = {stage: job["spec"]["template"]["spec"] for stage, job in cluster.jobs().items()}
    return jobs | {"server": cluster.deployments()[-1]["spec"]["template"]["spec"]}


def asked(container):
    return json.loads(container["args"][container["args"].index("--request") + 1])


@pytest.mark.parametrize("platform", [BUCKET, REGISTRY])
@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_no_container_both_holds_a_credential_and_parses_a_model(runtime, platform):
    """What moves bytes has the credentials of one place each; what parses has none, by variable, file or volume."""
    seen = set()
    for pod in pods(served(runtime, platform)).values():
        containers = (*pod.get("initContainers", ()), *pod["containers"])
        for container in containers:
            secrets = {each["secretRef"]["name"] for each in container.get("envFrom", ())}
            expected = {"fetch": {"source-keys"}, "pull": {"artifact-store"}, "push": {"artifact-store"}}
            assert secrets == expected.get(container["name"], set()), container["name"]
            assert (container["name"] in MOVING) == (container["args"][0] in MOVING)
            assert "artifact-store" not in json.dumps(container.get("env", ""))
            seen.add(container["name"])
        assert pod["automountServiceAccountToken"] is False
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}
    assert {"fetch", "pull", "push", "server", *STAGES} <= seen


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
@pytest.mark.parametrize(
    ("s3", "variables", "token"),
    [
        (AWS, {"AWS_DEFAULT_REGION": "eu-west-1"}, {"audience": "sts.amazonaws.com"}),
        (OWN, {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_STS": S3["endpoint"]}, {"audience": "store"}),
    ],
)
def test_a_token_of_the_account_is_in_the_containers_that_move_bytes_alone(runtime, s3, variables, token):
    """No key, no variable and no mount of it elsewhere, and a webhook is asked to add none."""
    expected = {
        "AWS_ROLE_ARN": ROLE.replace("$namespace", "team-a"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/onnx-operator.dev/token",
        **variables,
    }
    cluster = served(runtime, stored(s3))
    for name, pod in pods(cluster).items():
        containers = (*pod.get("initContainers", ()), *pod["containers"])
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "store-token"]
        told = {"path": "token", "expirationSeconds": 3600, **token}
        assert volume["projected"] == {"sources": [{"serviceAccountToken": told}]}
        for container in containers:
            mounted = [mount for mount in container["volumeMounts"] if mount["name"] == "store-token"]
            given = {each["name"]: each.get("value") for each in container.get("env", ())}
            if container["name"] in ("pull", "push"):
                assert mounted == [
                    {"name": "store-token", "mountPath": "/var/run/secrets/onnx-operator.dev", "readOnly": True}
                ]
                assert given == expected | ({"ONNXMODEL_SECRET_CA_CERTIFICATES": None} if s3 is OWN else {})
                assert "envFrom" not in container
            else:
                assert not mounted
                assert not [variable for variable in given if variable.startswith("AWS_")]
                looks = container["args"][0] in (*STAGES, SERVE, REPOSITORY)  # all that parse, but Triton's own image
                assert (given.get("ONNXMODEL_IDENTITY") == "refused") is looks
        template = (cluster.deployments()[-1] if name == "server" else cluster.jobs()[name])["spec"]["template"]
        skipped = template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"].split(",")
        assert {container["name"] for container in containers} <= set(skipped)
    assert "artifact-store" not in json.dumps([*cluster.jobs().values(), *cluster.deployments()])


def test_a_fetch_keeps_its_own_role_beside_that_of_the_store():
    cluster = served(platform=stored(AWS), serviceAccountName="reader")
    template = cluster.jobs()["validate"]["spec"]["template"]
    assert template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == "validate,pull,push"
    assert template["spec"]["serviceAccountName"] == "reader"


def test_the_certificate_authority_of_a_store_without_keys_is_in_a_config_map():
    pull = pods(served(platform=stored(OWN)))["probe"]["initContainers"][0]
    (variable,) = [each for each in pull["env"] if each["name"].endswith("CA_CERTIFICATES")]
    assert variable["valueFrom"] == {"configMapKeyRef": {"name": "store-ca", "key": "ca.crt"}}


def test_another_way_to_the_store_replaces_the_pods_of_servers_and_runs_no_stage():
    cluster = served()
    jobs, old = set(cluster.jobs()), cluster.deployments()[-1]
    cluster.settings = stored(OWN)
    cluster.settle()
    new = cluster.deployments()[-1]
    assert new["metadata"]["name"] == old["metadata"]["name"]
    assert new["spec"]["template"]["spec"]["initContainers"][0]["env"]
    assert set(cluster.jobs()) <= jobs


def test_no_pod_has_a_volume_that_ties_it_to_a_node():
    cluster = served()
    assert not [key for key in cluster.objects if key[0] == "PersistentVolumeClaim"]
    sizes = [pod["volumes"][0] for pod in pods(cluster).values()]
    assert sizes == [{"name": "artifacts", "emptyDir": {"sizeLimit": "3Gi"}}] * 6


def test_a_stage_has_its_folders_and_leaves_its_own():
    cluster = served()
    found = pods(cluster)
    source = asked(stage_container(cluster.jobs()["validate"]))["directory"].removeprefix("/artifacts/")
    optimized = asked(stage_container(cluster.jobs()["optimize"]))["directory"].removeprefix("/artifacts/")
    order = {
        name: [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])] for name, pod in found.items()
    }
    assert order == {
        "validate": ["pull", "fetch", "validate", "push"],
        "optimize": ["pull", "optimize", "push"],
        "benchmark": ["pull", "benchmark", "push"],
        "loadtest": ["pull", "loadtest"],
        "probe": ["pull", "probe"],
        "server": ["pull", "server"],
    }
    pulled = {name: asked(pod["initContainers"][0])["folders"] for name, pod in found.items()}
    assert pulled["validate"] == [{"folder": source, "paths": [], "sha256": {}, "optional": True}]
    assert [each["folder"] for each in pulled["optimize"]] == [source]
    assert [each["folder"] for each in pulled["benchmark"]] == [optimized]
    assert pulled["probe"] == [{"folder": optimized, "paths": ["probe.npz"], "sha256": {}, "optional": False}]
    pushed = {name: asked(found[name]["containers"][0])["folders"] for name in ("validate", "optimize")}
    assert pushed == {"validate": [source], "optimize": [optimized]}


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_a_server_gets_exactly_its_variant_and_its_digest(runtime):
    pod = pods(served(runtime))["server"]
    request = asked(pod["initContainers"][1] if runtime == "triton" else pod["containers"][0])
    serve = request.get("serve", request)
    (folder,) = asked(pod["initContainers"][0])["folders"]
    assert folder["paths"] == ["fp32/", "probe.npz"]
    assert folder["sha256"] == {"fp32/model.onnx": serve["sha256"]}
    assert serve["model"] == f"/artifacts/{folder['folder']}/fp32/model.onnx"


def test_requests_name_the_store_that_the_platform_has():
    """And no other: pods of before there were registries must not change."""
    for platform, name in ((BUCKET, "bucket"), (REGISTRY, "registry")):
        moving = [
            asked(container)
            for pod in pods(served(platform=platform)).values()
            for container in (*pod.get("initContainers", ()), *pod["containers"])
            if container["name"] in ("pull", "push")
        ]
        assert moving
        for request in moving:
            assert request[name]
            assert bool(request["bucket"]) is (name == "bucket")
            assert ("registry" in request) is (name == "registry")


IMAGE = "sha256:" + "e" * 64
PROBE_IMAGE = "sha256:" + "f" * 64
MOUNTING = settings.parse(
    {
        **SETTINGS.model_dump(mode="json", by_alias=True),
        "artifacts": {"store": "oci", "oci": {**OCI, "imageVolumes": True}},
    }
)


def mounting(runtime="onnxruntime", platform=MOUNTING, images=("fp32",), **serving):
    """The pod of a server of variant fp32, whose optimize stage left images. Returns its folder, too."""
    cluster = Cluster(body(serving={"runtime": runtime, **serving}), platform=platform)
    cluster.reach("optimize")
    folder = asked(stage_container(cluster.jobs()["optimize"]))["directory"].removeprefix("/artifacts/")
    named = {f"{folder}/{name}" if name else folder: IMAGE if name else PROBE_IMAGE for name in images}
    cluster.succeed("optimize", images=named)
    cluster.live()
    return cluster, pods(cluster)["server"], folder


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_a_server_mounts_its_variant_as_an_image_by_its_digest(runtime):
    cluster, pod, folder = mounting(runtime)
    image = f"registry.example.com/artifacts/team-a/magika@{IMAGE}"
    assert pod["volumes"][0] == {"name": "artifacts-0", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}
    assert {"name": "artifact-store"} in pod["imagePullSecrets"]
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    assert [c["name"] for c in containers] == (["repository", "server"] if runtime == "triton" else ["server"])
    for container in containers:
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"].startswith("artifacts")]
        assert mount == {"name": "artifacts-0", "mountPath": f"/artifacts/{folder}", "readOnly": True}
        assert "envFrom" not in container
    assert not [volume for volume in pod["volumes"] if volume["name"] == "artifacts"]
    # What status keeps is enough to make the same pod again.
    cluster.settings = REGISTRY
    cluster.live()
    assert pods(cluster)["server"]["initContainers"][0]["name"] == "pull"
    cluster.settings = MOUNTING
    cluster.live()
    assert pods(cluster)["server"] == pod


@pytest.mark.parametrize(
    ("images", "platform", "serving"),
    [
        ((), MOUNTING, {}),
        (("", "fused"), MOUNTING, {}),
        (("fp32",), REGISTRY, {}),
    ],
)
def test_without_an_image_of_exactly_what_it_serves_a_server_pulls(images, platform, serving):
    _, pod, _ = mounting(images=images, platform=platform, **serving)
    assert pod["initContainers"][0]["name"] == "pull"
    assert "imagePullSecrets" not in pod


def test_a_stage_has_no_say_in_what_is_mounted():
    """It parses the model, and a model may take it over: its word of images is dropped, also where nothing was pushed."""
    for platform in (MOUNTING, SETTINGS):
        cluster = Cluster(body(), platform=platform)
        cluster.reach("optimize")
        job = cluster.jobs()["optimize"]
        folder = asked(stage_container(job))["directory"].removeprefix("/artifacts/")
        told = Outcome("optimize", 1.5, good(job), images={f"{folder}/fp32": IMAGE})
        cluster.succeed("optimize", message=encode(told))
        cluster.live()
        assert IMAGE not in json.dumps(cluster.deployments())
        (record,) = [stage for stage in cluster.status()["stages"] if stage["name"] == "optimize"]
        assert decode(record["result"]).images == {}


def test_a_model_has_a_repository_of_its_name_and_tags_of_its_own():
    first, again = (REGISTRY.artifacts.registry("team-a", "m", uid) for uid in ("1", "2"))
    assert first
    assert again
    assert first.repository == again.repository == "registry.example.com/artifacts/team-a/m"
    assert (first.uid, again.uid) == ("1", "2")


def test_only_the_last_container_removes_what_nothing_needs():
    """An empty folder has nothing to remove; and no other container may ask the store."""
    found = pods(served())
    collecting = [
        (name, container["name"])
        for name, pod in found.items()
        for container in (*pod.get("initContainers", ()), *pod["containers"])
        if "--keep" in container["args"]
    ]
    assert collecting == [("validate", "push"), ("optimize", "push")]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/artifacts/optimize/0123456789abcdef", "/artifacts/../etc/x", "model"]
)
def test_a_result_with_an_odd_path_breaks_no_turn(path):
    """Results come from pods that parse models: the server finds nothing there, and says so."""
    cluster = Cluster(body(), platform=BUCKET)
    cluster.reach("optimize")
    result = good(cluster.jobs()["optimize"])
    assert isinstance(result, OptimizeResult)
    odd = [Variant(v.name, path, sha256=v.sha256, parity=v.parity) for v in result.variants]
    cluster.succeed("optimize", result=OptimizeResult(tuple(odd), path, result.provider))
    cluster.settle()
    cluster.succeed("benchmark")
    cluster.settle()
    pod = cluster.deployments()[-1]["spec"]["template"]["spec"]
    assert [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])] == ["server"]


def test_two_models_have_nothing_in_common_in_the_bucket():
    """A model of the same name that is made again, too: its prefix has the uid."""
    prefixes = {
        BUCKET.artifacts.bucket(namespace, name, uid).prefix  # type: ignore[union-attr]
        for namespace, name, uid in (("a", "m", "1"), ("b", "m", "2"), ("a", "m", "3"), ("a", "n", "4"))
    }
    assert len(prefixes) == 4
    assert all(not one.startswith(f"{other}/") for one in prefixes for other in prefixes)


@pytest.mark.parametrize(
    ("artifacts", "said"),
    [
        ({"store": "s3"}, "s3.bucket, and s3.secretRef or s3.webIdentity, are required"),
        ({"store": "s3", "s3": {"bucket": "artifacts"}}, "exactly one of secretRef and webIdentity"),
        ({"store": "s3", "s3": {**AWS, **S3}}, "exactly one of secretRef and webIdentity"),
        ({"store": "s3", "s3": {**AWS, "webIdentity": {}}}, "webIdentity.roleArn"),
        ({"store": "s3", "s3": {**AWS, "webIdentity": {"roleArn": "artifacts"}}}, "the ARN of a role"),
        ({"store": "s3", "s3": {**AWS, "webIdentity": {"roleArn": ROLE, "audience": ""}}}, "webIdentity.audience"),
        ({"store": "s3", "s3": {**AWS, "webIdentity": {"roleArn": ROLE, "endpoint": "sts"}}}, "webIdentity.endpoint"),
        (
            {"store": "s3", "s3": {**AWS, "endpoint": "https://s3.example.com"}},
            "webIdentity.audience must be what s3.example.com",
        ),
        ({"s3": S3}, "s3 is set, and store is volume: set store to s3, or remove s3"),
        ({"store": "s3", "s3": {**S3, "bucket": "Not_A_Bucket"}}, "bucket"),
        ({"store": "s3", "s3": {**S3, "prefix": "/a/"}}, "prefix"),
        ({"store": "s3", "s3": {**S3, "endpoint": "s3.example.com"}}, "endpoint"),
        ({"store": "s3", "s3": {**S3, "nodeCache": {"path": "cache"}}}, "nodeCache.path"),
        ({"store": "s3", "s3": {**S3, "nodeCache": {"path": "/var/../etc"}}}, "nodeCache.path"),
        ({"store": "oci"}, "oci.repository and oci.secretRef are required"),
        ({"store": "oci", "oci": {**OCI, "repository": "https://registry.example.com/a"}}, "oci.repository"),
        ({"store": "oci", "oci": {**OCI, "repository": "registry.example.com"}}, "oci.repository"),
        ({"store": "oci", "oci": {**OCI, "repository": "registry.example.com/a:latest"}}, "oci.repository"),
        ({"store": "oci", "oci": {"repository": "registry.example.com/a"}}, "secretRef"),
        ({"store": "tape"}, "store"),
    ],
)
def test_settings_that_cannot_work_stop_the_operator(artifacts, said):
    with pytest.raises(settings.SettingsError, match=said):
        settings.parse({**SETTINGS.model_dump(mode="json", by_alias=True), "artifacts": artifacts})
