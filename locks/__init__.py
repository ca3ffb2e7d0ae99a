"""Every lock of this repository, what each is made from, and where it claims to install.

`make lock` writes them (`python -m locks`). tests/unit/test_locks.py proves with locks.closure that each is closed under
its own requirements, from what metadata.json says of each release, without asking an index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
METADATA = ROOT / "locks" / "metadata.json"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Lock:
    """A lock, of what it is made, and the Pythons and machines (Linux with glibc) that it claims."""

    path: str
    extras: tuple[str, ...] = ()  # of pyproject.toml; without any, the source is the .in file beside the lock
    groups: tuple[str, ...] = ()  # of pyproject.toml
    like: str = ""  # another lock, whose versions this one takes where it can
    pythons: Sequence[str] = PYTHONS
    machines: Sequence[str] = MACHINES
    glibc: int = 36  # the minor version of the oldest glibc: Debian 12
    alone: bool = False  # nothing that its entries require comes with them; the .in file says why

    @property
    def source(self) -> Path:
        """What a person edits."""
        return ROOT / "pyproject.toml" if self.extras else (ROOT / self.path).with_suffix(".in")

    def text(self) -> str:
        """The lock as it is committed."""
        return (ROOT / self.path).read_text()


_X86 = ("x86_64",)
LOCKS = (
    Lock("locks/dev.txt", extras=("operator", "runtime-cpu"), groups=("dev",)),
    Lock("locks/operator.txt", extras=("operator",), like="locks/dev.txt"),
    Lock("locks/runtime-cpu.txt", extras=("runtime-cpu",), like="locks/dev.txt"),
    Lock("locks/runtime-gpu.txt", extras=("runtime-gpu",), like="locks/dev.txt", machines=_X86),
    Lock("examples/digits/wheels.txt", machines=_X86),
    Lock("dev/addons/envoy.txt", machines=_X86, alone=True),
    Lock("dev/chart/checkov.txt", machines=_X86),
    Lock("dev/cluster/golang.txt", alone=True),
    Lock("tests/triton/wheels.txt", machines=_X86, alone=True),
    Lock("benchmarks/dataplane/peers/kserve.txt", machines=_X86, pythons=PYTHONS[:3]),
    Lock("benchmarks/dataplane/peers/mlserver.txt", machines=_X86, pythons=PYTHONS[:2]),
    Lock("benchmarks/dataplane/peers/triton.txt", machines=_X86, pythons=PYTHONS[:2]),
    Lock("benchmarks/fronts/peers.txt", machines=_X86),
    Lock("benchmarks/optimize/olive.txt", machines=_X86),
    Lock("benchmarks/optimize/olive-ai.txt", machines=_X86, alone=True),
    Lock("benchmarks/truth/wheels.txt", glibc=38),
)
