"""Compare a share of the answers with those of a candidate, after they were sent, and count how often they agree.

Without an order it costs what serves a look at one flag for each request. With one, a sample is a few references in a
bounded queue (some 7 µs), and a thread does the rest, which works for one hundredth of the time. Through a whole server no
further cost was seen, but noise would have hidden up to 31 % of the throughput (docs/benchmarks/compare.md). The
thread is not of lower priority to the system: one that has to wait for a processor while it holds the interpreter would
hold up the others. Requests and answers are kept nowhere else and logged nowhere.
"""

import asyncio
import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep, thread_time

from onnxmodel_runtime.contract import compare
from onnxmodel_runtime.contract.compare import DIFFERENCE, LEASE_SECONDS, METRIC, MOST_ORDERS, RESULTS, CompareOrder
from onnxmodel_runtime.contract.naming import child
from onnxmodel_runtime.server.candidate import BusyError, Counterpart, NoAnswerError, size_of
from onnxmodel_runtime.server.protocol.request import VERSION, InferRequest, ModelSpec, Outputs

log = logging.getLogger("onnxmodel.server")

MOST_SAMPLES = 16
MOST_BYTES = 32 << 20
"""Of all samples that wait."""
REST = 99.0
"""Multiple of its work's duration for which the thread rests: so it takes at most a hundredth of a processor."""
_BUSY_SECONDS = 1.0
"""Rest after a refusal, at least: a refused request has cost the candidate its bytes."""
_FAILED_SECONDS = 0.5
_LONGEST_REST = 10.0
_LARGEST = 1e15
_RESOLVER = Path("/etc/resolv.conf")

Address = Callable[[str], tuple[str, int]]
"""Finds a revision: a host's name, and a port."""


@dataclass(slots=True)
class _Tally:
    """Counts for one order. The loop alone counts what is dropped for lack of room, the thread everything else.

    until: as long as the order holds.
    """

    until: float = 0.0
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    unqueued: int = 0
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """A request with its answer."""

    order: CompareOrder
    tally: _Tally
    spec: ModelSpec
    request: InferRequest
    outputs: Outputs
    size: int


class Comparing:
    """Orders, samples and counts. It lives on the event loop, but for its thread."""

    def __init__(self, model: str, address: Address | None) -> None:
        """address: None where no candidate could be found, so that no order is followed."""
        self._model, self._address = model, address
        self.wanted = False
        """True if samples are wanted. Read for every request."""
        self._order: CompareOrder | None = None
        self._until = 0.0
        self._tally = _Tally()
        self._tallies: dict[CompareOrder, _Tally] = {}
        self._samples: queue.SimpleQueue[_Sample] = queue.SimpleQueue()
        self._added = self._removed = 0  # bytes: each is changed by one thread
        self._candidate: Counterpart | None = None
        self._thread: threading.Thread | None = None

    def follow(self, text: str) -> None:
        """Follow an order for a while. Whatever is no order is ignored."""
        order = compare.read(text)
        if order is None or self._address is None:
            return
        if (tally := self._counted(order)) is None:
            return
        tally.until = monotonic() + LEASE_SECONDS
        self._tally, self._order, self._until, self.wanted = tally, order, tally.until, True
        if (candidate := self._candidate) is not None:
            candidate.hurry()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="compare", daemon=True)
            self._thread.start()

    def _counted(self, order: CompareOrder) -> _Tally | None:
        """The counts of an order. None if there is no room for any: those of orders that hold must not begin anew."""
        if order in self._tallies:
            return self._tallies[order]
        if len(self._tallies) >= MOST_ORDERS:
            oldest = min(self._tallies, key=lambda known: self._tallies[known].until)
            if self._tallies[oldest].until >= monotonic():
                return None
            del self._tallies[oldest]
        self._tallies[order] = _Tally()
        return self._tallies[order]

    def offer(self, spec: ModelSpec, request: InferRequest, outputs: Outputs) -> None:
        """Take a sample, if it is this one's turn and there is room. Raises nothing: the client shall have its answer."""
        order, tally = self._order, self._tally
        if order is None or random.random() * 100 >= order.percent:
            return
        if monotonic() > self._until:
            self.wanted = False
            return
        try:
            full = self._samples.qsize() >= MOST_SAMPLES
            size = 0 if full else sum(map(size_of, (*request.inputs.values(), *outputs.values())))
            if full or self._added - self._removed + size > MOST_BYTES:
                tally.unqueued += 1
                return
            sample = _Sample(order, tally, spec, request, outputs, size)
            asyncio.get_running_loop().call_soon(self._samples.put, sample)  # once the answer has been sent
            self._added += size
        except Exception as error:
            tally.unqueued += 1
            log.warning("an answer could not be kept to be compared: %s", type(error).__name__)

    def metrics(self) -> str:
        """Return the counts of the last orders in Prometheus' text format. Empty if there has been none."""
        if not self._tallies:
            return ""
        counts, largest = list[str](), list[str]()
        for order, tally in self._tallies.items():
            labels = f'model="{self._model}",version="{VERSION}",revision="{order.revision}",order="{order.key}"'
            results: Mapping[str, int] = {**tally.results, "dropped": tally.results["dropped"] + tally.unqueued}
            counts += [f'{METRIC}{{{labels},result="{result}"}} {count}' for result, count in results.items()]
            largest.append(f"{DIFFERENCE}{{{labels}}} {tally.largest!r}")
        return "\n".join(
            [
                f"# HELP {METRIC} Requests whose answer was compared with that of another revision",
                f"# TYPE {METRIC} counter",
                *counts,
                f"# HELP {DIFFERENCE} Largest absolute difference between compared answers",
                f"# TYPE {DIFFERENCE} gauge",
                *largest,
                "",
            ]
        )

    def _run(self) -> None:
        """Compare samples until no order holds any more."""
        while True:
            try:
                sample = self._samples.get(timeout=LEASE_SECONDS)
            except queue.Empty:
                if monotonic() > self._until:
                    break
                continue
            rest = 0.0
            if sample.tally is self._tally and monotonic() <= self._until:
                rest = self._compared(sample)
            self._removed += sample.size
            del sample  # its memory is free while this thread rests
            sleep(min(rest, _LONGEST_REST))
        if self._candidate is not None:
            self._candidate.close()

    def _compared(self, sample: _Sample) -> float:
        """Compare one sample, and return the seconds to rest."""
        began, tally, pause = thread_time(), sample.tally, 0.0
        try:
            differs, largest = self._of(sample.order.revision).differs(
                sample.spec, sample.request, sample.outputs, sample.order.tolerance
            )
            tally.results["differed" if differs else "agreed"] += 1
            tally.largest = min(max(tally.largest, largest), _LARGEST)
        except BusyError as busy:
            tally.results["dropped"] += 1
            pause = max(_BUSY_SECONDS, busy.seconds)
        except NoAnswerError as error:
            tally.results["failed"] += 1
            pause = _FAILED_SECONDS
            log.debug("revision %s: no answer to compare (%s)", sample.order.revision, error)
        except Exception as error:  # a defect here must not end the thread; its message might quote a client's data
            tally.results["failed"] += 1
            pause = _FAILED_SECONDS
            log.warning("an answer could not be compared: %s", type(error).__name__)
        return max(pause, REST * (thread_time() - began))

    def _of(self, revision: str) -> Counterpart:
        if self._candidate is None or self._candidate.revision != revision:
            if self._candidate is not None:
                self._candidate.close()
            address = self._address
            assert address is not None
            self._candidate = Counterpart(self._model, revision, lambda: address(revision))
        return self._candidate


def in_cluster(model: str, port: int, resolver: Path = _RESOLVER) -> Address | None:
    """Return how a candidate is found in this pod's own namespace. None outside of Kubernetes.

    The name is absolute, so that no search list leads it elsewhere.
    """
    try:
        lines = resolver.read_text().splitlines()
    except (OSError, ValueError):
        return None
    for domain in (domain for line in lines if line.startswith("search") for domain in line.split()[1:]):
        if domain.split(".")[1:2] == ["svc"]:
            return lambda revision: (f"{child(model, revision)}.{domain}.", port)
    return None
