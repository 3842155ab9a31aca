"""The receiver in the test's own process, and a small sender that calls it: a WHIP client over aiortc."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Protocol, TypeVar

import av
import numpy as np
import pytest
from aiohttp import ClientResponse, ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from codec import Decoder, Model
from codec.config import WIRE_VERSION
from codec.face.folder import Reference
from codec.rtc import ControlChannel, Plugin, prefer_ordinary, register, unregister
from codec.structs import Clock, ControlMessage, EncodedFrame, Hello
from receiver.config import ReceiverConfig
from receiver.output import Screen
from receiver.server import ReceiverServer
from receiver.shelf import ReferenceShelf
from receiver.studio import Studio

Message = TypeVar("Message", bound=ControlMessage)

FRAME_INTERVAL_S = 0.03
SOUND_RATE_HZ = 48_000
SOUND_SAMPLES = 960
DEFAULTS = ReceiverConfig()


class BarsTrack(MediaStreamTrack):
    """A bright bar that moves over grey, 33 pictures a second; ``opaque`` is the time of capture in microseconds."""

    kind = "video"

    def __init__(self, width: int = 64, height: int = 64) -> None:
        super().__init__()
        self._size = (height, width)
        self._start_s: float | None = None
        self._index = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(FRAME_INTERVAL_S)
        self._start_s = self._start_s or time.time()
        now_s = time.time()
        pixels = np.full((*self._size, 3), 90, dtype=np.uint8)
        left = 2 * self._index % (self._size[1] - 8)
        pixels[:, left : left + 8] = (230, 60, 60)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = round((now_s - self._start_s) * 90_000)
        frame.time_base = fractions.Fraction(1, 90_000)
        frame.opaque = round(now_s * 1e6)
        self._index += 1
        return frame


class ToneTrack(MediaStreamTrack):
    """A 440 Hz tone in frames of 20 ms; remembers when its first sample was captured."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.start_us: int | None = None
        self._start_s: float | None = None
        self._num_samples = 0

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        if self._start_s is None:
            self._start_s, self.start_us = loop.time(), round(time.time() * 1e6)
        await asyncio.sleep(max(0.0, self._start_s + self._num_samples / SOUND_RATE_HZ - loop.time()))
        times = (self._num_samples + np.arange(SOUND_SAMPLES)) / SOUND_RATE_HZ
        samples = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts = self._num_samples
        frame.time_base = fractions.Fraction(1, SOUND_RATE_HZ)
        self._num_samples += SOUND_SAMPLES
        return frame


class SendingPeer:
    """Calls a receiver. Both ends live in one process, so they share the registered plug-in.

    Attributes:
        messages: what the receiver said on the control channel.
        location: the call's URL.
        answer: the SDP answer.
    """

    def __init__(self, model: Model, *, sound: bool = False, ordinary: bool = False, size: int = 64) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.messages: list[ControlMessage] = []
        self.location = ""
        self.answer = ""
        self.hello = Hello(WIRE_VERSION, model.sha256, model.config.name, "sender", (), 4, model.priors.sha256)
        self.control: ControlChannel | None = None
        self.news = asyncio.Event()
        self._http = ClientSession()
        self._tone = ToneTrack() if sound else None
        video = self.pc.addTransceiver(BarsTrack(size, size), direction="sendonly")
        if ordinary:
            prefer_ordinary(video)
        else:
            self.control = ControlChannel.create(self.pc, self._on_message)
        if self._tone is not None:
            self.pc.addTransceiver(self._tone, direction="sendonly")

    async def __aenter__(self) -> SendingPeer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.pc.close()
        await self._http.close()

    async def post(self, url: str, token: str | None = None) -> ClientResponse:
        """Post the offer and take the answer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        headers = {"Content-Type": "application/sdp"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        response = await self._http.post(url, data=self.pc.localDescription.sdp, headers=headers)
        if response.status == 201:
            self.location = response.headers["Location"]
            self.answer = await response.text()
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp=self.answer, type="answer"))
        return response

    async def call(self, url: str) -> None:
        """Post the offer, wait for the control channel and say hello."""
        response = await self.post(url)
        assert response.status == 201, await response.text()
        if self.control is not None:
            await self.control.opened()
            self.control.send(self.hello)

    async def wait_for(self, kind: type[Message]) -> Message:
        """Return the first message of a kind, once it has come."""
        while True:
            for message in self.messages:
                if isinstance(message, kind):
                    return message
            self.news.clear()
            await self.news.wait()

    def send_clock(self, encoded: EncodedFrame, pts: int, capture_time_us: object) -> None:
        """Tell the capture clock of a coded frame, and of the sound; runs on the event loop."""
        if self.control is None or not self.control.is_open:
            return
        if isinstance(capture_time_us, int):
            self.control.send(Clock("video", encoded.number, pts, 90_000, capture_time_us))
        if self._tone is not None and self._tone.start_us is not None:
            self.control.send(Clock("audio", 0, 0, SOUND_RATE_HZ, self._tone.start_us))

    def _on_message(self, message: ControlMessage) -> None:
        self.messages.append(message)
        self.news.set()


class StartReceiver(Protocol):
    """Starts a receiver in this process."""

    async def __call__(self, config: ReceiverConfig = ..., *, num_own: int = ...) -> ReceiverServer: ...


class MakePeer(Protocol):
    """Makes a sender that shares the receiver's plug-in."""

    async def __call__(self, *, sound: bool = ..., ordinary: bool = ..., size: int = ...) -> SendingPeer: ...


@pytest.fixture
def plugin(tiny_model: Model) -> Iterator[Plugin]:
    plugin = Plugin(tiny_model, pictures="deferred")
    register(plugin)
    yield plugin
    unregister()


@pytest.fixture
def references(tiny_model: Model) -> list[Reference]:
    size = tiny_model.config.image_size
    rng = np.random.default_rng(0)
    return [
        Reference(f"{index:064x}", rng.integers(0, 256, (size, size, 3), dtype=np.uint8), f"{index}.png")
        for index in range(2)
    ]


@pytest.fixture
def studio(tiny_model: Model, plugin: Plugin, references: list[Reference]) -> Callable[[ReceiverConfig, int], Studio]:
    def make(config: ReceiverConfig, num_own: int) -> Studio:
        size = tiny_model.config.image_size
        shelf = ReferenceShelf(size, config.max_references, references[:num_own])
        return Studio(
            config=config,
            model=tiny_model,
            plugin=plugin,
            decoder=Decoder(tiny_model),
            shelf=shelf,
            screen=Screen(size),
        )

    return make


@pytest.fixture
async def start_receiver(studio: Callable[[ReceiverConfig, int], Studio]) -> AsyncIterator[StartReceiver]:
    async with AsyncExitStack() as stack:

        async def start(config: ReceiverConfig = DEFAULTS, *, num_own: int = 1) -> ReceiverServer:
            return await stack.enter_async_context(ReceiverServer(studio(replace(config, port=0), num_own)))

        yield start


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition; the test's own time limit bounds it."""

    async def wait(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - aiortc and the network have no event for what is awaited
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def make_peer(tiny_model: Model, plugin: Plugin) -> AsyncIterator[MakePeer]:
    async with AsyncExitStack() as stack:

        async def make(*, sound: bool = False, ordinary: bool = False, size: int = 64) -> SendingPeer:
            peer = await stack.enter_async_context(SendingPeer(tiny_model, sound=sound, ordinary=ordinary, size=size))
            loop = asyncio.get_running_loop()

            def send_clock(encoded: EncodedFrame, pts: int, opaque: object) -> None:
                loop.call_soon_threadsafe(peer.send_clock, encoded, pts, opaque)

            plugin.on_encoded = send_clock
            return peer

        yield make
        plugin.on_encoded = None
