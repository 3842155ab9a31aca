"""Beside stage 6: sound to Opus packets.

    av.AudioFrame -> 48 kHz s16 -> Opus (RFC 6716) -> OpusPacket with its capture time

aiortc's own Opus encoder sends 96 kbit/s in packets of 20 ms: 123 kbit/s with headers, beside a picture of under 20. A
track may also hand over packets that are already coded; ours are made here, at a rate that fits such a link.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.packet import Packet

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 48_000
TIME_BASE = Fraction(1, SAMPLE_RATE_HZ)
GAP_US = 100_000
"""Sound that comes later than this after the end of the last is behind a gap."""


@dataclass(frozen=True, slots=True, eq=False)
class OpusPacket:
    """A coded piece of sound.

    Attributes:
        packet: Opus, with ``pts`` in samples at 48 kHz since the first.
        capture_time_us: of its first sample, microseconds since the epoch.
    """

    packet: Packet[Any]
    capture_time_us: int


class OpusStream:
    """Codes sound as Opus; runs in the reader's thread.

    Args:
        bitrate_bps: of the Opus stream, without headers.
        packet_ms: sound in a packet: 20, 40 or 60 milliseconds.
        stereo: two channels instead of one.
    """

    def __init__(self, bitrate_bps: int, packet_ms: int, *, stereo: bool = False) -> None:
        layout = "stereo" if stereo else "mono"
        self._samples = SAMPLE_RATE_HZ * packet_ms // 1000
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE_HZ, frame_size=self._samples)
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.bit_rate = bitrate_bps
        self._codec.format = "s16"
        self._codec.layout = layout
        self._codec.sample_rate = SAMPLE_RATE_HZ
        self._codec.time_base = TIME_BASE
        self._codec.options = {"application": "voip", "frame_duration": str(packet_ms)}
        self._num_in = 0
        self._num_out = 0
        self._skipped = 0
        self._due_us: int | None = None

    def encode(self, frame: AudioFrame, capture_time_us: int) -> Iterator[OpusPacket]:
        """Yield the packets that are full with this frame.

        Args:
            frame: sound in any format and rate.
            capture_time_us: of its first sample, microseconds since the epoch.
        """
        self._skip_gap(capture_time_us)
        frame_start = self._num_in
        self._num_in += round(frame.samples * SAMPLE_RATE_HZ / frame.sample_rate)
        self._due_us = capture_time_us + (self._num_in - frame_start) * 1_000_000 // SAMPLE_RATE_HZ
        frame.pts = None  # the resampler then counts samples; the place in time is kept here
        for piece in self._resampler.resample(frame):
            piece.pts = self._num_out
            piece.time_base = TIME_BASE
            for packet in self._codec.encode(piece):
                packet.pts = self._num_out + self._skipped
                packet.time_base = TIME_BASE
                moment_us = capture_time_us + (self._num_out - frame_start) * 1_000_000 // SAMPLE_RATE_HZ
                yield OpusPacket(packet, moment_us)
            self._num_out += self._samples

    def _skip_gap(self, capture_time_us: int) -> None:
        """Let the timestamps jump over sound that is missing; sound that comes too early just follows."""
        gap_us = 0 if self._due_us is None else capture_time_us - self._due_us
        if gap_us > GAP_US:
            logger.debug("%d ms of sound are missing", gap_us // 1000)
            self._skipped += gap_us * SAMPLE_RATE_HZ // 1_000_000
