"""The command that runs Triton's own tests, on a checkout that is made up."""

from dataclasses import replace

from tests.tritonqa import __main__ as command
from tests.tritonqa.models import INT64, Model, stand_in
from tests.tritonqa.suites import Suite

TESTS = """
import unittest
import numpy as np
import requests
import tritonclient.grpc as grpc
import tritonclient.http as http


class Some(unittest.TestCase):
    def test_both_ways(self):
        for module, port in ((http, "localhost:8000"), (grpc, "localhost:8001")):
            client = module.InferenceServerClient(port)
            for name in ("one", "two"):
                given = module.InferInput("INPUT0", [2], "INT64").set_data_from_numpy(np.array([1, 2]))
                assert client.infer(name, [given]).as_numpy("OUTPUT0").tolist() == [1, 2]
                assert client.get_model_config(name)

    def test_chunks_and_errors(self):
        url = "http://localhost:8000/v2/models/one/infer"
        answer = requests.post(url, data=iter([b"\\0" * 8]), headers={"Inference-Header-Content-Length": "0"})
        assert answer.status_code == 200, answer.text
        assert requests.get("http://localhost:8000/v2/models/three").status_code == 400

    def test_wrong(self):
        assert False
"""


def test_what_passes_and_what_does_not(tmp_path, capsys, monkeypatch):
    for name in ("common", "L0_some"):
        (tmp_path / "qa" / name).mkdir(parents=True)
    (tmp_path / "qa" / "common" / "infer_util.py").touch()
    (tmp_path / "qa" / "L0_some" / "some.py").write_text(TESTS)

    def models(qa, into):
        made = {name: stand_in(into, name, {"INPUT0": (INT64, ["n"])}, (INT64, ["n"])) for name in ("one", "two")}
        return {name: Model(model.path, 0) for name, model in made.items()}

    suite = Suite("L0_some", "some.py", models)
    run, found = command.run, []

    def once(*given):
        """The suite does not change: only what is said of its results does."""
        if not found:
            found.append(run(*given))
        return found[0]

    monkeypatch.setattr(command, "run", once)
    for out, code, said in (
        ({}, 1, "FAILED Some::test_wrong: AssertionError"),
        ({"Some::test_wrong": "why"}, 0, "out of scope: Some::test_wrong: why"),
        ({"Some::test_wrong": "why", "Some::test_both_ways": "no"}, 1, "PASSED although"),
    ):
        assert command.main([str(tmp_path)], [replace(suite, out=out)]) == code
        told = capsys.readouterr().out
        assert "L0_some: 2 of 3 pass" in told
        assert said in told
