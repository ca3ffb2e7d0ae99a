"""The documentation says what the code does: examples, fields, reasons, columns, links."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from dev.addons import gateway_api
from dev.chart import schema as chart
from dev.cluster.node import NODES
from dev.docs import api, findings, values
from dev.platform import VALUES, Platform
from examples.magika import demo
from onnxmodel_cli.commands import commands
from onnxmodel_operator import metrics, selection
from onnxmodel_operator.api.crd import crd
from onnxmodel_operator.api.resource import parse
from onnxmodel_operator.observe import Snapshot, observe
from onnxmodel_operator.plan import plan
from onnxmodel_operator.plan.values import Phase, State
from onnxmodel_operator.platform import settings
from onnxmodel_operator.platform.settings import Autoscalers, Settings
from onnxmodel_runtime import checks
from onnxmodel_runtime.contract import uris
from onnxmodel_runtime.contract.providers import PROVIDERS
from onnxmodel_runtime.contract.stages import STAGES
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import CREDENTIALS, authorities, open_source
from onnxmodel_runtime.variants import RECIPES
from tests import models
from tests.builders import SETTINGS, START, body
from tests.rights import rights

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "dev").rglob("*.md"),
    ]
)
SOURCES = [
    *(ROOT / "operator" / "onnxmodel_operator").rglob("*.py"),
    *(ROOT / "runtime-image" / "onnxmodel_runtime").rglob("*.py"),
    *(ROOT / "cli" / "onnxmodel_cli").rglob("*.py"),
]
VERSION = crd()["spec"]["versions"][0]


# ---- examples --------------------------------------------------------------------------------------------------------


# A platform whose pools have the names that the pages use.
SCALED = Autoscalers.model_validate({"backend": "HPA"})
PLATFORM = SETTINGS.model_copy(
    update={"pools": {"default": SETTINGS.pools["default"], "gpu": SETTINGS.pools["a100"]}, "autoscaling": SCALED}
)


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_the_readme_shows_the_examples_as_they_are(name):
    example = (ROOT / "examples" / name / "onnxmodel.yaml").read_text()
    assert f"```yaml\n{example}```" in README


EXAMPLES = sorted((ROOT / "examples").rglob("onnxmodel.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_worked_on(path):
    manifest = yaml.safe_load(path.read_text())
    model = parse(body() | {"spec": manifest["spec"]})
    decided = plan(model, observe(Snapshot(None)), PLATFORM, START)
    assert decided.progress.state is State.RECONCILING, decided.progress.message


def test_the_first_manifest_works_after_the_demo():
    """Its file, its credentials and its namespace are there; tests/e2e/test_life.py applies it."""
    manifest = yaml.safe_load((ROOT / "examples" / "minimal" / "onnxmodel.yaml").read_text())
    source = manifest["spec"]["source"]
    assert source["uri"] == f"s3://models/{demo.KEY}"
    assert source["secretRef"]["name"] == inspect.signature(Platform.credentials).parameters["name"].default
    taken = yaml.safe_load((ROOT / "examples" / "magika" / "onnxmodel.yaml").read_text())["metadata"]["name"]
    name = manifest["metadata"]["name"]
    assert name != taken, "the demo's own would be changed"
    first = README[README.index("## Two commands") : README.index("All fields;")]
    asked = re.findall(r"\bkubectl .+", "\n".join(re.findall(r"^```\w+\n(.*?)^```", first, re.MULTILINE | re.DOTALL)))
    assert len(asked) == 4
    for command in asked:
        assert command.startswith(f"kubectl -n {demo.NAMESPACE} "), command
        assert not re.search(r"(onnxmodel|service)/", command) or f"/{name}" in command, command


def test_what_works_without_a_cluster_names_files_that_are_there():
    (block,) = re.findall(r"^## Without a cluster$.*?```sh\n(.*?)```", README, flags=re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^cp \"\$\(\.venv/bin/python (.+)\)\" /tmp/model.onnx$", block, flags=re.MULTILINE)
    model = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(model.stdout.strip()).is_file()
    (manifest,) = re.findall(r"onnxmodel run (\S+) --model /tmp/model.onnx", block)
    assert (ROOT / manifest).is_file()


def test_commands_on_the_demos_model_name_its_namespace():
    """magika is a model of the demo: what a page shows of it can be typed after `make demo`."""
    for page in PAGES:
        for command in re.findall(r"^[$ ]*(?:\w+=\$\()?(kubectl .*\bmagika\b.*)$", page.read_text(), re.MULTILINE):
            there = command.startswith(f"kubectl -n {demo.NAMESPACE} ")
            plugin = command.startswith("kubectl onnx ") and f" -n {demo.NAMESPACE}" in command  # no flags before it
            assert there or plugin, f"{page.name}: {command}"


def test_pools_have_the_same_names_everywhere():
    """In the demo, in the examples, on the pages and in the chart; and the local nodes are labelled by them."""
    pools = set(VALUES["settings"]["pools"])
    named = {name for path in EXAMPLES for name in re.findall(r"nodePool: (\w+)", path.read_text())}
    named |= {name for page in PAGES for name in re.findall(r"nodePool: (\w+)", page.read_text())}
    for page in (ROOT / "README.md", DOCS / "install.md"):
        for block in re.findall(r"```yaml\n(settings:\n.*?)```", page.read_text(), re.DOTALL):
            named |= set(yaml.safe_load(block)["settings"].get("pools", ()))
    assert named == pools
    assert "    # gpu:\n" in (ROOT / "charts" / "onnxmodel-operator" / "values.yaml").read_text()
    label = "onnx-operator.dev/pool"
    assert {item.labels[label] for item in NODES} == pools
    assert {name: pool["nodeSelector"][label] for name, pool in VALUES["settings"]["pools"].items()} == {
        name: name for name in pools
    }
    assert all(f"`{label}={name}`" in README or f"`={name}`" in README for name in pools)


def test_the_full_example_has_every_field():
    """All but the other way to say who must have signed, a provider of other machines, and what docs/pods.md shows."""
    others = (
        "source.signature.identity",
        "serving.providerOptions.OpenVINO",
        "serving.pod.",
        "source.serviceAccountName",
        "source.env",
    )
    manifest = yaml.safe_load((ROOT / "examples" / "full" / "onnxmodel.yaml").read_text())
    schema = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]
    missing = set(_paths(schema)) - set(_keys(manifest["spec"]))
    assert {path for path in missing if not path.startswith(others)} == set()


def test_the_page_about_pods_shows_valid_models_with_every_field_of_a_pod():
    blocks = re.findall(r"```yaml\n(apiVersion: onnx.*?)```", (DOCS / "pods.md").read_text(), re.DOTALL)
    models = [yaml.safe_load(block) for block in blocks]
    assert len(models) > 1
    for manifest in models:
        parse({**manifest, "metadata": {"namespace": "n", "uid": "u", "generation": 1, **manifest["metadata"]}})
    schema = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["serving"]["properties"]["pod"]
    shown = {path for manifest in models for path in _keys(manifest["spec"].get("serving", {}).get("pod", {}))}
    assert set(_paths(schema)) - shown == set()
    assert {"serviceAccountName", "env"} <= {key for manifest in models for key in manifest["spec"]["source"]}


def _paths(schema, path=""):
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where
        yield from _paths(field.get("items", field), where)


def _keys(value, path=""):
    for item in value if isinstance(value, list) else [value]:
        for name, field in item.items() if isinstance(item, dict) else ():
            where = f"{path}.{name}" if path else name
            yield where
            yield from _keys(field, where)


# ---- what is generated, and what must be named -----------------------------------------------------------------------


def test_every_benchmark_is_in_the_table_of_commands():
    targets = set(re.findall(r"^(bench-\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(targets) > 5
    assert targets == set(re.findall(r"^\| `make (bench-\w+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))


def test_the_api_reference_is_of_these_models():
    assert (DOCS / "api.md").read_text() == api.render(), "run .venv/bin/python -m dev.docs"


def test_every_column_is_explained():
    for page in (README, (DOCS / "status.md").read_text()):
        columns = re.findall(r"^\| `?([A-Z0-9]+)`? \|", page, re.MULTILINE)
        assert columns == [column["name"] for column in VERSION["additionalPrinterColumns"]]


def test_every_condition_and_phase_is_explained():
    tables = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "status.md").read_text(), re.MULTILINE))
    fields = VERSION["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert {*written("phase"), *written("type", "conditions"), *fields} <= tables


def test_every_phase_and_condition_was_written_in_a_recorded_life():
    """Else the test above would guard fewer of them than there are."""
    assert written("phase") == {*Phase, *(spec.phase for spec in STAGES.values())}
    of_stages = {spec.condition for spec in STAGES.values() if spec.condition}
    assert written("type", "conditions") == {"Ready", "Reconciling", "Stalled", "Available", "ScalingReady", *of_stages}


def test_no_phase_and_no_reason_is_a_boolean_of_yaml():
    """Such as Off: whoever reads a status from unquoted YAML would get no string."""
    words = written("phase") | written("reason") | written("reason", "conditions") | written("type", "conditions")
    assert {word for word in words if not isinstance(yaml.safe_load(word), str)} == set()


def written(field: str, items: str = "") -> set[str]:
    """Every value of a status field, or of the items of a list, that was written at a moment of tests/frozen."""
    path = rf"{items}\[\d+\]\.{field}" if items else field
    lines = [life.read_text() for life in (ROOT / "tests" / "frozen" / "recorded" / "lives").iterdir()]
    return set(re.findall(rf'^  {path}: "(\w+)"$', "\n".join(lines), re.MULTILINE))


def test_the_values_and_their_schema_are_of_these_settings():
    assert (DOCS / "values.md").read_text() == values.render(), "run .venv/bin/python -m dev.docs"
    assert (chart.CHART / "values.schema.json").read_text() == chart.render(), "run .venv/bin/python -m dev.docs"


def test_every_value_of_the_chart_is_explained():
    """All but fields of Kubernetes' own objects; and what values.yaml has is what the schema has."""
    rows = re.findall(r"^\| `([^`]+)` \| .+ \| (.*) \|$", (DOCS / "values.md").read_text(), re.MULTILINE)
    assert len(rows) > 100
    silent = {path for path, meaning in rows if not meaning}
    assert {
        path for path in silent if "topologySpreadConstraints[]." not in path and not path.endswith(".name")
    } == set()
    settings_too = {f"settings.{path}" for path in _aliases(Settings)} - {"settings.images"}
    assert settings_too <= {path for path, _ in rows}


def _aliases(kind):
    """Paths of the fields of a section of the settings, without those of lists and maps."""
    for field in kind.model_fields.values():
        yield field.alias
        section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if section and field.alias != "images":
            yield from (f"{field.alias}.{path}" for path in _aliases(field.annotation))


def test_the_chart_gives_the_settings_the_defaults_that_they_have_without_it():
    """So that one default is told, whoever gives it."""
    images = {"runtimeCpu": "cpu"}
    assert settings.parse({"images": images, **chart.defaults()["settings"]}) == settings.parse({"images": images})


def test_every_metric_is_explained():
    section = (DOCS / "install.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \| .+ \|$", section, re.MULTILINE))
    families = [
        *metrics.REGISTRY.collect(),
        *metrics.Models(dict, dict, int, lambda: True).collect(),
        *metrics.Speeds(dict).collect(),
        *metrics.Proofs(dict).collect(),
    ]
    assert told == {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_every_right_is_explained():
    section = (DOCS / "install.md").read_text().split("\n## Permissions\n")[1].split("\n## ")[0]
    told: dict[str, set[str]] = {}
    for kinds, verbs, why in re.findall(r"^\| ([a-z/, ]+): (.+?) \| (.+) \|$", section, re.MULTILINE):
        assert why
        for kind in kinds.split(", "):
            told[kind] = set(re.findall(r"\b(?:get|list|watch|create|update|patch|delete)\b", verbs))
    assert told == rights()


def test_the_pools_in_the_pages_are_settings_that_work():
    blocks = [
        (page.name, block)
        for page in (ROOT / "README.md", DOCS / "install.md", DOCS / "pods.md")
        for block in re.findall(r"```yaml\n(settings:\n.*?)```", page.read_text(), re.DOTALL)
    ]
    assert len(blocks) == 7
    images = {"runtimeCpu": "cpu", "runtimeGpu": "gpu"}
    for _, block in blocks:
        made = settings.parse({"images": images, **yaml.safe_load(block)["settings"]})
        assert len(made.pools) > 1 or made.routes


def test_the_gateway_in_the_pages_is_the_one_of_the_setting_and_takes_every_route():
    page = (DOCS / "install.md").read_text()
    setting, manifest = re.findall(r"^```yaml\n(.*?)```", page[page.index("## Routes") :], re.MULTILINE | re.DOTALL)[:2]
    routes = settings.parse({"images": {"runtimeCpu": "cpu"}, **yaml.safe_load(setting)["settings"]}).routes
    gateway = yaml.safe_load(manifest)
    assert routes is not None
    assert [gateway["metadata"]] == [{"name": one.name, "namespace": one.namespace} for one in routes.parent_refs]
    for listener in gateway["spec"]["listeners"]:
        assert listener["hostname"] == f"*.{routes.domain}"
        assert listener["allowedRoutes"] == {"namespaces": {"from": "All"}}
    assert f"`*.NAMESPACE.{routes.domain}` and `*.NAMESPACE.grpc.{routes.domain}`" in page


def test_the_versions_of_add_ons_are_those_that_the_tests_run():
    modules = "\n".join(path.read_text() for path in (ROOT / "dev" / "addons").glob("*/go.mod"))

    def version(module):
        return re.search(rf"^require {module} (v\S+)", modules, re.MULTILINE)[1]

    install, scaling = (" ".join((DOCS / page).read_text().split()) for page in ("install.md", "scaling.md"))
    assert f"Tested with {gateway_api.VERSION} of its standard channel" in install
    assert f"Envoy Gateway {version('github.com/envoyproxy/gateway')}" in install
    prometheus = version("github.com/prometheus/prometheus").replace("v0.3", "v3.")  # v0.316.0 is of 3.16.0
    adapter = f"prometheus-adapter {version('sigs.k8s.io/prometheus-adapter')}"
    assert (
        f"Tested with KEDA {version('github.com/kedacore/keda/v2')}, {adapter} and Prometheus {prometheus}." in scaling
    )


# ---- reasons ---------------------------------------------------------------------------------------------------------

# Reasons that the code passes on from Kubernetes, which has more of them than can be listed.
FROM_KUBERNETES = {
    "BackoffLimitExceeded", "CreateContainerConfigError", "CreateContainerError", "Evicted", "SchedulingGated",
    "UnexpectedAdmissionError",
}  # fmt: skip


def reasons() -> dict[str, str]:
    """Every reason that the code can give, with a file that gives it."""
    found = {}
    for path in SOURCES:
        for reason in _reasons(ast.parse(path.read_text())):
            found[reason] = path.name
    return found


_PLACES = {
    "StageError": 0,
    "Failure": 0,
    "Check": 1,
    "going": 1,
    "refuse": 1,
    "Progress": 2,
    "_stop": 2,
    "Judgement": 2,
}
"""The argument that is a reason, of each call that has one."""


def _reasons(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            place = _PLACES.get(_name(node))
            if place is not None and len(node.args) > place:
                yield from _texts(node.args[place])
        elif isinstance(node, ast.Assign) and any(map(_is_reason, ast.walk(node.targets[0]))):
            value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
            if isinstance(value, ast.BoolOp):  # what is said where Kubernetes says nothing
                yield from _texts(value)
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq) and _is_reason(node.left):
            yield from _texts(node.comparators[0])
        elif isinstance(node, ast.FunctionDef) and node.name == "_explain_waiting":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                    yield from _texts(inner.value.elts[0])


def _texts(node):
    """The strings that an expression may be: "X", "X" if … else "Y", … or "X"."""
    match node:
        case ast.Constant(value=str(text)) if re.fullmatch(r"[A-Z][A-Za-z]+", text):
            yield text
        case ast.IfExp(body=yes, orelse=no):
            yield from _texts(yes)
            yield from _texts(no)
        case ast.BoolOp(values=values) | ast.Tuple(elts=values):
            for value in values:
                yield from _texts(value)


def _calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def _name(call):
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _is_reason(node):
    return isinstance(node, ast.Name) and node.id == "reason"


def test_the_search_finds_reasons_of_each_kind():
    found = reasons()
    assert {"DigestMismatch", "OpsetTooLow", "ServiceUnreachable", "ProbeRefused", "InvalidSpec", "ResultLost"} <= set(
        found
    )
    assert {"ImagePullFailed", "Unschedulable", "PodFailed", "DeadlineExceeded", "ConstraintsNotMet"} <= set(found)
    assert len(found) > 40


def test_every_reason_is_explained():
    page = (DOCS / "troubleshooting.md").read_text()
    explained = re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)
    found = reasons()
    assert {name: found[name] for name in set(found) - set(explained)} == {}
    assert set(explained) - set(found) - FROM_KUBERNETES == set(), "explained, and nothing gives it"
    assert len(explained) == len(set(explained))


def test_the_findings_are_of_these_checks():
    assert (DOCS / "findings.md").read_text() == findings.render(), "run .venv/bin/python -m dev.docs"


def test_every_check_is_in_the_catalogue():
    """What a module of checks imports to give findings of is what docs/findings.md lists."""
    made = {
        call.func.value.id
        for path in (ROOT / "runtime-image" / "onnxmodel_runtime" / "checks").glob("*.py")
        for call in _calls(path)
        if _name(call) in ("error", "warning", "info") and isinstance(call.func.value, ast.Name)
    }
    known = {name for name, check in vars(checks).items() if isinstance(check, checks.Check)}
    assert {name for name in made if name.isupper()} <= known
    assert {vars(checks)[name].id for name in known} == set(checks.CHECKS)
    assert all(check.meaning and check.fix and "ONNX-" in check.id for check in checks.CHECKS.values())


def test_every_variable_of_the_environment_is_explained():
    """Variables that a source reads, and the schemes that there are."""
    page = (DOCS / "sources.md").read_text()
    read = {
        call.args[0].value
        for path in (ROOT / "runtime-image" / "onnxmodel_runtime" / "sources").glob("*.py")
        for call in _calls(path)
        if _name(call) == "variable" and isinstance(call.args[0], ast.Constant)
    }
    assert len(read) > 8
    assert {*read, authorities.VARIABLE} <= set(CREDENTIALS), "read from a Secret, and never taken from it"
    assert {name for name in CREDENTIALS if f"`{name}`" not in page} == set()


def test_every_scheme_variant_and_provider_is_on_its_page_and_in_the_readme():
    """A table of the page has each; the manifest with all fields has them too."""
    for page, rows, names in (
        ("sources.md", r"`{}://", uris.SCHEMES),
        ("optimization.md", r"^\| `{}` \|", RECIPES),
        ("serving.md", r"^\| `{}` \|", PROVIDERS),
    ):
        text = (DOCS / page).read_text()
        assert [name for name in names if not re.search(rows.format(name), text, re.MULTILINE)] == [], page
    example = yaml.safe_load((ROOT / "examples" / "full" / "onnxmodel.yaml").read_text())["spec"]
    assert example["optimization"]["variants"] == [*RECIPES]
    (forms,) = re.findall(r"uri: \S+ +# (.+); a folder", README)
    assert forms.replace("http(s)", "http https").split() == [*uris.SCHEMES]
    assert set(re.findall(r"(\w+)://", unsupported())) == set(uris.SCHEMES)


def test_every_command_is_on_the_page_of_the_command_line():
    page = (DOCS / "cli.md").read_text()
    assert [one.name for one in commands() if not re.search(rf"\bonnxmodel {one.name}[ `]", page)] == []


def test_the_example_of_troubleshooting_is_what_validate_prints(tmp_path):
    (tmp_path / "model.onnx").write_bytes(models.html())
    command = [sys.executable, "-m", "onnxmodel_cli", "validate", "model.onnx"]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    (shown,) = re.findall(r"```console\n(.*?)```", (DOCS / "troubleshooting.md").read_text(), re.DOTALL)
    assert shown == f"$ .venv/bin/onnxmodel validate model.onnx\n{done.stdout}$ echo $?\n{done.returncode}\n"


def unsupported() -> str:
    with pytest.raises(StageError) as caught:
        open_source("ftp://host/model.onnx")
    return caught.value.failure.hint


# ---- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_short(page):
    """Tables and output that was copied aside."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    if page.name == "api.md" or page.parent.name == "cluster":
        return
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) < 260


def test_every_decision_is_listed():
    index = (DOCS / "decisions" / "README.md").read_text()
    decisions = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    assert re.findall(r"\(([0-9]{4}[^)]+)\)", index) == decisions
    assert [int(name[:4]) for name in decisions] == list(range(1, len(decisions) + 1))


def test_the_optimizers_numbers_are_of_todays_rule():
    ties = re.findall(r"within (\S+) percent", (DOCS / "benchmarks/optimizer.md").read_text())
    assert set(ties) == {f"{selection.TIE_PERCENT:g}"}
