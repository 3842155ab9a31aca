"""Beside the call: what is counted, second by second and in the end.

Payload is what the codec made; wire adds what each packet costs beside it (IPv4 20, UDP 8, RTP 12, header extensions,
SRTP tag), as the call's ends agreed. Both come from aiortc's own counts of what it sent.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from aiortc import RTCPeerConnection
from aiortc.stats import RTCOutboundRtpStreamStats, RTCRemoteInboundRtpStreamStats, RTCTransportStats

from codec.errors import OutputError
from codec.rtc import header_bytes_of
from codec.structs import EncodedFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What one kind of media has sent.

    Attributes:
        packets: RTP packets.
        payload_bytes: bytes of their payloads.
        header_bytes: bytes of their headers and authentication tags, IPv4's and UDP's too.
    """

    packets: int = 0
    payload_bytes: int = 0
    header_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        """Bytes with headers."""
        return self.payload_bytes + self.header_bytes

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            packets=self.packets + other.packets,
            payload_bytes=self.payload_bytes + other.payload_bytes,
            header_bytes=self.header_bytes + other.header_bytes,
        )

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            packets=self.packets - other.packets,
            payload_bytes=self.payload_bytes - other.payload_bytes,
            header_bytes=self.header_bytes - other.header_bytes,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a connection says of itself at one moment."""

    video: Traffic = field(default_factory=Traffic)
    """Pictures sent."""
    audio: Traffic = field(default_factory=Traffic)
    """Sound sent."""
    packets_received: int = 0
    """Datagrams of any kind that came from the peer."""
    packets_lost: int = 0
    """Picture packets that the peer misses."""
    loss: float = 0.0
    """Share of picture packets lost lately, 0 to 1."""
    rtt_s: float | None = None
    """Round-trip time; None before it is known."""


async def snapshot_of(connection: RTCPeerConnection) -> Snapshot:
    """Ask a connection for its counters."""
    traffic = {"video": Traffic(), "audio": Traffic()}
    received, lost, loss, rtt_s = 0, 0, 0.0, None
    for entry in (await connection.getStats()).values():
        if isinstance(entry, RTCOutboundRtpStreamStats):
            headers = entry.packetsSent * header_bytes_of(connection, entry.kind)
            traffic[entry.kind] += Traffic(
                packets=entry.packetsSent, payload_bytes=entry.bytesSent, header_bytes=headers
            )
        elif isinstance(entry, RTCRemoteInboundRtpStreamStats):
            rtt_s = entry.roundTripTime if entry.roundTripTime is not None else rtt_s
            if entry.kind == "video":
                lost, loss = max(entry.packetsLost, 0), entry.fractionLost / 256
        elif isinstance(entry, RTCTransportStats):
            received = max(received, entry.packetsReceived)
    return Snapshot(
        video=traffic["video"],
        audio=traffic["audio"],
        packets_received=received,
        packets_lost=lost,
        loss=loss,
        rtt_s=rtt_s,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Second:
    """What the display shows: the last second or so."""

    state: str
    """What the sender is doing, for people."""
    codec: str
    """Video codec in use."""
    fps: float
    """Pictures sent a second."""
    payload_kbps: float
    """Pictures, without headers."""
    wire_kbps: float
    """Pictures, with headers."""
    audio_kbps: float
    """Sound, with headers."""
    rtt_ms: float | None
    """Round-trip time."""
    loss: float
    """Share of picture packets lost, 0 to 1."""
    has_face: bool | None
    """Whether the tracker sees a face; None when nobody looks for one."""
    mode: str
    """How pictures are sent: keypoints, video or hold."""
    is_aligned: bool = False
    """Whether keypoints are aligned to the receiver's references."""


class Book:
    """Counts over all calls of a sender; everything on the event loop."""

    def __init__(self) -> None:
        self.state = "starting"
        self.codec = ""
        self.num_frames = 0
        self.num_keyframes = 0
        self.num_aligned = 0
        self.is_aligned = False
        self.num_video_frames = 0
        self.padding_bytes = 0
        self.mode = "keypoints"
        self.mode_changes: list[dict[str, str | float]] = []
        self.num_calls = 0
        self.has_face: bool | None = None
        self.references: list[dict[str, str | int | bool]] = []
        self._coding_ms: deque[float] = deque(maxlen=10_000)
        self._rtt_ms: deque[float] = deque(maxlen=10_000)
        self._past = Snapshot()
        self._now = Snapshot()
        self._first_us: int | None = None
        self._last_us = 0
        self._second = (time.monotonic(), Traffic(), Traffic())
        self._pictures_shown = 0

    def note_frame(
        self, encoded: EncodedFrame, capture_time_us: int, coded_time_us: int, has_face: bool | None
    ) -> None:
        """Count a coded picture."""
        self.num_frames += 1
        self.num_keyframes += encoded.is_keyframe
        self.num_aligned += encoded.is_aligned
        self.is_aligned = encoded.is_aligned
        self.has_face = has_face
        self._note_time(coded_time_us)
        self._coding_ms.append((coded_time_us - capture_time_us) / 1000)

    def note_video_frame(self, capture_time_us: int, coded_time_us: int, has_face: bool | None) -> None:
        """Count a picture coded as conventional video."""
        self.num_video_frames += 1
        self.has_face = has_face
        self._note_time(coded_time_us)
        self._coding_ms.append((coded_time_us - capture_time_us) / 1000)

    def note_mode(self, mode: str, reason: str) -> None:
        """Note that pictures are sent in another way from now on."""
        self.mode = mode
        self.mode_changes.append({"time_s": round(time.time(), 3), "mode": mode, "reason": reason})

    def _note_time(self, time_us: int) -> None:
        self._first_us = time_us if self._first_us is None else self._first_us
        self._last_us = time_us

    def note_snapshot(self, snapshot: Snapshot) -> None:
        """Take over the counters of the running call."""
        if snapshot.video.packets > self._now.video.packets and not self.num_frames:
            self._note_time(time.time_ns() // 1000)  # ordinary video: nobody tells of its frames
        if snapshot.rtt_s is not None and snapshot.rtt_s != self._now.rtt_s:
            self._rtt_ms.append(snapshot.rtt_s * 1000)
        self._now = snapshot

    def end_call(self) -> None:
        """Keep the counters of a call that has ended."""
        self._past = Snapshot(
            video=self.video, audio=self.audio, packets_lost=self._past.packets_lost + self._now.packets_lost
        )
        self._now = Snapshot()

    @property
    def video(self) -> Traffic:
        """Pictures sent in all calls."""
        return self._past.video + self._now.video

    @property
    def audio(self) -> Traffic:
        """Sound sent in all calls."""
        return self._past.audio + self._now.audio

    def second(self) -> Second:
        """Return the rates since the last call of this function."""
        now_s, (then_s, video, audio) = time.monotonic(), self._second
        self._second = (now_s, self.video, self.audio)
        pictures, self._pictures_shown = self.num_frames - self._pictures_shown, self.num_frames
        sent, heard, elapsed_s = self.video - video, self.audio - audio, max(now_s - then_s, 1e-3)
        return Second(
            state=self.state,
            codec=self.codec,
            fps=max(sent.packets, pictures) / elapsed_s,  # pictures may share packets
            payload_kbps=sent.payload_bytes * 8e-3 / elapsed_s,
            wire_kbps=sent.wire_bytes * 8e-3 / elapsed_s,
            audio_kbps=heard.wire_bytes * 8e-3 / elapsed_s,
            rtt_ms=None if self._now.rtt_s is None else self._now.rtt_s * 1000,
            loss=self._now.loss,
            has_face=self.has_face,
            mode=self.mode,
            is_aligned=self.is_aligned,
        )

    def report(self, num_skipped: int) -> dict[str, object]:
        """Return the figures of all calls, ready for JSON.

        Args:
            num_skipped: pictures captured but not coded.
        """
        packets = self.video.packets
        between_s = 0.0 if self._first_us is None else max(self._last_us - self._first_us, 0) / 1e6
        duration_s = between_s * packets / (packets - 1) if packets > 1 else 0.0  # the last picture counts as well
        per_s = 8 / duration_s if duration_s > 0 else 0.0
        lost = self._past.packets_lost + self._now.packets_lost
        return {
            "codec": self.codec,
            "calls": self.num_calls,
            "duration_s": round(duration_s, 3),
            "frames_sent": self.num_frames + self.num_video_frames or packets,
            "video_frames_sent": self.num_video_frames,
            "mode_changes": self.mode_changes,
            "padding_bytes": self.padding_bytes,
            "frames_skipped": num_skipped,
            "keyframes_sent": self.num_keyframes,
            "frames_aligned": self.num_aligned,
            "fps": round(max(packets, self.num_frames) / duration_s, 2) if duration_s > 0 else 0.0,
            "payload_bits_per_s": round(self.video.payload_bytes * per_s, 1),
            "wire_bits_per_s": round(self.video.wire_bytes * per_s, 1),
            "audio_payload_bits_per_s": round(self.audio.payload_bytes * per_s, 1),
            "audio_wire_bits_per_s": round(self.audio.wire_bytes * per_s, 1),
            "video": asdict(self.video),
            "audio": asdict(self.audio),
            "packets_lost": lost,
            "loss": round(lost / packets, 4) if packets else 0.0,
            "rtt_ms": percentiles(self._rtt_ms),
            "capture_to_coded_ms": percentiles(self._coding_ms),
            "references": self.references,
        }


def percentiles(values: deque[float]) -> dict[str, float]:
    """Return p50, p95 and p99; nothing of nothing."""
    if not values:
        return {}
    p50, p95, p99 = np.percentile(np.array(values), (50, 95, 99))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "p99": round(float(p99), 2)}


def check_folder(path: Path) -> None:
    """Check, before the call, that a file can be written after it.

    Raises:
        OutputError: its folder does not exist.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder")


def write_report(path: Path, report: dict[str, object]) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(report, indent=2) + "\n")
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
