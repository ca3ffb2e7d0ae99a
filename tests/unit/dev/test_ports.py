"""What the tests' servers stand on: ports of their own, and a second start after a bad one."""

import socket
from pathlib import Path

import pytest

from dev.cluster import embedded
from dev.cluster.node import NODES
from dev.cluster.shell import CommandError
from dev.cluster.steps import again
from dev.ports import reserved

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_nobody_gets_a_port_that_is_reserved(monkeypatch):
    monkeypatch.setattr("dev.ports._RANGE", range(20_000, 20_003))
    with reserved(2) as ports:
        with reserved(1) as others:
            assert len({*ports, *others}) == 3
        with reserved(1) as again:
            assert again == others
    with reserved(3) as all_of_them:
        assert sorted(all_of_them) == [20_000, 20_001, 20_002]


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr("dev.ports._RANGE", range(port, port + 1))
        with reserved(1) as ports:
            assert ports == []


def test_a_kernel_that_is_asked_for_any_port_does_not_give_a_reserved_one():
    lowest = int(EPHEMERAL.read_text().split()[0])
    with reserved(3) as ports:
        assert max(ports) < lowest


@pytest.mark.parametrize(("failures", "starts"), [(0, 1), (1, 2), (2, 2)])
def test_what_starts_badly_is_started_once_more(failures, starts, capsys):
    started = []

    def start():
        started.append(1)
        if len(started) <= failures:
            raise CommandError("etcd ended")

    if failures < starts:
        again("etcd", start, (CommandError,))
    else:
        with pytest.raises(CommandError):
            again("etcd", start, (CommandError,))
    assert len(started) == starts
    assert ("etcd did not start; retrying: etcd ended" in capsys.readouterr().err) == (failures > 0)


def test_a_fault_of_ours_is_no_bad_start():
    with pytest.raises(TypeError):
        again("etcd", lambda: len(1), (CommandError,))  # type: ignore[arg-type]


def test_a_cluster_of_an_older_clone_is_not_taken_for_healthy():
    """Its nodes have other labels, and pods of a pool would wait for a node for ever."""
    for node in NODES:
        found = {"metadata": {"labels": {**node.labels, "kubernetes.io/os": "linux"}}}
        assert embedded._labelled(found, node)
        assert not embedded._labelled({"metadata": {"labels": {"onnx-operator.dev/pool": "general"}}}, node)
