"""A model of each runtime is led through all moments under a fault."""

import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import standalone
from dev.cluster.apiclient import Api
from dev.kube import Kube, until
from tests.faults.cases import Case, Scene
from tests.faults.moments import MOMENTS, End, act, difference, ends, lines, name_of, wait
from tests.faults.played import Played
from tests.faults.proxy import Proxy
from tests.integration.support import SETTINGS

# A clock that is an hour ahead must not make Jobs older than they may become.
PLATFORM = SETTINGS.replace("images: {", "images: {triton: triton, ").replace(
    "jobs: {", "jobs: {keepSucceededSeconds: 86400, "
)


@dataclass(frozen=True)
class Run:
    """What became of the models under a fault. ends: by moment and runtime. left: those that came to no end."""

    ends: dict[tuple[str, str], End]
    left: set[tuple[str, str]]
    log: str
    codes: list[int | None]
    seconds: float
    scene: Scene


def run(
    case: Case,
    control_plane: Kube,
    played: Played,
    folder: Path,
    reference: Run | None = None,
    kind: type[Scene] = Scene,
    seconds: float = 180,
) -> Run:
    """Lead a model of each runtime through all moments, each under the fault, in a namespace of their own.

    reference: the life without a fault: what is otherwise is looked at again for a while, since the operator may be late.
    seconds: that a moment may take.
    """
    began = time.monotonic()
    kube = control_plane.within(f"f-{uuid.uuid4().hex[:8]}")
    found: dict[tuple[str, str], End] = {}
    left: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        kube.run("create", "namespace", kube.namespace)
        stack.callback(kube.run, "delete", "namespace", kube.namespace, "--wait=false")
        until("the namespace's ServiceAccount", lambda: kube.get("serviceaccount", "default"))
        proxy = stack.enter_context(Proxy(Path(str(kube.kubeconfig)), folder))
        through = Kube(kube.kubectl, proxy.kubeconfig, kube.namespace)
        scene = kind(proxy, standalone.plane(), through, folder, case, PLATFORM)
        stack.callback(scene.kill)
        scene.start()
        for moment in MOMENTS:
            proxy.faults += case.rules
            act(moment, kube, played)
            if case.then:
                time.sleep(1)
                case.then(scene)
            missing = wait(moment, kube, scene.plane.api, seconds)
            scene.again()
            proxy.faults.clear()
            _quiet(proxy, 0.7 if reference else 3)
            found |= _ends(moment, kube.namespace, scene.plane.api, played, reference)
            left |= {(moment, runtime) for runtime in missing}
            if missing:
                break
        codes = scene.stop()
        return Run(found, left, scene.log(), codes, time.monotonic() - began, scene)


def same(outcome: Run, reference: Run, moment: str, runtime: str) -> None:
    """Assert that a model ended where it does without the fault."""
    print(*lines(outcome.log, name_of(moment, runtime)), sep="\n")
    assert (moment, runtime) in outcome.ends, f"an earlier moment came to no end: {outcome.left}"
    end = outcome.ends[moment, runtime]
    assert (moment, runtime) not in outcome.left, f"it came to no end: {end.status}"
    differences = difference(end, reference.ends[moment, runtime])
    assert not differences, "\n".join(differences)


def _ends(
    moment: str, namespace: str, api: Api, played: Played, reference: Run | None, seconds: float = 70
) -> dict[tuple[str, str], End]:
    last = time.monotonic() + seconds
    while True:
        found = {(moment, runtime): end for runtime, end in ends(moment, namespace, api, played).items()}
        if reference is None or time.monotonic() > last or not any(_others(found, reference)):
            return found
        time.sleep(0.5)


def _others(found: dict[tuple[str, str], End], reference: Run) -> list[list[str]]:
    return [difference(end, reference.ends[key]) for key, end in found.items()]


def _quiet(proxy: Proxy, seconds: float) -> None:
    """Wait until nothing was written for so long, a minute at most."""
    end = time.monotonic() + 60
    count, since = -1, 0.0
    while time.monotonic() < end:
        now = len([path for _, path in proxy.writes if "/leases" not in path])
        if now != count:
            count, since = now, time.monotonic()
        if time.monotonic() - since >= seconds:
            return
        time.sleep(0.2)
