"""The operator behind a proxy that cuts and refuses its watches: it hears everything in the end."""

import urllib.error
import urllib.request

from dev.kube import found, until
from dev.ports import reserved
from onnxmodel_operator.cluster.kinds import ALL
from tests.faults.proxy import Fault
from tests.integration.support import GOOD, model
from tests.rights import rights


def answer(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


WATCHES = len(ALL)
FAULTS = (
    Fault(plural="onnxmodels", verbs=("watch",), ends=2, code=410),
    Fault(plural="jobs", verbs=("watch",), ends=1, code=410),
    Fault(plural="pods", verbs=("watch",), late=1),
    Fault(plural="deployments", verbs=("watch",), ends=2, code=429),
    Fault(plural="services", verbs=("watch",), ends=1, repeats=True),
    Fault(plural="persistentvolumeclaims", verbs=("watch",), query="sendInitialEvents", before=422),
    Fault(plural="deployments", verbs=("patch",), after="reset"),
    Fault(plural="jobs", verbs=("patch",), after=504),
    Fault(plural="controllerrevisions", verbs=("watch",), ends=2, code=500),
    Fault(plural="poddisruptionbudgets", verbs=("watch",), ends=2, code=410),
)


def test_a_model_lives_whatever_becomes_of_the_watches_and_of_answers(kube, through, proxy, start, kubelet):
    proxy.faults += FAULTS
    operator = start(through=through)
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"), seconds=60)
    assert len(kube.list("jobs")) == 5
    assert not [path for _, path in proxy.written(kube.namespace, "delete") if "/jobs/" in path], "no stage ran twice"
    assert "internal error" not in operator.text()
    assert 1 <= operator.text().count("the API server does not respond") <= 2, "not once for each request"
    assert "its pod was gone" not in operator.text()
    assert operator.process.poll() is None
    assert "Traceback" not in operator.text()
    granted = {(verb, resource) for resource, verbs in rights().items() for verb in verbs}
    assert proxy.asked <= granted, "what the chart does not allow"


def test_an_api_server_that_is_away_is_waited_for_and_what_went_meanwhile_is_known(
    kube, through, proxy, start, kubelet
):
    with reserved(1) as (port,):
        operator = start("--port", str(port), through=through)
        kube.apply(model(GOOD), model(GOOD, "gone"))
        kubelet.live("magika")
        until("Ready", found(kube, "magika", true="Ready"))
        away = Fault(before="reset")
        proxy.faults.append(away)
        proxy.cut()
        kube.delete("onnxmodel", "gone", wait=False)
        kube.apply(model(GOOD, "new"))
        until("it was tried", lambda: "was interrupted" in operator.text())
        assert answer(port, "healthz") == (200, "ok\n"), "a restart would mend nothing"
        proxy.faults.remove(away)
        until("the new model's Job", lambda: kubelet.job("new", "validate"))
        until("two models", lambda: models(answer(port, "metrics")[1]) == 2)
    assert "Traceback" not in operator.text()
    assert operator.text().count("was interrupted") <= WATCHES, "each said once"


def models(metrics):
    lines = [line for line in metrics.splitlines() if line.startswith("onnxmodel_operator_models{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
