"""What a call costs and how well it goes: counters, rates over the last seconds, percentiles.

Payload is what the codec made; wire adds the headers of each packet (IPv4 20, UDP 8, RTP 12, header extensions, SRTP
tag), as the call's ends agreed. Latency runs from the sender's capture to the moment the picture is shown here; over
two machines it is right to the accuracy to which their clocks agree.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from codec.rtc import HEADER_BYTES

WINDOW_S = 3.0
LATENCIES_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """Percentiles of the latency, milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What was counted on the receiving side since the call began.

    Attributes:
        frames: coded frames that were parsed, or ordinary video frames.
        payload_bytes: of the video; None in an ordinary video call, where aiortc does not tell.
        packets: video packets that arrived.
        header_bytes: of each of them, authentication tag, IPv4 and UDP included.
        lost: video packets that did not.
        undecodable: packets that could not be parsed.
        late: packets that came after a newer one, or twice.
        keyframe_requests: how often a keyframe was asked for.
        all_bytes: everything that arrived, sound and control too, headers below RTP not counted.
        all_packets: packets of everything that arrived.
        rtt_ms: round trip time; None while not measured.
    """

    frames: int = 0
    payload_bytes: int | None = None
    packets: int = 0
    header_bytes: int = HEADER_BYTES
    lost: int = 0
    undecodable: int = 0
    late: int = 0
    keyframe_requests: int = 0
    all_bytes: int = 0
    all_packets: int = 0
    rtt_ms: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallReport:
    """The figures of one call at one moment; ``--report`` and ``GET /stats`` give them as JSON.

    Attributes:
        codec: "X-WARPCALL", "VP8" or "H264".
        duration_s: since the first frame.
        frames_received: coded frames that could be read.
        frames_shown: pictures shown.
        frames_dropped: frames replaced by a newer one before the generator was free.
        frames_undecodable: packets that could not be read.
        frames_late: packets that came after a newer one.
        frames_concealed: frames that did not come in time and were guessed.
        frames_waiting: frames that came before there was a reference picture.
        keyframe_requests: how often a keyframe was asked for.
        received_fps: frames received, a second.
        shown_fps: pictures shown, a second.
        decoder_fps: pictures a second that the generator can make.
        payload_bits_per_s: of the coded frames alone.
        wire_bits_per_s: of the video with its headers.
        total_wire_bits_per_s: of the video, the sound, the control channel and RTCP, with headers.
        latency_ms: capture to picture.
        loss: part of the video packets that was lost.
        rtt_ms: round trip time.
    """

    codec: str
    duration_s: float
    frames_received: int
    frames_shown: int
    frames_dropped: int
    frames_undecodable: int
    frames_late: int
    frames_concealed: int
    frames_waiting: int
    keyframe_requests: int
    received_fps: float
    shown_fps: float
    decoder_fps: float | None
    payload_bits_per_s: float | None
    wire_bits_per_s: float | None
    total_wire_bits_per_s: float
    latency_ms: Percentiles | None
    loss: float
    rtt_ms: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Counters at one moment, for rates over the last seconds."""

    time_s: float
    shown: int
    traffic: Traffic


class CallStats:
    """The counters of one call."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Set up empty counters.

        Args:
            now: clock in seconds.
        """
        self.codec = ""
        self.num_shown = 0
        self.num_dropped = 0
        self.num_waiting = 0
        self.num_concealed = 0
        self.num_overtaken = 0
        self.decoder_fps: float | None = None
        self._now = now
        self._latencies_ms: collections.deque[float] = collections.deque(maxlen=LATENCIES_REMEMBERED)
        self._recent_ms: collections.deque[tuple[float, float]] = collections.deque()
        self._samples: collections.deque[_Sample] = collections.deque()
        self._first: _Sample | None = None

    def note_shown(self, latency_ms: float | None) -> None:
        """Count a picture that is shown now."""
        self.num_shown += 1
        if latency_ms is not None:
            self._latencies_ms.append(latency_ms)
            self._recent_ms.append((self._now(), latency_ms))

    def sample(self, traffic: Traffic) -> None:
        """Take the counters of the transport; call it a few times a second."""
        sample = _Sample(self._now(), self.num_shown, traffic)
        if self._first is None and traffic.frames:
            self._first = sample
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.time_s - self._samples[0].time_s > WINDOW_S:
            self._samples.popleft()
        while self._recent_ms and sample.time_s - self._recent_ms[0][0] > WINDOW_S:
            self._recent_ms.popleft()

    def recent(self) -> CallReport:
        """Return the figures with rates and latency over the last three seconds."""
        first = self._samples[0] if self._samples else None
        return self._report(first, [latency for _, latency in self._recent_ms])

    def total(self) -> CallReport:
        """Return the figures with rates and latency over the whole call, from its first frame on."""
        return self._report(self._first, list(self._latencies_ms))

    def _report(self, first: _Sample | None, latencies_ms: list[float]) -> CallReport:
        last = self._samples[-1] if self._samples else _Sample(self._now(), 0, Traffic())
        first = first or last
        old, new = first.traffic, last.traffic
        seconds = last.time_s - first.time_s

        def rate(difference: float) -> float:
            return round(difference / seconds, 3) if seconds > 0 else 0.0

        payload = wire = None
        if new.payload_bytes is not None:
            payload_bytes = new.payload_bytes - (old.payload_bytes or 0)
            payload = rate(8 * payload_bytes)
            wire = rate(8 * (payload_bytes + new.header_bytes * (new.packets - old.packets)))
        return CallReport(
            codec=self.codec,
            duration_s=round(last.time_s - self._first.time_s, 3) if self._first else 0.0,
            frames_received=new.frames,
            frames_shown=self.num_shown,
            frames_dropped=self.num_dropped,
            frames_undecodable=new.undecodable,
            frames_late=new.late,
            frames_concealed=self.num_concealed,
            frames_waiting=self.num_waiting,
            keyframe_requests=new.keyframe_requests,
            received_fps=rate(new.frames - old.frames),
            shown_fps=rate(last.shown - first.shown),
            decoder_fps=None if self.decoder_fps is None else round(self.decoder_fps, 2),
            payload_bits_per_s=payload,
            wire_bits_per_s=wire,
            total_wire_bits_per_s=rate(8 * (new.all_bytes - old.all_bytes + 28 * (new.all_packets - old.all_packets))),
            latency_ms=percentiles(latencies_ms),
            loss=round(new.lost / max(1, new.lost + new.packets), 5),
            rtt_ms=new.rtt_ms,
        )


def percentiles(values_ms: list[float]) -> Percentiles | None:
    """Return the median and the two high percentiles; None of nothing."""
    if not values_ms:
        return None
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(values_ms, [50, 95, 99]))
    return Percentiles(p50=p50, p95=p95, p99=p99)
