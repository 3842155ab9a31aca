"""A call between two real peer connections over a link that counts, delays and loses: which frames came, and when.

    clip --(25 pictures a second)--> RTCPeerConnection --Link--> RTCPeerConnection --> Arrived, by frame

Both ends are this process's; the generator does not run. A frame's time is the moment it was coded plus the link's
delay: what a call without loss and with one frame a packet would need.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from benchmarks.wire.link import Counted, Link
from codec import Model
from codec.frames import frame_from_rgb
from codec.rtc import Plugin, ReceivedFrame, TagBytes, prefer_warpcall, register, unregister
from codec.structs import EncodedFrame, QuantisedKeypoints
from training.evaluate.clips import Frames

CLOCK_RATE_HZ = 90_000
DRAIN_S = 0.5


@dataclass(frozen=True, kw_only=True)
class CallConfig:
    """How one call is made."""

    fps: float = 25.0
    """Pictures a second."""
    repeats: int = 2
    """Frames that each packet sends once more."""
    frames_per_packet: int = 1
    """Frames that share a packet."""
    header_extensions: bool = True
    """Whether packets carry header extensions."""
    auth_tag_bytes: TagBytes = 10
    """Of the tag that authenticates each packet."""
    delay_s: float = 0.03
    """Of the link, one way."""
    rest_fps: float = 0.0
    """Least pictures a second of a face that keeps still; 0 sends every picture."""
    conceal: bool = True
    """Whether the receiver guesses frames that do not come in time."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame that the receiver got.

    Attributes:
        due_s: when it is to be shown, seconds since the epoch.
        keypoints: as received.
        is_repeated: whether it came with a later packet than its own.
        is_concealed: whether the receiver guessed it.
    """

    due_s: float
    keypoints: QuantisedKeypoints
    is_repeated: bool
    is_concealed: bool


@dataclass(slots=True)
class CallRecord:
    """What came of a call.

    Attributes:
        sent_s: when each frame was coded, seconds since the epoch, by number.
        payload_bytes: of each message.
        arrived: by number.
        up: what the sender's end sent of RTP, RTCP, and lost.
        down: what the receiver's end sent.
        duration_s: from the first frame to the last.
        keyframes: sent.
    """

    config: CallConfig
    sent_s: dict[int, float] = field(default_factory=dict)
    payload_bytes: list[int] = field(default_factory=list)
    arrived: dict[int, Arrived] = field(default_factory=dict)
    up: tuple[Counted, Counted, Counted] = field(default_factory=lambda: (Counted(), Counted(), Counted()))
    down: tuple[Counted, Counted, Counted] = field(default_factory=lambda: (Counted(), Counted(), Counted()))
    duration_s: float = 0.0
    keyframes: int = 0

    def lateness_s(self, number: int) -> float | None:
        """Return how long after its time a frame was there to be shown; None when it never was."""
        arrived = self.arrived.get(number)
        return None if arrived is None else arrived.due_s - self.sent_s[number] - self.config.delay_s


class ClipTrack(MediaStreamTrack):
    """A clip's pictures in real time."""

    kind = "video"

    def __init__(self, frames_NSS3: Frames, fps: float) -> None:
        super().__init__()
        self._frames = frames_NSS3
        self._fps = fps
        self._index = 0
        self._begun_s: float | None = None
        self.ended = asyncio.Event()

    async def recv(self) -> av.VideoFrame:
        """Return the next picture at its time.

        Raises:
            MediaStreamError: there is none.
        """
        now_s = time.monotonic()
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        await asyncio.sleep(max(0.0, self._begun_s + self._index / self._fps - now_s))
        if self._index == len(self._frames):
            self.stop()
            self.ended.set()
            raise MediaStreamError
        frame = frame_from_rgb(self._frames[self._index])
        frame.pts = round(self._index * CLOCK_RATE_HZ / self._fps)
        frame.time_base = Fraction(1, CLOCK_RATE_HZ)
        self._index += 1
        return frame


async def make_call(
    frames_NSS3: Frames,
    model: Model,
    config: CallConfig,
    lost_up: Callable[[], bool] = lambda: False,
    lost_down: Callable[[], bool] = lambda: False,
) -> CallRecord:
    """Send a clip once.

    Args:
        frames_NSS3: pictures of the model's size.
        model: whose detector and bitstream are used.
        config: of the call.
        lost_up: says of each of the sender's datagrams whether it is lost.
        lost_down: the same of the receiver's.
    """
    record = CallRecord(config)

    def on_encoded(encoded: EncodedFrame, pts: int, opaque: object) -> None:
        del pts, opaque
        record.sent_s[encoded.number] = time.time()
        record.keyframes += encoded.is_keyframe
        if encoded.payload:
            record.payload_bytes.append(len(encoded.payload))

    plugin = Plugin(
        model,
        pictures="deferred",
        repeats=config.repeats,
        frames_per_packet=config.frames_per_packet,
        header_extensions=config.header_extensions,
        auth_tag_bytes=config.auth_tag_bytes,
        rest_fps=config.rest_fps,
        conceal=config.conceal,
        on_encoded=on_encoded,
    )
    register(plugin)
    caller, callee = RTCPeerConnection(), RTCPeerConnection()
    tasks: list[asyncio.Task[None]] = []
    callee.on("track", lambda track: tasks.append(asyncio.ensure_future(_read(track, record))))
    up, down = Link(config.delay_s, lost_up), Link(config.delay_s, lost_down)
    track = ClipTrack(frames_NSS3, config.fps)
    try:
        prefer_warpcall(caller.addTransceiver(track, direction="sendonly"))
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        up.attach(caller.getSenders()[0].transport)
        down.attach(callee.getReceivers()[0].transport)
        await track.ended.wait()
        await asyncio.sleep(DRAIN_S)
    finally:
        await caller.close()
        await callee.close()
        for task in tasks:
            task.cancel()
        unregister()
    record.up, record.down = (up.rtp, up.rtcp, up.lost), (down.rtp, down.rtcp, down.lost)
    record.duration_s = len(frames_NSS3) / config.fps
    return record


async def _read(track: MediaStreamTrack, record: CallRecord) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            received = getattr(await track.recv(), "opaque", None)
            if isinstance(received, ReceivedFrame):
                coded = received.coded
                due_s = received.arrival_time_s + received.wait_s
                record.arrived.setdefault(
                    coded.number, Arrived(due_s, coded.keypoints, coded.is_repeated, coded.is_concealed)
                )
