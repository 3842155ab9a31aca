"""The WHEP endpoint: what a viewer sees and hears."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import av
import pytest
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from codec.rtc import Plugin
from receiver.config import ReceiverConfig

if TYPE_CHECKING:
    from tests.receiver.conftest import MakePeer, StartReceiver

SDP = {"Content-Type": "application/sdp"}
Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Watcher:
    """A viewer over aiortc."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tracks: dict[str, MediaStreamTrack] = {}
        self.pc.on("track", lambda track: self.tracks.setdefault(track.kind, track))

    async def watch(self, http: ClientSession, url: str, *kinds: str) -> tuple[int, str]:
        for kind in kinds:
            self.pc.addTransceiver(kind, direction="recvonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        async with http.post(f"{url}/whep", data=self.pc.localDescription.sdp, headers=SDP) as response:
            text = await response.text()
            if response.status == 201:
                await self.pc.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
            return response.status, response.headers.get("Location", text)


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def watcher(plugin: Plugin) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    yield watcher
    await watcher.pc.close()


async def test_a_viewer_sees_vp8_before_during_and_after_a_call(
    start_receiver: StartReceiver, make_peer: MakePeer, watcher: Watcher, http: ClientSession, until: Until
) -> None:
    server = await start_receiver()
    status, location = await watcher.watch(http, server.url, "video", "audio")
    assert status == 201
    assert location.startswith(f"{server.url}/whep/")
    assert "VP8/90000" in watcher.pc.remoteDescription.sdp
    assert "WARPCALL" not in watcher.pc.remoteDescription.sdp
    dark = await watcher.tracks["video"].recv()
    assert isinstance(dark, av.VideoFrame)
    assert dark.to_ndarray()[:64].mean() < 60
    peer = await make_peer(sound=True)
    await peer.call(f"{server.url}/whip")
    for _ in range(200):
        frame = await watcher.tracks["video"].recv()
        assert isinstance(frame, av.VideoFrame)
        if frame.to_ndarray()[:64].mean() > 90:
            break
    else:
        raise AssertionError("the call's picture did not come")
    sound = await watcher.tracks["audio"].recv()
    assert isinstance(sound, av.AudioFrame)
    await peer.pc.close()
    await until(lambda: server.switchboard.state == "waiting")
    assert isinstance(await watcher.tracks["video"].recv(), av.VideoFrame)
    async with http.delete(location) as response:
        assert response.status == 200
    async with http.delete(location) as response:
        assert response.status == 404
    async with http.get(f"{server.url}/stats") as response:
        assert (await response.json())["viewers"] == 0


async def test_a_viewer_may_want_no_sound(start_receiver: StartReceiver, watcher: Watcher, http: ClientSession) -> None:
    server = await start_receiver()
    assert (await watcher.watch(http, server.url, "video"))[0] == 201
    assert isinstance(await watcher.tracks["video"].recv(), av.VideoFrame)


async def test_bad_offers_are_refused(start_receiver: StartReceiver, watcher: Watcher, http: ClientSession) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whep", data="v=1", headers=SDP) as response:
        assert response.status == 400
    async with http.post(f"{server.url}/whep", data="v=0", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415
    status, reason = await watcher.watch(http, server.url, "audio")
    assert status == 422
    assert "does not ask for video" in reason
    async with http.get(f"{server.url}/stats") as response:
        assert (await response.json())["viewers"] == 0


async def test_other_origins_may_not_watch(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    async with http.options(f"{server.url}/whep", headers={"Origin": "https://example.org"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_number_of_viewers_is_bounded(
    start_receiver: StartReceiver, watcher: Watcher, http: ClientSession
) -> None:
    server = await start_receiver(ReceiverConfig(max_viewers=0))
    assert (await watcher.watch(http, server.url, "video"))[0] == 503


async def test_a_viewer_that_vanishes_is_dropped(
    start_receiver: StartReceiver, watcher: Watcher, http: ClientSession, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.whep.SILENCE_S", 0.2)
    server = await start_receiver()
    monkeypatch.setattr(watcher.pc, "setRemoteDescription", _ignore)
    assert (await watcher.watch(http, server.url, "video"))[0] == 201
    await until(lambda: server._viewers.num_viewers == 0)


async def _ignore(_: RTCSessionDescription) -> None:
    return
