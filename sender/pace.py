"""Before stage 1: how many pictures a second are worth their headers.

A packet costs 68 bytes of headers whatever is in it, and the keypoints in it cost fewer. So the rate of pictures is the
rate of the call, and the lever for every limit: the user's, and the peer's when the link is congested.
"""

from __future__ import annotations

import threading

HEADER_BYTES = 68
"""IPv4 20, UDP 8, RTP 12, header extensions 12, SRTP authentication tag 16."""

SLOWEST_FPS = 5.0
"""The peer's alarms never slow the pictures further than this."""


class Pace:
    """Admits pictures at a limited rate.

    The peer's estimate (REMB) is an alarm of congestion, not a measure of capacity: aiortc's stays half above what
    arrives, and falls below it when packets pile up. Following it by the frame rate keeps the pictures fresh.

    Args:
        fps: most pictures a second; 0 for no limit.
        max_wire_bps: most bits a second with headers; 0 for no limit.
    """

    def __init__(self, fps: float = 0.0, max_wire_bps: float = 0.0) -> None:
        self._least_interval_s = 1 / fps if fps > 0 else 0.0
        self._max_wire_bps = max_wire_bps
        self._lock = threading.Lock()
        self._payload_bytes = 20.0
        self._peer_bps = 0.0
        self._due_s: float | None = None

    def admit(self, time_s: float) -> bool:
        """Return whether the picture of this moment, seconds on any steady clock, is to be coded."""
        interval_s = self.interval_s
        if self._due_s is not None and time_s < self._due_s - 0.1 * interval_s:
            return False
        due_s = time_s if self._due_s is None else max(self._due_s, time_s - interval_s)
        self._due_s = due_s + interval_s
        return True

    @property
    def interval_s(self) -> float:
        """Least seconds from picture to picture, now."""
        with self._lock:
            interval_s = self._least_interval_s
            if self._peer_bps > 0:
                interval_s = max(interval_s, min(8 * self._payload_bytes / self._peer_bps, 1 / SLOWEST_FPS))
            if self._max_wire_bps > 0:
                interval_s = max(interval_s, 8 * (self._payload_bytes + HEADER_BYTES) / self._max_wire_bps)
        return interval_s

    def note_payload(self, size_bytes: int) -> None:
        """Take the size of a coded picture into account."""
        with self._lock:
            self._payload_bytes += 0.05 * (size_bytes - self._payload_bytes)

    def note_peer_bitrate(self, bitrate_bps: int) -> None:
        """Take the bitrate that the peer asks for into account: of payloads, as aiortc counts them."""
        with self._lock:
            self._peer_bps = float(bitrate_bps)
