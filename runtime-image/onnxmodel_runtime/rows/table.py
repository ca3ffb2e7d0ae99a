"""The table of operators: each entry is the rule for the batch in one of them.

A rule takes a node and returns the facts of its outputs, one Value if they are all alike. It raises Mixed or Unknown.
It must hold fixed any input that it does not handle (a size, a place, a parameter): see Node.fixed and Node.numbers.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from onnxmodel_runtime.rows.nodes import Node
from onnxmodel_runtime.rows.values import Drawn, Mixed, Unknown, Value

Rule = Callable[[Node], Value | Sequence[Value]]

R = TypeVar("R", bound=Rule)
STANDARD = ""
CLASSICAL = "ai.onnx.ml"
FUSED = "com.microsoft"

TABLE: dict[tuple[str, str], Rule] = {}


def rule(*kinds: str, domain: str = STANDARD) -> Callable[[R], R]:
    """Register a rule for these operators."""

    def enter(function: R) -> R:
        for kind in kinds:
            TABLE[domain, kind] = function
        return function

    return enter


def mixes(why: str, *kinds: str, domain: str = STANDARD) -> None:
    """Register operators that always bring rows together."""

    def refuse(node: Node) -> Value:
        raise Mixed(why)

    rule(*kinds, domain=domain)(refuse)


def varies(why: str, *kinds: str, domain: str = STANDARD) -> None:
    """Register operators about which nothing is known."""

    def refuse(node: Node) -> Value:
        raise Unknown(why)

    rule(*kinds, domain=domain)(refuse)


def draws(*kinds: str, domain: str = STANDARD) -> None:
    """Register operators that draw random numbers, also for constants."""

    def refuse(node: Node) -> Value:
        raise Drawn

    rule(*kinds, domain=domain)(refuse)
