from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from codec import Model
from codec.bitstream.priors import load_priors
from codec.config import WIRE_VERSION
from codec.model.weights import EMBEDDED, save_weights
from codec.rtc import ControlChannel, ReceivedFrame, prefer_ordinary
from codec.structs import Bye, Clock, ControlMessage, Hello, ReferencePicture, ReferenceStatus
from sender.config import CodingConfig, OutputConfig, PeerConfig, SenderConfig, SourceConfig


def without_data_channel(answer: str) -> str:
    """Return an answer that refuses the data channel, as servers do that know none (RFC 8843, section 7.3.3)."""
    before, application, section = answer.partition("m=application ")
    if not application:
        return answer
    mid = section.partition("a=mid:")[2].partition("\r\n")[0]
    return before.replace(f" {mid}\r\n", "\r\n", 1) + (
        f"m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{mid}\r\n"
    )


class FakeReceiver:
    """A WHIP endpoint with a real peer connection behind it, and switches for its faults."""

    def __init__(self, model_sha256: str) -> None:
        self.hello: Hello | None = Hello(
            wire_version=WIRE_VERSION,
            model_sha256=model_sha256,
            config_name="tiny",
            role="receiver",
            reference_sha256s=(),
            max_references=4,
            priors_sha256=load_priors(EMBEDDED.with_suffix(".priors.safetensors")).sha256,
        )
        self.token: str | None = None
        self.ordinary = False
        self.refuses_data = False
        self.status = 201
        self.answer: str | None = None
        self.content_type = "application/sdp"
        self.links: tuple[str, ...] = ()
        self.url = ""
        self.num_offers = 0
        self.offers: list[str] = []
        self.deleted: list[str] = []
        self.messages: list[ControlMessage] = []
        self.num_frames = {"video": 0, "audio": 0}
        self.numbers: list[int] = []
        self.num_ordinary = 0
        self.connections: list[RTCPeerConnection] = []
        self.on_frame: Callable[[FakeReceiver, str], None] | None = None
        self._controls: list[ControlChannel] = []
        self._tasks: list[asyncio.Task[None]] = []

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/whip", self._post)
        application.router.add_route("OPTIONS", "/whip", self._options)
        application.router.add_delete("/whip/{id}", self._delete)
        return application

    @property
    def clocks(self) -> list[Clock]:
        return [message for message in self.messages if isinstance(message, Clock)]

    @property
    def references(self) -> list[ReferencePicture]:
        return [message for message in self.messages if isinstance(message, ReferencePicture)]

    @property
    def byes(self) -> list[Bye]:
        return [message for message in self.messages if isinstance(message, Bye)]

    def say(self, message: ControlMessage) -> None:
        self._controls[-1].send(message)

    def vanish(self) -> None:
        """Fall silent without a word, as a machine that loses its link."""

        async def swallow(data: bytes) -> None:
            return None

        for transceiver in self.connections[-1].getTransceivers():
            transceiver.receiver.transport.transport.__dict__["_send"] = swallow

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            await connection.close()

    async def _options(self, request: web.Request) -> web.Response:
        response = web.Response(status=204)
        for link in self.links:
            response.headers.add("Link", link)
        return response

    async def _post(self, request: web.Request) -> web.Response:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if self.status != 201:
            return web.Response(status=self.status, text="no luck\nsecond line")
        self.num_offers += 1
        offer = await request.text()
        self.offers.append(offer)
        answer = self.answer if self.answer is not None else await self._answer(offer)
        return web.Response(
            status=201,
            text=answer,
            content_type=self.content_type,
            headers={"Location": f"whip/{self.num_offers}"},
        )

    async def _delete(self, request: web.Request) -> web.Response:
        self.deleted.append(request.match_info["id"])
        return web.Response()

    async def _answer(self, offer: str) -> str:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections.append(connection)
        connection.on("track", self._on_track)
        ControlChannel.accept(connection, self._on_channel)
        if self.ordinary:
            prefer_ordinary(connection.addTransceiver("video", direction="recvonly"))
        await connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription.sdp
        return without_data_channel(answer) if self.refuses_data else answer

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.create_task(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.num_frames[track.kind] += 1
            if isinstance(frame, av.VideoFrame):
                if isinstance(frame.opaque, ReceivedFrame):
                    if not frame.opaque.coded.is_concealed:
                        self.numbers.append(frame.opaque.coded.number)
                else:
                    self.num_ordinary += 1
            if self.on_frame is not None:
                self.on_frame(self, track.kind)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        control = ControlChannel(channel, self._on_message)
        self._controls.append(control)
        if self.hello is not None:
            control.send(self.hello)

    def _on_message(self, message: ControlMessage) -> None:
        self.messages.append(message)
        if isinstance(message, ReferencePicture):
            self.say(ReferenceStatus(message.sha256, accepted=True, reason=""))


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_model.generator.state_dict(), tiny_model.config, {})
    return path


@pytest.fixture(scope="session")
def tiny_sha256(tiny_weights: Path) -> str:
    return hashlib.sha256(tiny_weights.read_bytes()).hexdigest()


@pytest.fixture
async def receiver(tiny_sha256: str) -> AsyncIterator[FakeReceiver]:
    fake = FakeReceiver(tiny_sha256)
    runner = web.AppRunner(fake.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}/whip"
    yield fake
    await fake.close()
    await runner.cleanup()


class Settings(Protocol):
    """Makes a sender's settings for a call to the fake receiver."""

    def __call__(
        self, *, source: SourceConfig | None = None, output: OutputConfig | None = None, **peer: Any
    ) -> SenderConfig: ...


@pytest.fixture
def settings(receiver: FakeReceiver, tiny_weights: Path) -> Settings:
    def make(*, source: SourceConfig | None = None, output: OutputConfig | None = None, **peer: Any) -> SenderConfig:
        return SenderConfig(
            source=source or SourceConfig(test_pattern=True),
            peer=PeerConfig(**{"peer": receiver.url, **peer}),
            coding=CodingConfig(weights=tiny_weights, device="cpu", align="on"),
            output=output or OutputConfig(),
        )

    return make


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a moving picture with a tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        for index in range(25):
            pixels = np.full((64, 96, 3), 40, dtype=np.uint8)
            pixels[16:48, 2 * index : 2 * index + 24] = 220
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            tone = (8000 * np.sin(0.06 * np.arange(index * 1764, (index + 1) * 1764))).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts = 44_100, index * 1764
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path
