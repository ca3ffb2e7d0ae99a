"""The faults: which rules the proxy has, or what else happens while models live."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dev.cluster.controlplane import ControlPlane
from dev.kube import Kube, until
from tests.faults.disturb import pause_etcd, restart_api_server
from tests.faults.proxy import Fault, Proxy
from tests.integration.support import Operator


@dataclass(frozen=True)
class Case:
    """A fault. rules: of the proxy, from before the users act until the moment's end. then: what happens meanwhile.

    ended: the exit codes that operators may have.
    """

    rules: tuple[Fault, ...] = ()
    then: "Callable[[Scene], None] | None" = None
    replicas: int = 1
    module: str = "onnxmodel_operator"
    arguments: tuple[str, ...] = ()
    ended: frozenset[int] = frozenset()


@dataclass
class Scene:
    """The operators and what they run on. The first one is the leader, until another is."""

    proxy: Proxy
    plane: ControlPlane
    kube: Kube
    folder: Path
    case: Case
    settings: str
    operators: list[Operator] = field(default_factory=list)
    ended: list[Operator] = field(default_factory=list)

    def start(self) -> None:
        """As many replicas as the case has."""
        for number in range(self.case.replicas):
            self.operators.append(self._new())
            if not number and self.case.replicas > 1:
                until("the first one leads", lambda: ": leading" in self.operators[0].text())

    def _new(self) -> Operator:
        place = self.folder / str(len(self.operators) + len(self.ended))
        place.mkdir()
        election = ("--lease-namespace", self.kube.namespace) if self.case.replicas > 1 else ()
        arguments = (*election, *self.case.arguments)
        return Operator(self.kube, place, *arguments, settings=self.settings, module=self.case.module)

    def again(self) -> None:
        """What a kubelet does: start those that have ended, behind the others."""
        for operator in [o for o in self.operators if o.process.poll() is not None]:
            self.operators.remove(operator)
            self.ended.append(operator)
            self.operators.append(self._new())

    def kill(self) -> None:
        """All of them, and at once."""
        for operator in self.operators:
            operator.kill()

    def stop(self) -> list[int | None]:
        """Tell all to end. Returns the exit codes of all that ever were."""
        codes = [operator.process.returncode for operator in self.ended]
        return codes + [operator.stop() for operator in self.operators]

    def log(self) -> str:
        """What all that ever were said."""
        return "".join(operator.text() for operator in (*self.ended, *self.operators))


class Killing(Scene):
    """An operator that is killed at every write: once before it, and when it is tried again, after it. points: each kill."""

    points: list[tuple[str, bool]]

    def start(self) -> None:
        """The first of many."""
        path, log = self.folder / "settings.yaml", self.folder / "operator.log"
        path.write_text(self.settings)
        command = [sys.executable, "-m", "tests.faults.forked", "--settings", str(path), "--port", "0"]
        with log.open("w") as out:
            self._parent = subprocess.Popen(
                command, env=self.kube.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out
            )
        self.points, self._tried = [], set[str]()
        self._fork()
        self.proxy.dies = self._dies

    def _fork(self) -> None:
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(b"\n")
        self._parent.stdin.flush()
        self._pid = int(self._parent.stdout.readline())

    def _dies(self, path: str, answered: bool) -> bool:
        if not answered and path in self._tried:
            return False
        self._tried ^= {path}
        self.points.append((path, answered))
        os.kill(self._pid, signal.SIGKILL)
        self._fork()
        return True

    def kill(self) -> None:
        """The last one, and what it came from."""
        os.kill(self._pid, signal.SIGKILL)
        self._parent.communicate()

    def stop(self) -> list[int | None]:
        """Nothing to learn: they were killed."""
        return []

    def log(self) -> str:
        """What all of them said."""
        return (self.folder / "operator.log").read_text()


_WATCH = ("watch",)
_WRITES = ("patch", "delete")


def _away(scene: Scene) -> None:
    away = Fault(before="reset")
    scene.proxy.faults.append(away)
    scene.proxy.cut()
    time.sleep(6)
    scene.proxy.faults.remove(away)


def _deaf(scene: Scene) -> None:
    scene.proxy.deafen()


def _rotated(scene: Scene) -> None:
    scene.proxy.rotate()
    scene.proxy.cut()  # what asks again is asked for the new one


def _etcd(scene: Scene) -> None:
    pause_etcd(scene.plane)


def _restarted(scene: Scene) -> None:
    restart_api_server(scene.plane, signal.SIGTERM)


def _killed(scene: Scene) -> None:
    restart_api_server(scene.plane, signal.SIGKILL)


def _leader_paused(scene: Scene) -> None:
    leader = scene.operators[0].process
    leader.send_signal(signal.SIGSTOP)
    time.sleep(22)  # the other one leads
    leader.send_signal(signal.SIGCONT)
    leader.wait(30)
    scene.again()


def _leader_killed(scene: Scene) -> None:
    scene.operators[0].kill()
    scene.again()


_LATE = {"models": "onnxmodels", "jobs": "jobs", "pods": "pods", "deployments": "deployments", "all": ""}

CASES: dict[str, Case] = {
    "none": Case(),
    **{f"watch-error-{code}": Case((Fault(verbs=_WATCH, ends=2, code=code),)) for code in (410, 429, 500, 504)},
    **{
        f"watch-refused-{code}": Case((Fault(verbs=_WATCH, before=code, odds=(2, 3)), Fault(verbs=_WATCH, ends=3)))
        for code in (410, 429, 500, 504)
    },
    "watch-cut": Case((Fault(verbs=_WATCH, ends=1),)),
    "watch-silent": Case(then=_deaf, module="tests.faults.impatient"),
    **{f"late-{name}": Case((Fault(plural, verbs=_WATCH, late=2),)) for name, plural in _LATE.items()},
    "repeated": Case((Fault(verbs=_WATCH, repeats=True),)),
    "reordered": Case((Fault(verbs=_WATCH, swaps=True),)),
    **{
        f"write-{how}": Case((Fault(verbs=_WRITES, before=how, odds=(2, 3), each=True),))
        for how in (409, 429, 500, 503, "reset")
    },
    "write-hangs": Case((Fault(verbs=_WRITES, before="hang", odds=(1, 12)),)),
    "answer-lost": Case((Fault(verbs=_WRITES, after="reset", odds=(2, 3)),)),
    "answer-504": Case((Fault(verbs=_WRITES, after=504, odds=(2, 3)),)),
    "read-500": Case((Fault(verbs=("get",), before=500, odds=(1, 2), each=True),)),
    "read-reset": Case((Fault(verbs=("get",), before="reset", odds=(1, 2), each=True),)),
    "partition": Case(then=_away),
    "token-rotated": Case(then=_rotated),
    "etcd-paused": Case(then=_etcd),
    "api-server-restarted": Case(then=_restarted),
    "api-server-killed": Case(then=_killed),
    "api-server-restarted-two-replicas": Case(then=_restarted, replicas=2),
    "leader-paused": Case(then=_leader_paused, replicas=2, ended=frozenset({1})),
    "leader-killed": Case(then=_leader_killed, replicas=2, ended=frozenset({-9})),
    "clock-ahead": Case(module="tests.faults.skewed", arguments=("3600",)),
    "clock-behind": Case(module="tests.faults.skewed", arguments=("-3600",)),
}
