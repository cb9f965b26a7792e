"""A real browser without a window: Debian's Chromium, spoken to by its debugging protocol over two pipes.

    with Chromium(width=1280, height=800) as browser:
        page = browser.open(path)
        page.evaluate("document.title")
        page.press("ArrowRight")
        page.picture(path_of_png)

Commands and answers are JSON objects, each ended by a zero byte; the browser reads from descriptor 3 and writes to 4.
What a page prints or throws is kept, so that a test can demand that there is nothing.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0


def program() -> str | None:
    """Where the browser is, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


needs_chromium = pytest.mark.skipif(
    program() is None, reason="no Chromium on this machine; install Debian's package `chromium`"
)


class Page:
    """One page. `complaints`: errors and warnings that it printed, exceptions that nobody caught."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.fetched: list[str] = []

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._browser.tell(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys by their names: "ArrowRight", "f"."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.tell("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.tell("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the page."""
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def wheel(self, x: float, y: float, by: float) -> None:
        """Turn the wheel at a place."""
        self.tell("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def picture(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        self.settle()
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))


class Chromium:
    """The browser, from its start to its end."""

    def __init__(self, *, width: int = 1280, height: int = 800) -> None:
        self._size = (width, height)
        self._numbers = itertools.count(1)
        self._pages: dict[str, Page] = {}
        self._rest = b""

    def __enter__(self) -> "Chromium":
        self._profile = tempfile.TemporaryDirectory(prefix="tabletop-browser-", ignore_cleanup_errors=True)
        its_input, self._to = os.pipe()
        self._from, its_output = os.pipe()

        def give_descriptors() -> None:
            reads, writes = os.dup(its_input), os.dup(its_output)
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        width, height = self._size
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile.name}",
            f"--window-size={width},{height}",
        ]
        self._process = subprocess.Popen(
            [program() or "chromium", *arguments],
            pass_fds=(3, 4),
            preexec_fn=give_descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_input)
        os.close(its_output)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.tell("Browser.close")
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, path: Path) -> Page:
        """Open a file; returns when it is loaded."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        width, height = self._size
        page.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.tell(f"{domain}.enable")
        page.tell("Page.navigate", url=path.resolve().as_uri())
        loaded = "document.readyState === 'complete' && location.protocol === 'file:'"
        deadline = time.monotonic() + SECONDS
        while not page.evaluate(loaded):
            assert time.monotonic() < deadline, "the page does not load"
        return page

    def tell(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        page, what = self._pages.get(event.get("sessionId", "")), event.get("params", {})
        if page is None:
            return
        if event["method"] == "Runtime.exceptionThrown":
            page.complaints.append(str(what["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded":
            page.complaints.append(str(what["entry"]["text"]))
        elif event["method"] == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning"):
            page.complaints.append(str(what["args"]))
        elif event["method"] == "Network.requestWillBeSent":
            page.fetched.append(what["request"]["url"])
