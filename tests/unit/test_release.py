"""The workflows: pinned, with the least permissions, safe from what others can write, and of what is in this repository."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from locks.sbom import IMAGES, PYTHON

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
RELEASE = WORKFLOWS["release"]
TARGETS = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_pinned_and_has_the_least_permissions(name):
    workflow = WORKFLOWS[name]
    text = (FOLDER / f"{name}.yaml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        if action.startswith("./"):
            assert (ROOT / action).is_file()
        else:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), action
            assert re.match(r" +# v\d+\.\d+\.\d+", comment), f"{action}: name its version"
    assert workflow["permissions"] == {}
    for job, said in workflow["jobs"].items():
        assert "permissions" in said, job
        assert said.get("timeout-minutes") or "uses" in said, job
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_scripts_are_shell_and_take_what_github_says_from_the_environment(name):
    """An expression in a script is text of somebody's branch or title before the shell reads it."""
    scripts = [step["run"] for step in steps(WORKFLOWS[name]) if "run" in step]
    assert scripts
    for script in scripts:
        assert "${{" not in script, script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        for target in re.findall(r"\bmake ([a-z-]+)", script):
            assert target in TARGETS, script


def test_only_who_signs_has_an_identity():
    for name, job in RELEASE["jobs"].items():
        script = "\n".join(step.get("run", "") for step in job.get("steps", ()))
        assert ("cosign sign" in script) is (job["permissions"].get("id-token") == "write"), name
        assert ("docker push" in script or "helm push" in script) is (job["permissions"].get("packages") == "write"), (
            name
        )
        assert ("gh release" in script) is (job["permissions"].get("contents") == "write"), name


def test_nothing_is_signed_before_it_was_audited_and_tested():
    jobs = RELEASE["jobs"]
    assert {"audit", "check"} <= set(jobs["image"]["needs"])
    assert "image" in jobs["chart"]["needs"]
    assert {"image", "chart"} <= set(jobs["publish"]["needs"])
    checked = [step.get("run") for step in jobs["check"]["steps"]]
    assert {"make lint", "make unit"} <= set(checked)
    assert [step["run"] for step in steps(WORKFLOWS["audit"]) if "run" in step] == ["make audit"]


def test_the_images_are_those_with_a_bill_and_are_signed_by_digest():
    included = RELEASE["jobs"]["image"]["strategy"]["matrix"]["include"]
    assert {item["bill"]: (item["repository"], item["suffix"]) for item in included} == {
        name: (image.name, image.suffix) for name, image in IMAGES.items()
    }
    for item in included:
        dockerfile = (ROOT / item["dockerfile"]).read_text()
        assert ("ARG VARIANT" in dockerfile) is bool(item["variant"])
        assert f"COPY {IMAGES[item['bill']].path.replace(item['variant'] or ' ', '${VARIANT}')} " in dockerfile
        assert f"ARG BASE_IMAGE={RELEASE['env']['BASE_IMAGE']}\n" in dockerfile
    assert RELEASE["env"]["BASE_IMAGE"] == f"docker.io/library/python:{PYTHON}-slim"
    signed = [line for step in steps(RELEASE) for line in re.findall(r"cosign (?:sign|attest) .+", step.get("run", ""))]
    assert len(signed) == 3
    assert all('"$DIGEST"' in line or "@${digest:?" in line for line in signed)


def test_the_version_is_found_where_the_workflow_looks_for_it(tmp_path):
    (script,) = [step["run"] for step in RELEASE["jobs"]["check"]["steps"] if step.get("id") == "version"]
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None

    def ends(tag: str) -> int:
        environment = {"GITHUB_REF_NAME": tag, "GITHUB_OUTPUT": str(tmp_path / "output"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script], cwd=ROOT, env=environment, check=False
        ).returncode

    assert ends(f"v{version[1]}") == 0
    assert (tmp_path / "output").read_text() == f"version={version[1]}\n"
    assert ends("v99.0.0") != 0


def test_users_verify_as_the_workflow_does():
    page = (ROOT / "SECURITY.md").read_text()
    identity = RELEASE["env"]["IDENTITY"]
    identity = identity.replace("${{ github.repository }}", "onnx-operator/onnxmodel-operator")
    assert f"BY={identity.replace('${{ github.ref }}', 'refs/tags/v0.1.0')}\n" in page
    assert f"ISSUER={RELEASE['env']['ISSUER']}\n" in page
    told = re.findall(r"^cosign (\S+)", page, re.MULTILINE)
    assert told == ["verify", "verify-attestation", "verify-blob"]
    checked = [word for step in steps(RELEASE) for word in re.findall(r"cosign (verify\S*)", step.get("run", ""))]
    assert checked == ["verify", "verify-attestation"]
    (signed,) = [step["run"] for step in steps(RELEASE) if "sign-blob" in step.get("run", "")]
    bundle = re.search(r"--bundle dist/(\S+) dist/(\S+)", signed)
    assert bundle is not None
    assert f"--bundle {bundle[1]} " in page
    assert re.search(rf"^cosign verify-blob .* {bundle[2]}$", page, re.MULTILINE)


def test_make_sbom_writes_the_bill_of_each_image():
    recipe = re.search(r"^sbom: .+\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    named = re.search(r"for image in (.+); do", recipe[1])
    assert named is not None
    assert named[1].split() == list(IMAGES)
