"""The service behind both fronts: the model by name, its state, and one way to answer an inference."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from time import monotonic, perf_counter_ns
from typing import Any, TypeVar

from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.server import access
from onnxmodel_runtime.server.access import NOBODY, Caller
from onnxmodel_runtime.server.comparing import REST, Comparing, in_cluster
from onnxmodel_runtime.server.errors import BusyHereError, Code, Reason, ServerError
from onnxmodel_runtime.server.limits import OFF_LOOP
from onnxmodel_runtime.server.model import Model
from onnxmodel_runtime.server.protocol import describe
from onnxmodel_runtime.server.protocol.request import VERSION, InferRequest, ModelSpec, Outputs
from onnxmodel_runtime.server.recorder import Recorder
from onnxmodel_runtime.server.scheduler import Policy, Scheduler

log = logging.getLogger("onnxmodel.server")
T = TypeVar("T")

Encode = Callable[[Outputs], T]
Decode = Callable[[ModelSpec], tuple[InferRequest, Encode[T]]]


class Service:
    """One model, from loading to draining. It lives on the event loop."""

    def __init__(self, request: ServeRequest) -> None:
        self._request = request
        self._model: Model | None = None
        self._unjoined = ""
        self._scheduler: Scheduler | None = None
        self.recorder = Recorder(request.name)
        self.comparing = Comparing(request.name, in_cluster(request.name, request.http_port))
        self._rested = 0.0  # from when on the next compared request may run
        self.changed = asyncio.Event()
        """Set once `ready` may have changed; another takes its place then."""
        self._draining = False

    @property
    def name(self) -> str:
        """The model's."""
        return self._request.name

    @property
    def draining(self) -> bool:
        """True once no further request should come."""
        return self._draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._draining = value
        self._tell()

    @property
    def ready(self) -> bool:
        """True while traffic should come here."""
        return self._model is not None and not self.draining

    @property
    def live(self) -> bool:
        """True while this process can go on. Otherwise it must be replaced."""
        return self._scheduler is None or not self._scheduler.stuck

    def open(self, model: Model, unjoined: str, seconds: float) -> None:
        """Record that the model is loaded and proven, and answer from now on.

        unjoined: why requests are not batched; "" if they are.
        """
        self.recorder.loaded(model.use, seconds)
        request = self._request
        policy = Policy(
            request.max_queue_size,
            request.max_queue_delay_microseconds / 1e6,
            not unjoined,
            request.preferred_batch_sizes,
            request.default_timeout_microseconds / 1e6,
        )
        self._scheduler = Scheduler(model, self.recorder, policy)
        self._model, self._unjoined = model, unjoined
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def close(self) -> bool:
        """Stop executions. Returns whether there were none."""
        return self._scheduler.close() if self._scheduler else True

    def is_ready(self, name: str, version: str) -> bool:
        """Return whether the model is ready. Raises ServerError if there is no such model."""
        self._check(name, version)
        return self.ready

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """Return the model's metadata."""
        return describe.model(self._get(name, version).spec)

    def config(self, name: str, version: str) -> dict[str, Any]:
        """Return the model's configuration."""
        model = self._get(name, version)
        return describe.config(model.spec, model.use, self._request, self._unjoined)

    def statistics(self, name: str, version: str) -> list[dict[str, Any]]:
        """Return the statistics of the model, or of all models if no name is given."""
        if name:
            self._check(name, version)
        return [self.recorder.statistics()]

    def index(self, only_ready: bool) -> list[dict[str, str]]:
        """Return the repository's index."""
        reason = "" if self.ready else "unloading" if self.draining else "loading"
        return [] if only_ready and not self.ready else describe.index(self._request.name, self.ready, reason)

    async def infer(self, name: str, version: str, size: int, decode: Decode[T], caller: Caller = NOBODY) -> T:
        """Decode a request of so many bytes, run it, and encode the answer. Raises ServerError."""
        started = perf_counter_ns()
        try:
            spec = self._get(name, version).spec
        except ServerError as error:
            self._log(caller, None, size, perf_counter_ns() - started, _failed(error))
            raise
        assert self._scheduler is not None
        known: InferRequest | None = None
        try:
            request, encode = await _call(size, decode, spec)
            known = request
            answer = await self._scheduler.infer(request)
            result = await _call(sum(array.nbytes for array in answer.outputs.values()), encode, answer.outputs)
        except BaseException as error:
            duration = perf_counter_ns() - started
            self._log(caller, known, size, duration, _failed(error))
            raise self._failure(error, duration) from error
        duration = perf_counter_ns() - started
        self.recorder.success(request.rows, duration, answer.queue, answer.compute)
        if self.comparing.wanted:
            self.comparing.offer(spec, request, answer.outputs)
        if self._request.access_log:
            took = {"queue_us": answer.queue // 1000, "infer_us": answer.compute.infer // 1000}
            self._log(caller, request, size, duration, {"status": "OK", **took})
        return result

    def refused(self, caller: Caller, error: ServerError) -> None:
        """A front could not read a request: that is all there is to say of it."""
        self._log(caller, None, 0, 0, _failed(error))

    @property
    def quick(self) -> bool:
        """True while infer_now may be called."""
        return self._scheduler is not None and self._scheduler.quick and not self._request.access_log

    def infer_now(self, name: str, version: str, decode: Decode[T]) -> T | None:
        """Do as `infer` in the caller's thread. None for a request that is too large for that. Raises ServerError."""
        started = perf_counter_ns()
        spec = self._get(name, version).spec
        assert self._scheduler is not None
        try:
            request, encode = decode(spec)
            answer = self._scheduler.infer_now(request)
            if answer is None:
                return None
            result = encode(answer.outputs)
        except BaseException as error:
            raise self._failure(error, perf_counter_ns() - started) from error
        self.recorder.success(request.rows, perf_counter_ns() - started, answer.queue, answer.compute)
        if self.comparing.wanted:
            self.comparing.offer(spec, request, answer.outputs)
        return result

    def admit_apart(self, name: str, version: str) -> None:
        """Raise ServerError, BusyHereError where there is no time for a compared request."""
        self._get(name, version)
        assert self._scheduler is not None
        left = self._rested - monotonic()
        if not self._scheduler.free or left > 0 or self.draining:
            raise BusyHereError(left if 0 < left < math.inf else 0.0)

    async def infer_apart(self, name: str, version: str, size: int, decode: Decode[T]) -> T:
        """Answer for another revision, which compares: only where no client waits, for a hundredth of the time.

        Its execution is counted, and nothing else. Raises ServerError, BusyHereError where that is not so.
        """
        self.admit_apart(name, version)  # again: it took time to read the request
        spec, scheduler = self._get(name, version).spec, self._scheduler
        assert scheduler is not None
        self._rested = math.inf
        began, waited = monotonic(), 0.0
        try:
            request, encode = await _call(size, decode, spec)
            answer = await scheduler.infer(request)
            waited = answer.queue / 1e9
            return await _call(sum(array.nbytes for array in answer.outputs.values()), encode, answer.outputs)
        except ServerError:
            raise
        except Exception as error:
            raise ServerError("the inference failed", Code.INTERNAL, Reason.BACKEND) from error
        finally:
            self._rested = monotonic() + REST * max(0.0, monotonic() - began - waited)

    def _failure(self, error: BaseException, duration: int) -> BaseException:
        """Count a request that gets no answer; what its client is told."""
        self.recorder.failure(_reason(error), duration)
        if isinstance(error, ServerError | asyncio.CancelledError) or not isinstance(error, Exception):
            return error
        if not isinstance(error, MemoryError):
            log.error("an inference failed", exc_info=error)
        why = "memory ran out" if isinstance(error, MemoryError) else "see the server's log for the reason"
        return ServerError(f"the inference failed: {why}", Code.INTERNAL, Reason.BACKEND)

    def _log(
        self, caller: Caller, request: InferRequest | None, size: int, duration: int, end: Mapping[str, Any]
    ) -> None:
        """A line for the access log; what could not be read has no id and no rows."""
        if not self._request.access_log:
            return
        about = {"request_id": request.id, "rows": request.rows} if request else {}
        took = {"bytes": size, "duration_us": duration // 1000}
        access.write(caller, {"model": self._request.name, "version": VERSION, **about, **end, **took})

    def _check(self, name: str, version: str) -> None:
        if name != self._request.name:
            raise ServerError(f"Request for unknown model: '{name}' is not found")
        if version not in ("", VERSION):
            if not (version.isascii() and version.isdigit() and int(version[:20]) > 0):
                raise ServerError(
                    f"failed to get model version from specified version string '{version}', version should be an "
                    "integral value > 0"
                )
            raise ServerError(f"Request for unknown model: '{name}' version {version} is not found", Code.NOT_FOUND)

    def _get(self, name: str, version: str) -> Model:
        self._check(name, version)
        if self._model is None:
            raise ServerError(
                f"Request for unknown model: '{name}' version {VERSION} is not at ready state", Code.UNAVAILABLE
            )
        return self._model


async def _call(size: int, function: Callable[[Any], T], argument: Any) -> T:
    """Call the function, in a thread when there is much to do."""
    if size < OFF_LOOP:
        return function(argument)
    return await asyncio.to_thread(function, argument)


def _failed(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ServerError):
        return {"status": error.code.value, "error": error.message}
    canceled = isinstance(error, asyncio.CancelledError)
    return {"status": "CANCELLED"} if canceled else {"status": Code.INTERNAL.value, "error": type(error).__name__}


def _reason(error: BaseException) -> Reason:
    if isinstance(error, ServerError):
        return error.reason
    return Reason.CANCELED if isinstance(error, asyncio.CancelledError) else Reason.BACKEND
