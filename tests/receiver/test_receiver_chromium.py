"""The receiver with a real browser: Chromium, headless, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from PIL import Image

from receiver.config import ReceiverConfig

if TYPE_CHECKING:
    from tests.receiver.conftest import MakePeer, StartReceiver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not on this machine"),
]

Until = Callable[[Callable[[], bool]], Awaitable[None]]

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
async def open_page(folder: Path) -> AsyncIterator[Page]:
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


PUBLISH = """
(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 }, audio: true });
  const connection = new RTCPeerConnection();
  window.connection = connection;
  stream.getTracks().forEach((track) => connection.addTransceiver(track, { direction: "sendonly", streams: [stream] }));
  await connection.setLocalDescription();
  TRICKLE || await new Promise((resolve) => {
    const look = () => connection.iceGatheringState === "complete" ? resolve() : setTimeout(look, 20);
    look();
  });
  const response = await fetch("whip", {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: connection.localDescription.sdp,
  });
  window.session = response.headers.get("Location");
  await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
  return response.status;
})()
"""


async def test_the_page_plays_the_call_and_the_next_one(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, tmp_path: Path
) -> None:
    server = await start_receiver()
    async with open_page(tmp_path) as page:
        await page.open(f"{server.url}/")
        await page.until("document.getElementById('notice-text').textContent === 'Waiting for a call'")
        await page.until("document.querySelector('video').videoWidth > 0")
        for _ in range(2):
            peer = await make_peer(sound=True)
            await peer.call(f"{server.url}/whip")
            await page.until("document.getElementById('state').textContent === 'live'")
            before = await page.evaluate("document.querySelector('video').currentTime")
            await page.until(f"document.querySelector('video').currentTime > {before} + 0.5")
            assert await page.evaluate("document.querySelector('video').videoWidth") == 64
            assert await page.evaluate("document.querySelector('video').muted")
            await page.until("document.getElementById('payload').textContent.endsWith('kbit/s')")
            await page.until("document.querySelectorAll('#references img').length === 1")
            await page.until("document.querySelector('#references img').naturalWidth === 64")
            shown = Image.open(io.BytesIO(await page.screenshot())).convert("L")
            assert np.asarray(shown)[:, : shown.width // 2].std() > 20  # noise, as the reference is: not a dark page
            await peer.pc.close()
            await page.until("document.getElementById('notice-text').textContent.startsWith('Waiting. The last call')")


async def test_the_page_asks_for_the_token_and_unmutes(start_receiver: StartReceiver, tmp_path: Path) -> None:
    server = await start_receiver(ReceiverConfig(token="secret"))
    async with open_page(tmp_path / "one") as page:
        await page.open(f"{server.url}/")
        await page.until("document.getElementById('token-dialog').open")
        await page.evaluate("document.getElementById('token').value = 'secret'")
        await page.evaluate("document.querySelector('#token-form button').click()")
        await page.until("document.querySelector('video').videoWidth > 0")
        await page.evaluate("document.getElementById('sound').click()")
        assert not await page.evaluate("document.querySelector('video').muted")
    async with open_page(tmp_path / "two") as page:
        await page.open(f"{server.url}/#token=secret")
        await page.until("document.querySelector('video').videoWidth > 0")
        assert not await page.evaluate("document.getElementById('token-dialog').open")


@pytest.mark.parametrize("trickle", [False, True])
async def test_chromium_as_a_plain_sender_gets_an_ordinary_call(
    start_receiver: StartReceiver, until: Until, tmp_path: Path, trickle: bool
) -> None:
    server = await start_receiver(num_own=0)
    async with open_page(tmp_path) as page:
        await page.open(f"{server.url}/")
        assert await page.evaluate(PUBLISH.replace("TRICKLE", str(trickle).lower())) == 201
        call = server.switchboard.last_call
        assert call is not None
        await until(lambda: call.stats.num_shown > 20)
        assert call.stats.codec in ("VP8", "H264")
        assert server.switchboard.state == "live"
        await page.until("document.querySelector('video').videoWidth >= 160")
        assert await page.evaluate("fetch(session, { method: 'DELETE' }).then((response) => response.status)") == 200
        await until(lambda: server.switchboard.state == "waiting")
        assert call.end_reason == "the sender hung up"
