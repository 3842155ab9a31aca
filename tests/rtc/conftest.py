from __future__ import annotations

import asyncio
import fractions
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import is_rtcp

from codec import Model
from codec.frames import Rgb
from codec.rtc import Plugin, register, unregister

TIMEOUT_S = 30.0
FRAME_INTERVAL_S = 0.01


class MovingSquareTrack(MediaStreamTrack):
    """A bright square that moves over noise, at a hundred frames a second; ``opaque`` is the frame's index."""

    kind = "video"

    def __init__(self, width: int = 96, height: int = 64) -> None:
        super().__init__()
        self._index = 0
        self._background = np.random.default_rng(0).integers(0, 90, (height, width, 3), dtype=np.uint8)

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(FRAME_INTERVAL_S)
        pixels = self._background.copy()
        left = 8 + 3 * self._index % 48
        pixels[20:44, left : left + 24] = 220
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = 3000 * self._index
        frame.time_base = fractions.Fraction(1, 90_000)
        frame.opaque = self._index
        self._index += 1
        return frame


class Loopback:
    """Two peer connections in one event loop; the callee's tracks are read."""

    def __init__(self) -> None:
        self.caller = RTCPeerConnection()
        self.callee = RTCPeerConnection()
        self.tracks: list[MediaStreamTrack] = []
        self.callee.on("track", self.tracks.append)

    async def connect(
        self,
        *,
        is_reversed: bool = False,
        change_offer: Callable[[str], str] = str,
        change_answer: Callable[[str], str] = str,
    ) -> None:
        """Exchange an offer and an answer, changed on their way."""
        caller, callee = (self.callee, self.caller) if is_reversed else (self.caller, self.callee)
        await caller.setLocalDescription()
        await callee.setRemoteDescription(_changed(caller.localDescription, change_offer))
        await callee.setLocalDescription()
        await caller.setRemoteDescription(_changed(callee.localDescription, change_answer))

    async def read(self, count: int) -> list[av.VideoFrame]:
        """Read frames from the callee's first track."""
        async with asyncio.timeout(TIMEOUT_S):
            frames = [await self.tracks[0].recv() for _ in range(count)]
        assert all(isinstance(frame, av.VideoFrame) for frame in frames)
        return [frame for frame in frames if isinstance(frame, av.VideoFrame)]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition that other tasks and threads bring about."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not condition():  # noqa: ASYNC110 (the condition is another thread's)
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"waited {TIMEOUT_S} s in vain until {what}")

    def change_packets(self, change: Callable[[bytes], bytes | None]) -> None:
        """Change the caller's RTP packets before they are encrypted; None drops one. RTCP is left alone."""
        transport = self.caller.getSenders()[0].transport
        send = transport._send_rtp

        async def changed_send(data: bytes) -> None:
            packet = data if is_rtcp(data) else change(data)
            if packet is not None:
                await send(packet)

        transport.__dict__["_send_rtp"] = changed_send

    async def close(self) -> None:
        """End both connections; no generator thread may outlive them."""
        await self.caller.close()
        await self.callee.close()
        await self.until(
            lambda: not any(thread.name.startswith("warpcall") for thread in threading.enumerate()),
            "the generator threads ended",
        )


def _changed(description: RTCSessionDescription, change: Callable[[str], str]) -> RTCSessionDescription:
    return RTCSessionDescription(sdp=change(description.sdp), type=description.type)


@pytest.fixture
def reference(tiny_model: Model) -> Rgb:
    size = tiny_model.config.image_size
    return np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def inline(tiny_model: Model, reference: Rgb) -> Iterator[Plugin]:
    plugin = Plugin(tiny_model, references=[reference])
    register(plugin)
    yield plugin
    unregister()


@pytest.fixture
def deferred(tiny_model: Model) -> Iterator[Plugin]:
    plugin = Plugin(tiny_model, pictures="deferred")
    register(plugin)
    yield plugin
    unregister()


@pytest.fixture
def video() -> MovingSquareTrack:
    return MovingSquareTrack()


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    pair = Loopback()
    yield pair
    await pair.close()
