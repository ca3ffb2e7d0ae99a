"""The server's life: listen, load, prove, serve, drain."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import uvloop

from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError, clip
from onnxmodel_runtime.sandbox import termination
from onnxmodel_runtime.sandbox.exposure import check_no_identity
from onnxmodel_runtime.server import limits, selftest
from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server.grpc.rpc import Call
from onnxmodel_runtime.server.grpc.service import methods
from onnxmodel_runtime.server.http import Metrics
from onnxmodel_runtime.server.http import Protocol as HttpProtocol
from onnxmodel_runtime.server.http1.transport import Http1
from onnxmodel_runtime.server.http2.transport import Http2
from onnxmodel_runtime.server.listener import Listener, drain
from onnxmodel_runtime.server.service import Service

log = logging.getLogger("onnxmodel.server")
T = TypeVar("T")


def serve(
    request: ServeRequest,
    worded: Callable[[Outcome], Outcome] | None = None,
    clean: Callable[[], None] = lambda: None,
    said: Callable[[str], str] = str,
) -> int:
    """Serve until SIGTERM. Returns the exit code; a start that fails also leaves its reason for the operator.

    worded: how a failure is worded for a person who runs this. clean: removes the caller's temporary files; called where
    the process must end without returning. said: how the log words why requests are not joined.
    """
    # Does nothing where logging is set up already.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    began = time.monotonic()
    server = Server(request, said)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            check_no_identity()
            runner.run(server.run())
            code: int = ExitCode.OK
        except Exception as error:
            code = _leave(error, time.monotonic() - began, worded)
    if not server.idle:
        # Threads are still inside ONNX Runtime. Waiting for them could take for ever, and unloading the library under
        # them ends in a segmentation fault, so that nothing is unloaded.
        with contextlib.suppress(OSError):  # a thread may still write there
            clean()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class Server:
    """The parts of the process, in the order in which they start and stop."""

    def __init__(self, request: ServeRequest, said: Callable[[str], str] = str) -> None:
        """said: how the reason why requests are not joined is worded in the log."""
        self._request = request
        self._said = said
        self._service = Service(request)
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ready = threading.Event()
        self.ports: tuple[int, int, int] = (0, 0, 0)
        self.idle = True

    async def run(self) -> None:
        """Serve until stop is called. Raises StageError when the model cannot be served."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._stop.set)
        listeners = await self._listen()
        try:
            if await self._load():
                self.ready.set()
                await self._stop.wait()
        finally:
            await self._drain(listeners)

    def stop(self) -> None:
        """Begin to drain. May be called from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped already
                self._loop.call_soon_threadsafe(self._stop.set)

    async def _listen(self) -> list[Listener]:
        request, service = self._request, self._service
        made: list[Listener] = []
        try:
            for make, port in (
                (partial(Http1, HttpProtocol(service)), request.http_port),
                (partial(Http2, Call, methods(service)), request.grpc_port),
                (partial(Http1, Metrics(service)), request.metrics_port),
            ):
                made.append(Listener(make, request.host, port))
        except (OSError, RuntimeError) as error:
            await asyncio.gather(*(listener.stop(0.0) for listener in made))
            raise StageError(
                "PortUnavailable",
                f"cannot listen on {request.host}, ports {request.http_port}, {request.grpc_port} and "
                f"{request.metrics_port}: {error}",
                "Stop the process that uses them, or choose other ports.",
                retry=True,
            ) from error
        self.ports = (made[0].port, made[1].port, made[2].port)
        for listener in made:
            await listener.start()
        return made

    async def _load(self) -> bool:
        """Load and prove the model. False when the server was stopped meanwhile."""

        def load() -> tuple[models.Model, str]:
            model = models.load(self._request)
            return model, selftest.run(model, self._request)

        began = time.monotonic()
        self.idle = False
        loading = _in_daemon_thread(load)
        stopping = asyncio.create_task(self._stop.wait())
        first: list[asyncio.Future[Any]] = [loading, stopping]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not loading.done():
            return False  # and not idle: building an engine may take minutes
        self.idle = True
        model, unjoined = loading.result()
        gc.collect()
        gc.freeze()  # what is there now stays: collections in the middle of requests need not look at it again
        seconds = time.monotonic() - began
        self._service.open(model, unjoined, seconds)
        log.info(
            "%s is ready after %.1f s on %s (%s %% of its nodes): HTTP %d, gRPC %d, metrics %d",
            *(self._request.name, seconds, model.use.name, model.use.share_percent),
            *self.ports,
        )
        log.info("requests are %s", f"not batched: {self._said(unjoined)}" if unjoined else "batched")
        return True

    async def _drain(self, listeners: list[Listener]) -> None:
        """Not ready at once; clients are answered until they have left, and those that have not are told UNAVAILABLE."""
        served = self.ready.is_set()
        if served:
            log.info("draining")
            self._service.draining = True
            await drain(listeners, limits.DRAIN_SECONDS)
        self.idle = self._service.close() and self.idle
        await asyncio.gather(*(listener.stop(limits.STOP_SECONDS if served else 0.0) for listener in listeners))


def _in_daemon_thread(function: Callable[[], T]) -> "asyncio.Future[T]":
    """Like asyncio.to_thread, but the process can end while the function runs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future


def _leave(error: Exception, seconds: float, worded: Callable[[Outcome], Outcome] | None) -> int:
    """Leave the reason where the operator reads it, and in the log. Returns the exit code."""
    if isinstance(error, StageError):
        failure, retry = error.failure, error.retry
    else:
        log.error("the server failed", exc_info=error)
        hint = "This is a bug in onnxmodel: please report it with the log."
        failure, retry = Failure("InternalError", clip(f"{type(error).__name__}: {error}"), hint), False
    left = Outcome("serve", round(seconds, 3), failure=failure, retry=retry)
    left = worded(left) if worded else left
    termination.print_failure(left.failure or failure)
    return termination.exit_code(termination.write_termination_message(left))
