"""The cluster's network: one network namespace of its own, joined to the machine by one pair of interfaces.

    machine                      the cluster's namespace
    onnxmodel0 10.244.255.1 ──── uplink 10.244.255.2     node-0 10.244.0.1, pods 10.244.0.0/24
    routes to pods, Services             10.244.0.1      node-1 10.244.1.1, pods 10.244.1.0/24
    egress for pods                      10.244.1.1      Services 10.96.0.0/16

Everything that Kubernetes does to a network (kube-proxy's rules, pods' interfaces, the ports of the API server and the
kubelets) happens inside, so it never meets the machine's own and is gone with the namespace. The machine reaches nodes,
pods and Services by their addresses. Outside stay one interface and three firewall rules, which carry our name.

The namespace is held by a file in the state folder and not by `ip netns`, which would leave a mount of /run/netns.
"""

from pathlib import Path

from .shell import CommandError, run, succeeds

LINK = "onnxmodel0"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
_NAME = "onnxmodel-cluster"
_OUTSIDE, _INSIDE = "10.244.255.1", "10.244.255.2"

_COMMENT = ("-m", "comment", "--comment", _NAME)
_RULES = (  # (table, chain, rule): pods reach the outside, also where the machine forwards nothing by default
    ("filter", "FORWARD", ("-i", LINK, *_COMMENT, "-j", "ACCEPT")),
    ("filter", "FORWARD", ("-o", LINK, *_COMMENT, "-j", "ACCEPT")),
    ("nat", "POSTROUTING", ("-s", PODS, "!", "-o", LINK, *_COMMENT, "-j", "MASQUERADE")),
)
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def inside(state: Path, *command: str | Path) -> tuple[str | Path, ...]:
    """The command line that runs a command in the cluster's network."""
    return ("nsenter", f"--net={_holder(state)}", "--", *command)


def create(node_addresses: list[str], state: Path) -> None:
    """Make the namespace, its interfaces, routes and egress. `state` remembers what must be put back."""
    holder = _holder(state)
    holder.touch()
    run("unshare", f"--net={holder}", "true")
    run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "uplink", "netns", holder)
    run("ip", "address", "add", f"{_OUTSIDE}/30", "dev", LINK)
    run("ip", "link", "set", LINK, "up")
    for line in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{_INSIDE}/30", "dev", "uplink"),
        *(("address", "add", f"{address}/32", "dev", "uplink") for address in node_addresses),
        ("link", "set", "uplink", "up"),
        ("route", "add", "default", "via", _OUTSIDE),
    ):
        run(*inside(state, "ip", *line))
    run(*inside(state, "sh", "-c", f"echo 1 > {_FORWARDING}"))
    for destination in (PODS, SERVICES):
        run("ip", "route", "add", destination, "via", _INSIDE)
    if _FORWARDING.read_text().strip() == "0":
        (state / "forwarding-was-off").touch()
        _FORWARDING.write_text("1")
    for table, chain, rule in _RULES:
        run("iptables", "-w", "-t", table, "-I", chain, *rule)


def remove(state: Path) -> None:
    """Undo `create`, however much of it happened. Call it when the namespace's processes are gone."""
    for table, chain, rule in _RULES:
        while succeeds("iptables", "-w", "-t", table, "-C", chain, *rule):
            run("iptables", "-w", "-t", table, "-D", chain, *rule)
    while succeeds("mountpoint", "--quiet", _holder(state)):
        run("umount", _holder(state))
    if Path(f"/sys/class/net/{LINK}").exists():
        # The kernel takes a dead namespace's interfaces down in its own time; the peer goes with them, perhaps just now.
        succeeds("ip", "link", "delete", LINK)
    if (state / "forwarding-was-off").exists():
        _FORWARDING.write_text("0")


def leftovers() -> list[str]:
    """Return our leftovers in the machine's network."""
    found = [f"interface {LINK}"] if Path(f"/sys/class/net/{LINK}").exists() else []
    for table in ("filter", "nat"):
        try:
            rules = run("iptables", "-w", "-t", table, "-S").splitlines()
        except (CommandError, OSError):
            continue  # no such table in this kernel: no rule of ours either
        found += [f"iptables rule in {table}: {rule}" for rule in rules if f"--comment {_NAME} " in rule]
    return found


def _holder(state: Path) -> Path:
    return state / "net"
