"""An upgrade from an older version: what serves stays as it is, and the new operator goes on with it."""

import pytest

from dev.kube import found, until
from dev.platform import OPERATOR, SYSTEM
from onnxmodel_operator import names
from tests.addons import older
from tests.e2e.support import model, namespace


@pytest.fixture(scope="module")
def old_images(platform, tmp_path_factory):
    """The older operator runs. Its images; this version's are installed in the end, whatever happens."""
    version = older.commit()
    if version is None:
        pytest.skip("this clone has no older version")
    files = older.check_out(version, tmp_path_factory.mktemp("older"))
    new, old = platform.images, older.load_images(platform, files)
    platform.images = {**new, **old}
    try:
        platform.install_operator(chart=files / "charts" / OPERATOR)
    finally:
        platform.images = new
    yield old
    platform.install_operator()


def pods(kube, selector):
    return {
        pod["metadata"]["uid"]: pod for pod in kube.list("pods", selector) if "deletionTimestamp" not in pod["metadata"]
    }


def test_an_upgrade_restarts_and_proves_nothing(old_images, platform):
    with namespace(platform) as kube:
        kube.apply(model("magika", "s3://models/magika/1/model.onnx"))
        before = until("Ready", found(kube, "magika", true="Ready"), seconds=600)
        servers = pods(kube, names.LABEL_SERVER)
        assert len(servers) == 1
        jobs = {job["metadata"]["uid"] for job in kube.list("jobs")}
        assert operator_image(platform) == old_images["operator"]

        platform.install_operator()
        assert operator_image(platform) == platform.images["operator"] != old_images["operator"]
        platform.test_operator()
        # What the new operator has done to the model, and not only that it has not come to it yet.
        kube.run("scale", "onnxmodel/magika", "--replicas=2")
        two = until("two servers", lambda: len(pods(kube, names.LABEL_SERVER)) == 2 and pods(kube, names.LABEL_SERVER))
        after = until("Ready with both", found(kube, "magika", true="Ready"), seconds=300)
        assert servers.keys() < two.keys(), "the server that ran runs on"
        used = {pod["spec"]["containers"][0]["image"] for pod in two.values()}
        assert used == {old_images["runtime-cpu"]}, "a proven model keeps its images until it changes"
        assert {job["metadata"]["uid"] for job in kube.list("jobs")} <= jobs, "nothing was proven again"
        assert after["status"]["active"]["revision"] == before["status"]["active"]["revision"]


def operator_image(platform):
    (container,) = platform.kube.within(SYSTEM).get("deployment", OPERATOR)["spec"]["template"]["spec"]["containers"]
    return container["image"]
