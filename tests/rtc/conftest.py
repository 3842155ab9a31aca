from __future__ import annotations

import asyncio
import fractions
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection

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


async def connect(
    caller: RTCPeerConnection, callee: RTCPeerConnection, change_answer: Callable[[str], str] = str
) -> None:
    """Exchange an offer and an answer."""
    await caller.setLocalDescription()
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription()
    answer = callee.localDescription
    await caller.setRemoteDescription(type(answer)(sdp=change_answer(answer.sdp), type=answer.type))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that other tasks and threads bring about."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0.005)  # noqa: ASYNC110
    except TimeoutError:
        pytest.fail(f"waited {TIMEOUT_S} s in vain until {what}")


async def read(track: MediaStreamTrack, count: int) -> list[av.VideoFrame]:
    """Read frames from a track."""
    async with asyncio.timeout(TIMEOUT_S):
        frames = [await track.recv() for _ in range(count)]
    assert all(isinstance(frame, av.VideoFrame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, av.VideoFrame)]


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
async def pair() -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection]]:
    """Two peer connections, closed at the end; no generator thread may outlive them."""
    caller, callee = RTCPeerConnection(), RTCPeerConnection()
    yield caller, callee
    await caller.close()
    await callee.close()
    await until(
        lambda: not any(thread.name.startswith("warpcall") for thread in threading.enumerate()),
        "the generator threads ended",
    )
