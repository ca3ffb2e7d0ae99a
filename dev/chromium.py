"""A real Chromium, driven by its DevTools protocol: for tests and benchmarks of pages, and to look at them.

Debian's package is enough. `chromium` on PATH, or the file that ONNXMODEL_CHROMIUM names.
"""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = os.environ.get("ONNXMODEL_CHROMIUM") or shutil.which("chromium") or ""
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--host-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
)  # fmt: skip
_START_SECONDS, _ANSWER_SECONDS = 60.0, 60.0


class PageError(AssertionError):
    """A script of the page or of the test failed in the browser."""


class Tab:
    """One page. complaints: uncaught errors, and what the console was told as errors, such as violations of the policy."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._socket, self._session, self._numbers = socket, "", count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def attach(self) -> None:
        """Make the page: the commands before are the browser's, and those after it are the page's."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command. Raises PageError if the browser refuses it."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json({**message, "sessionId": self._session} if self._session else message)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await self._answers[number]
        finally:
            del self._answers[number]
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, address: str) -> None:
        """Go to an address, from scratch."""
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=address)

    async def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Have a screen of this size, and a preference of colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page, awaited. Raises PageError."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        result = await self.call("Runtime.evaluate", **asked)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    async def until(self, script: str, seconds: float = 30) -> Any:
        """Return the first value of an expression that is true. Raises PageError with the page's text after the time."""
        problem = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        if value := await self.evaluate(script):
                            return value
                    except PageError as error:  # what it asks about is not there yet
                        problem = str(error)
                    await asyncio.sleep(0.02)
        text = await self.evaluate("document.body?.innerText ?? ''")
        raise PageError(f"not reached in {seconds:g} s: {script}\n{problem}\n{self.complaints}\n{text[:2000]}")

    async def press(self, key: str, text: str = "") -> None:
        """Press a key. text: the letter that it types."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        given: dict[str, Any] = {"key": key, "text": "\r" if key == "Enter" else text}
        given |= {"windowsVirtualKeyCode": codes[key], "code": key} if key in codes else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **given)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **{**given, "text": ""})

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """Take a PNG of the window, or of the whole page."""
        taken = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    async def listen(self) -> None:
        """Hand on what the browser says, until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said and (waiting := self._answers.get(said["id"])) and not waiting.done():
                waiting.set_result(said)
            elif "method" in said:
                self._hear(said["method"], said["params"])

    def _hear(self, method: str, said: Mapping[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])


@asynccontextmanager
async def browsing() -> AsyncIterator[Tab]:
    """Start a browser with one page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [PROGRAM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
        try:
            address = await _address(Path(folder) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                await tab.attach()
                for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _address(file: Path) -> str:
    async with asyncio.timeout(_START_SECONDS):
        while not (file.exists() and len(lines := file.read_text().split()) == 2):
            await asyncio.sleep(0.05)
    port, path = lines
    return f"ws://127.0.0.1:{port}{path}"
