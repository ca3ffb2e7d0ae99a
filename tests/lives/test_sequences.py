"""Sequences of specs, made from the CRD's schema: the operator ends where the last spec says, and never breaks down.

In the manner of Acto (https://dl.acm.org/doi/10.1145/3600006.3613161): the properties are those of any operator, and
the specs are nobody's examples. `ONNXMODEL_SEQUENCES` is how many sequences are tried.
"""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from onnxmodel_operator import names
from tests.builders import Cluster, body

ROOT = Path(__file__).parents[2]
SPEC = yaml.safe_load((ROOT / "crds/onnxmodels.yaml").read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"][
    "properties"
]["spec"]
WORDS = {
    "uri": ["s3://models/m.onnx", "https://models.example.com/m.onnx", "pvc://claim/m.onnx"],
    "sha256": ["0" * 64, "f" * 64],
    "nodePool": ["default", "a100", "absent"],
}
QUANTITIES = ["100m", "1", "2", "512Mi", "2Gi"]
EXAMPLES = int(os.environ.get("ONNXMODEL_SEQUENCES", "100"))
MOST_TURNS = 60
pytestmark = pytest.mark.timeout(max(600, 3 * EXAMPLES))


def value(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Anything that the schema allows. Rules across fields (CEL) it may break, as a user may."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            least, most = schema.get("minimum", 0), schema.get("maximum", 100)
            return st.integers(least, min(most, least + 40)) | st.just(most)
        case "number":
            return st.sampled_from([x for x in (0.5, 1.0, 60.0, 5000.0) if x <= schema.get("maximum", x)])
        case "string":
            if name in WORDS:
                return st.sampled_from(WORDS[name])
            return st.sampled_from(QUANTITIES) if "numkMGTPE" in schema.get("pattern", "") else st.sampled_from("abc")
        case "array":
            most = min(schema.get("maxItems", 3), 3)
            return st.lists(value(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)
    if "additionalProperties" in schema:
        keys = st.sampled_from(["cpu", "memory", "length"])
        return st.dictionaries(keys, value(schema["additionalProperties"]), max_size=2)
    fields = schema["properties"]
    required = schema.get("required", [])
    some = st.sets(st.sampled_from(sorted(fields)), max_size=2).map(lambda chosen: sorted(chosen | set(required)))
    return some.flatmap(lambda chosen: st.fixed_dictionaries({key: value(fields[key], key) for key in chosen}))


def spec() -> st.SearchStrategy[dict[str, Any]]:
    """A usual spec with up to two groups of it changed."""
    groups = {key: value(schema, key) for key, schema in SPEC["properties"].items() if key != "source"}
    changed = st.sets(st.sampled_from(sorted(groups)), max_size=2)
    return changed.flatmap(lambda keys: st.fixed_dictionaries({key: groups[key] for key in sorted(keys)}))


def applied(cluster: Cluster, given_spec: dict[str, Any]) -> None:
    key = ("OnnxModel", "team-a", "magika")
    whole = {"source": body()["spec"]["source"], **copy.deepcopy(given_spec)}
    if cluster.objects[key]["spec"] != whole:
        cluster.objects[key] = {**cluster.objects[key], "spec": whole}
        cluster.edit()


def turn(cluster: Cluster) -> None:
    cluster.settle()
    assert cluster.status()["reason"] != "InternalError", cluster.status()["message"]


def to_the_end(cluster: Cluster) -> dict[str, Any]:
    """Play a healthy cluster until nothing changes any more."""
    for _ in range(MOST_TURNS):
        before = len(cluster.writes)
        turn(cluster)
        cluster.play()
        promote(cluster)
        turn(cluster)
        if len(cluster.writes) == before:
            return cluster.status()
    raise AssertionError(f"it never ends: {cluster.writes[-12:]}")


def promote(cluster: Cluster) -> None:
    """A person promotes the step of a canary."""
    key = ("OnnxModel", "team-a", "magika")
    if "step" in cluster.status().get("rollout", {}):
        model = cluster.objects[key]
        annotations = {names.PROMOTE: str(len(cluster.writes))}
        cluster._store({**model, "metadata": {**model["metadata"], "annotations": annotations}})


def end(cluster: Cluster) -> tuple[Any, ...]:
    """What the last spec decides, whatever came before it."""
    status = cluster.status()
    if status["phase"] != "Ready":
        return status["phase"], status["reason"]
    serving = [item["spec"] for item in cluster.deployments()]
    return status["phase"], status["reason"], cluster.routed(), serving, cluster.services()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES == 100)
@given(st.lists(st.tuples(spec(), st.integers(0, 6)), min_size=2, max_size=4), st.booleans())
def test_the_operator_ends_where_the_last_spec_says(steps, back):
    if back:
        steps = [*steps, (steps[0][0], 0)]
    cluster = Cluster(body())
    for wanted, turns in steps:
        note(str(wanted))
        applied(cluster, wanted)
        for _ in range(turns):
            turn(cluster)
            cluster.play()
    to_the_end(cluster)
    fresh = Cluster(body())
    applied(fresh, steps[-1][0])
    to_the_end(fresh)
    # What serves may be better than what comes: that is what the gate is for.
    if cluster.status()["reason"] != "Regression" and not steps[-1][0].get("suspend"):
        assert end(cluster) == end(fresh)
