"""The receiver with a real browser: Chromium, headless, driven through its DevTools protocol."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from receiver.config import ReceiverConfig

if TYPE_CHECKING:
    from tests.conftest import OpenPage
    from tests.receiver.conftest import MakePeer, StartReceiver

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], bool]], Awaitable[None]]

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
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, open_page: OpenPage, tmp_path: Path
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


async def test_the_page_asks_for_the_token_and_unmutes(
    start_receiver: StartReceiver, open_page: OpenPage, tmp_path: Path
) -> None:
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
    start_receiver: StartReceiver, until: Until, open_page: OpenPage, tmp_path: Path, trickle: bool
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
