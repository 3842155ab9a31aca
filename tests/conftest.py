from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from codec import Model, random_model
from codec.config import CodecConfig, compact_256


@pytest.fixture(scope="session")
def tiny_config() -> CodecConfig:
    return dataclasses.replace(
        compact_256(),
        name="tiny",
        image_size=64,
        detector_size=32,
        detector_width=8,
        detector_max_width=16,
        detector_blocks=2,
        unet_size=8,
        unet_width=8,
        unet_max_width=16,
        unet_blocks=2,
        value_dim=16,
        decoder_width=16,
        decoder_blocks=1,
        num_extra_keys=4,
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config: CodecConfig) -> Model:
    return random_model(tiny_config)


# Chromium, headless, driven through its DevTools protocol: for the tests of pages.
CHROMIUM = "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
)


class Page:
    """One page of the browser."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result; events are passed over."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message: dict[str, Any] = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        result = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        await self.evaluate(
            f"new Promise((done) => {{ const look = () => ({expression}) ? done() : setTimeout(look, 50); look(); }})"
        )

    async def screenshot(self) -> bytes:
        """Return what the page looks like as PNG."""
        result = await self.command("Page.captureScreenshot", format="png")
        return base64.b64decode(result["data"])


@contextlib.asynccontextmanager
async def chromium_page(folder: Path) -> AsyncIterator[Page]:
    """Run Chromium with a profile of its own and give its first page.

    Args:
        folder: for the profile; removed by whoever made it.
    """
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _devtools_port(process)
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                targets = await response.json(content_type=None)
            url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
            async with session.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                await page.command("Page.enable")
                yield page
                with contextlib.suppress(ConnectionError):
                    await page.command("Browser.close")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _devtools_port(process: asyncio.subprocess.Process) -> int:
    """Return the port of the DevTools protocol, which Chromium names on standard error."""
    assert process.stderr is not None
    async for line in process.stderr:
        if match := re.match(rb"DevTools listening on ws://[^:]+:(\d+)/", line):
            return int(match[1])
    raise AssertionError("Chromium did not start")


OpenPage = Callable[[Path], AbstractAsyncContextManager[Page]]


@pytest.fixture(scope="session")
def open_page() -> OpenPage:
    """Give what runs Chromium, where that is installed (Debian: apt install chromium)."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is not installed; it is a program of the system, which no Python package brings")
    return chromium_page
