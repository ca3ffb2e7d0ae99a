"""Answers of both runtimes, and of a server that an untrusted model has taken over."""

import time
from itertools import pairwise

import pytest

from onnxmodel_operator.live.parse import MOST_BYTES, UnreadableError, parse
from onnxmodel_operator.live.windows import Compared
from onnxmodel_runtime.contract.compare import CompareOrder
from onnxmodel_runtime.server.comparing import Comparing, _Tally
from onnxmodel_runtime.server.errors import Reason
from onnxmodel_runtime.server.recorder import LATENCIES, SECONDS, Compute, Recorder

LABELS = '{model="m",version="1"}'
LEAST = f"nv_inference_request_success{LABELS} 3\n"
BUCKET = "onnxmodel_request_duration_seconds_bucket"


def bucket(bound: str, count: int) -> str:
    return f'{BUCKET}{{model="m",version="1",le="{bound}"}} {count}\n'


def test_our_server_reports_all_of_it() -> None:
    recorder = Recorder("m")
    compute = Compute(1_000_000, 8_000_000, 1_000_000)
    recorder.execution(8, compute)
    for _ in range(3):  # joined
        recorder.success(2, 20_000_000, 10_000_000, compute)
    for reason in (Reason.BACKEND, Reason.REJECTED, Reason.CANCELED, Reason.OTHER, Reason.OTHER):
        recorder.failure(reason, 1)
    found = parse(recorder.metrics().encode(), "m")
    assert (found.successes, found.failures, found.canceled, found.refused) == (3, 2, 1, 2)
    assert (found.executions, found.rows) == (1, 6)
    assert (found.seconds, found.computing, found.run_seconds) == pytest.approx((0.06, 0.03, 0.01))
    assert found.latencies is not None
    assert found.latencies.bounds == LATENCIES
    assert found.latencies.milliseconds(99) == pytest.approx(20.97, abs=0.1)  # the bucket from 18 to 21 ms


def compared(result: str, count: int, order: str = "0a0a0a0a") -> str:
    return f'onnxmodel_compared_requests_total{{model="m",version="1",order="{order}",result="{result}"}} {count}\n'


def test_what_our_server_compared_is_read() -> None:
    comparing = Comparing("m", lambda _: ("127.0.0.1", 1))
    assert parse(f"{LEAST}{comparing.metrics()}".encode(), "m").compared == {}
    order = CompareOrder("0a0a0a0a", 10)
    comparing._tally = tally = _Tally(largest=0.25)
    comparing._tallies = {order: tally}
    comparing._tally.results |= {"agreed": 4, "differed": 3, "failed": 2, "dropped": 1}
    comparing._tally.unqueued = 10
    found = parse(f"{LEAST}{comparing.metrics()}".encode(), "m").compared
    assert found == {order.key: Compared(agreed=4, differed=3, failed=2, dropped=11, largest=0.25)}


def test_a_result_that_is_unknown_is_none() -> None:
    assert parse((LEAST + compared("agreed", 1) + compared("of a later release", 7)).encode(), "m").compared == {
        "0a0a0a0a": Compared(agreed=1)
    }


def test_a_server_has_few_orders() -> None:
    lines = "".join(compared("agreed", 1, f"{number:02x}") for number in range(5))
    with pytest.raises(UnreadableError, match="too many orders"):
        parse((LEAST + lines).encode(), "m")


def test_the_bounds_of_latencies_are_fine_and_contain_the_coarse_ones() -> None:
    assert set(SECONDS) < set(LATENCIES)
    assert max(b / a for a, b in pairwise(LATENCIES)) <= 1.2501


def test_another_models_counts_are_not_the_models() -> None:
    with pytest.raises(UnreadableError, match="no metric of the model other"):
        parse(LEAST.encode(), "other")


def test_labels_may_be_escaped_and_a_time_may_follow() -> None:
    text = 'nv_inference_request_success{model="m",note="a \\"}, b=\\\\"} 7 1700000000000\n'
    assert parse(text.encode(), "m").successes == 7


@pytest.mark.parametrize("bounds", ['{le="0.1",model="m"}', '{model="m",le="0.1",}', '{model="m", le="0.1"}'])
def test_labels_have_no_order(bounds: str) -> None:
    text = f"{LEAST}{BUCKET}{bounds} 2\n{bucket('+Inf', 3)}"
    found = parse(text.encode(), "m").latencies
    assert found is not None
    assert (found.bounds, list(found.counts), found.all) == ((0.1,), [2], 3)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "<html>",
        "\xff\xfe",
        "nv_inference_request_success 3",
        f"nv_inference_request_success{LABELS} ",
        f"nv_inference_request_success{LABELS} many",
        f"nv_inference_request_success{LABELS} NaN",
        f"nv_inference_request_success{LABELS} -1",
        f"nv_inference_request_success{LABELS} +Inf",
        f"nv_inference_request_success{LABELS} 1e300",
        'nv_inference_request_success{model="m',
        'nv_inference_request_success{model="m" 3',
        "nv_inference_request_success{model=m} 3",
        LEAST * 1001,
        LEAST + bucket("0.1", 1),
        LEAST + bucket("0.1", 2) + bucket("+Inf", 1),
        LEAST + bucket("low", 1) + bucket("+Inf", 1),
        LEAST + bucket("nan", 1) + bucket("+Inf", 1),
        LEAST + "".join(bucket(str(number), number) for number in range(200)) + bucket("+Inf", 200),
        LEAST + "x" * MOST_BYTES,
        LEAST + "\n" * 10_001,
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_else_happens(lines: str) -> None:
    with pytest.raises(UnreadableError):
        parse(lines.encode("latin-1"), "m")


@pytest.mark.parametrize(
    "line",
    [
        "nv_inference_request_success{" + "a" * (MOST_BYTES - 100) + "} 1",
        "nv_inference_request_success{" + 'a="' * 300_000 + "} 1",
        ("nv_inference_request_success{" + "a" * 1900 + "} 1\n") * 500,
        ('nv_inference_request_success{model="' + "\\\\" * 900 + '"} 1\n') * 500,
        ("#" * 100 + "\n") * 9_000,
        "{" * (MOST_BYTES - 1),
    ],
)
def test_a_hostile_answer_costs_no_more_than_a_moment(line: str) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError):
        parse(line.encode(), "m")
    assert time.process_time() - began < 0.5
