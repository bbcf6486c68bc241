"""A real headless Chromium, spoken to in its DevTools protocol; ends with the block that started it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.waiting import eventually, wait_until

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
END_SECONDS = 10.0


def chromium_binary() -> str:
    """Return the path of Chromium; skips the test where there is none, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            raise AssertionError("CI must have a browser: install Debian's chromium package")
        pytest.skip("no chromium on PATH: install Debian's chromium package to run this test")
    return found


class Tab:
    """One page of the browser, with everything that it requested, logged and threw."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._serial = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Take in answers and events until the browser ends."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} ({told['entry'].get('url')})")

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._serial += 1
        answer = self._answers[self._serial] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._serial, "method": method, "params": parameters})
        async with asyncio.timeout(ANSWER_SECONDS):
            said = await answer
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page and return its value."""
        said = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def look(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the window's size, in CSS pixels, and the colours that its owner prefers."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'", what=f"{url} is loaded")

    async def press(self, key: str, *, text: str = "") -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)

    async def until(self, expression: str, *, what: str, timeout_seconds: float = 30.0) -> None:
        """Return as soon as the expression is true in the page; fail naming `what` and what the page complained of."""

        async def holds() -> bool:
            return bool(await self.run(f"Boolean({expression})"))

        try:
            await eventually(holds, what=what, timeout_seconds=timeout_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page complained of {self.complaints}") from error

    async def screenshot(self, path: Path) -> None:
        """Write the whole page, beyond the window, as a PNG."""
        size = (await self.send("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


@contextlib.contextmanager
def running_chromium(profile: Path) -> Iterator[int]:
    """Run a browser with an empty profile in the folder `profile` and yield the port of its DevTools."""
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    arguments += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync"]
    arguments += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    noted = profile / "DevToolsActivePort"
    # a group of its own, because Debian's chromium is a script and the browser many processes
    process = subprocess.Popen(
        [chromium_binary(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def ready() -> bool:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        return noted.exists() and bool(noted.read_text())

    try:
        wait_until(ready, what="chromium can be spoken to", timeout_seconds=START_SECONDS)
        yield int(noted.read_text().split()[0])
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser with everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            return


@contextlib.asynccontextmanager
async def open_tab(port: int) -> AsyncIterator[Tab]:
    """Open an empty page in the browser whose DevTools listen on `port`; it is closed when the block ends."""
    async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as response:
            page = await response.json()
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            listening = asyncio.create_task(tab.listen())
            for domain in ("Page", "Runtime", "Network", "Log"):
                await tab.send(f"{domain}.enable")
            yield tab
            async with session.get(f"/json/close/{page['id']}") as response:
                assert response.status == 200
            await listening
