"""Before stage 1: how many pictures a second are worth their headers.

    Pace.admit -> coded or left out; Pace.note_mode: as keypoints, or as conventional video

A packet costs 68 bytes of headers whatever is in it, and the keypoints in it cost fewer. So the rate of pictures is the
rate of the call, and the lever for every limit: the user's, and the peer's when the link is congested.
"""

from __future__ import annotations

import threading

HEADER_BYTES = 68
"""IPv4 20, UDP 8, RTP 12, header extensions 12, SRTP authentication tag 16."""

PICTURE_SHARE = 0.8
"""Of what the link carries: the rest is for reports, clocks and references."""

THIN_BPS, THIN_VIDEO_FPS = 80_000.0, 15.0
"""Conventional video on a link thinner than this takes this many pictures a second at most."""

SLOWEST_FPS = 5.0
"""The peer's alarms never slow the pictures further than this."""


class Pace:
    """Admits pictures at a limited rate.

    The peer's estimate (REMB) says what the link carries with headers; following it by the frame rate keeps the
    pictures fresh. Conventional video follows it by its own bitrate, and takes fewer pictures only where headers would
    eat it up.

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
        self._is_video = False
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
            if self._is_video:
                return max(interval_s, 1 / THIN_VIDEO_FPS if self._peer_bps < THIN_BPS else 0.0)
            frame_bits = 8 * (self._payload_bytes + HEADER_BYTES)
            if self._peer_bps > 0:
                interval_s = max(interval_s, min(frame_bits / (PICTURE_SHARE * self._peer_bps), 1 / SLOWEST_FPS))
            if self._max_wire_bps > 0:
                interval_s = max(interval_s, frame_bits / self._max_wire_bps)
        return interval_s

    def note_mode(self, *, is_video: bool) -> None:
        """Take into account whether pictures go as conventional video."""
        with self._lock:
            self._is_video = is_video

    def note_payload(self, size_bytes: int) -> None:
        """Take the size of a coded picture into account."""
        with self._lock:
            self._payload_bytes += 0.05 * (size_bytes - self._payload_bytes)

    def note_peer_bitrate(self, bitrate_bps: int) -> None:
        """Take the bitrate that the peer asks for into account, headers counted."""
        with self._lock:
            self._peer_bps = float(bitrate_bps)
