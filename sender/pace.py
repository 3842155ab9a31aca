"""Before stage 1: how many pictures a second are worth their headers, how many share a packet, and how fine they are.

    Pace.admit -> coded or left out; Pace.note_mode: as keypoints, or as conventional video
    Pace.frames_per_packet, Pace.step -> plug-in

A packet costs 58 bytes of headers whatever is in it, and the keypoints in it cost fewer. So the rate of packets is the
rate of the call, and the lever for every limit: the user's, and the peer's when the link is congested. First pictures
share packets, which costs delay but no movement; then they are told in a coarser step of the quantiser; then there are
fewer of them.
"""

from __future__ import annotations

import math
import threading
from typing import Literal

from codec.config import Step
from codec.rtc import HEADER_BYTES

PICTURE_SHARE = 0.8
"""Of what the link carries: the rest is for reports, clocks and references."""

THIN_BPS, THIN_VIDEO_FPS = 80_000.0, 15.0
"""Conventional video on a link thinner than this takes this many pictures a second at most."""

SLOWEST_FPS = 5.0
"""The peer's alarms never slow the packets further than this."""

MOST_SHARED = 3
"""Pictures that share a packet on a thin link, at most: 80 ms more delay at 25 a second."""

FINER_AGAIN = 0.8
"""Of the time from packet to packet at which the step became coarse."""

USUAL_FPS = 30.0
"""Of a camera whose pictures are not limited."""


class Pace:
    """Admits pictures at a limited rate, and says how many of them share a packet.

    The peer's estimate (REMB) says what the link carries with headers; following it by the rate of packets keeps the
    pictures fresh. Conventional video follows it by its own bitrate, and takes fewer pictures only where headers would
    eat it up.

    Args:
        fps: most pictures a second; 0 for no limit.
        max_wire_bps: most bits a second with headers; 0 for no limit.
        frames_per_packet: pictures that share a packet; 0 lets the limits decide.
        step: of the quantiser; auto lets the limits decide.
        header_bytes: what a packet costs beside its payload.
    """

    def __init__(
        self,
        fps: float = 0.0,
        max_wire_bps: float = 0.0,
        frames_per_packet: int = 0,
        step: Step | Literal["auto"] = "auto",
        header_bytes: int = HEADER_BYTES,
    ) -> None:
        self.header_bytes = header_bytes
        """What a packet costs beside its payload."""
        self._least_interval_s = 1 / fps if fps > 0 else 0.0
        self._max_wire_bps = max_wire_bps
        self._fixed_shared = frames_per_packet
        self._fixed_step = step
        self._is_coarse = False
        self._lock = threading.Lock()
        self._payload_bytes = 20.0
        self._peer_bps = 0.0
        self._is_video = self._is_held = self._is_alone = False
        self._due_s: float | None = None
        self._choose_step()

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
            if self._is_video:
                thin_s = 1 / THIN_VIDEO_FPS if self._peer_bps < THIN_BPS else 0.0
                return max(self._least_interval_s, thin_s)
            return max(self._least_interval_s, self._packet_interval_s() / self._shared())

    @property
    def frames_per_packet(self) -> int:
        """Pictures that share a packet, now; a held one, which comes twice a second, waits for no other.

        Nor does the first one after it: times of pictures that share a packet are taken to lie evenly.
        """
        with self._lock:
            return 1 if self._is_alone else self._shared()

    @property
    def step(self) -> Step:
        """Step of the quantiser, now: coarse where as many share a packet as may, and some would still be left out."""
        if self._fixed_step != "auto":
            return self._fixed_step
        with self._lock:
            return "coarse" if self._is_coarse else "usual"

    def _choose_step(self) -> None:
        shared = self._shared()
        is_all_shared = bool(self._fixed_shared) or shared == MOST_SHARED
        slowness = self._packet_interval_s() / (shared * self._wanted_s)
        self._is_coarse = is_all_shared and slowness > (FINER_AGAIN if self._is_coarse else 1.0)

    @property
    def _wanted_s(self) -> float:
        return self._least_interval_s or 1 / USUAL_FPS

    def _packet_interval_s(self) -> float:
        packet_bits = 8 * (self._payload_bytes + self.header_bytes)
        interval_s = 0.0
        if self._peer_bps > 0:
            interval_s = min(packet_bits / (PICTURE_SHARE * self._peer_bps), 1 / SLOWEST_FPS)
        if self._max_wire_bps > 0:
            interval_s = max(interval_s, packet_bits / self._max_wire_bps)
        return interval_s

    def _shared(self) -> int:
        if self._fixed_shared:
            return self._fixed_shared
        # A rate that is lower by a fifth is no reason to wait for another picture.
        return min(MOST_SHARED, max(1, math.ceil(self._packet_interval_s() / self._wanted_s - 0.25)))

    def note_mode(self, *, is_video: bool = False, is_held: bool = False) -> None:
        """Take into account whether pictures go as conventional video, or the same one again and again."""
        with self._lock:
            self._is_video, self._is_held = is_video, is_held
            self._is_alone = self._is_alone or is_held

    def note_payload(self, size_bytes: int) -> None:
        """Take the size of a packet's pictures into account."""
        with self._lock:
            self._is_alone = self._is_held
            self._payload_bytes += 0.05 * (size_bytes - self._payload_bytes)
            self._choose_step()

    def note_peer_bitrate(self, bitrate_bps: int) -> None:
        """Take the bitrate that the peer asks for into account, headers counted."""
        with self._lock:
            self._peer_bps = float(bitrate_bps)
            self._choose_step()
