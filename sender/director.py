"""Beside the pictures: the mode of every picture, and what follows from it for rate, padding and the people watching.

    FramedPicture -> Director.direct -> the picture to be coded, with its codec -> PictureTrack
    REMB, coded frames, face detections, rebuilt pictures -> Link, Probe, QualityJudge, ModeSwitch

All on the event loop.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from sender.config import CodingConfig
from sender.delivery import LinkUse
from sender.face import FramedPicture
from sender.link import Link, Probe
from sender.mode import CLEARLY_MORE, LEAST_VIDEO_BPS, Mode, ModeSwitch
from sender.pace import Pace
from sender.quality import GOOD, QualityJudge
from sender.stats import Book

logger = logging.getLogger(__name__)

VIDEO_SHARE = 0.85
"""Of the link's bits: the rest is for sound, references, reports, and for a queue to empty."""
HELD_INTERVAL_S = 0.5
"""While a picture is held it is sent again so often: its keypoints cost nothing, and the receiver's reports go on."""
RATE_WINDOW_S = 1.0


class Director:
    """Decides, picture by picture, how it is sent.

    Args:
        coding: the user's settings.
        pace: admits pictures; told what they cost.
        book: where changes are noted.
        now: steady clock, seconds.
    """

    def __init__(self, coding: CodingConfig, pace: Pace, book: Book, now: Callable[[], float] = time.monotonic) -> None:
        self._coding = coding
        self._pace = pace
        self._book = book
        self._now = now
        self._say_hold: Callable[[str], None] | None = None
        self._can_send_video = False
        self._held: FramedPicture | None = None
        self._held_sent_s = float("-inf")
        self._sent: deque[tuple[float, int]] = deque()
        self._padded_s: float | None = None
        self._switch = ModeSwitch(coding.mode, coding.crossover_kbps * 1000)
        self._probe = Probe(1.05 * CLEARLY_MORE * coding.crossover_kbps * 1000)
        self._video_probe = Probe(1.05 * CLEARLY_MORE * LEAST_VIDEO_BPS)
        self.link = Link()
        """What is known of the link."""
        self.judge = QualityJudge()
        """What is known of the pictures."""
        self.newest: FramedPicture | None = None
        """The last picture that the camera gave."""
        self.verdict = GOOD
        """What speaks against keypoints at this moment."""

    @property
    def mode(self) -> Mode:
        """How pictures are sent at this moment."""
        return self._switch.mode if self._can_send_video else "keypoints"

    @property
    def bandwidth_bps(self) -> float:
        """Bits per second that may be sent: what the link carries, and what the user allows."""
        limit_bps = self._coding.max_kbps * 1000
        return min(self.link.bps, limit_bps) if limit_bps > 0 else self.link.bps

    def attach(self, say_hold: Callable[[str], None], *, can_send_video: bool) -> None:
        """Begin a call.

        Args:
            say_hold: tells the receiver that its picture is held, and why; nothing when pictures go on.
            can_send_video: whether the peer takes conventional video in the same stream.
        """
        self._say_hold, self._can_send_video = say_hold, can_send_video
        self.link.begin_anew()
        self._book.mode = self.mode

    def repeat_hold(self) -> None:
        """Tell a receiver that has just introduced itself, if the picture is held."""
        if self._say_hold is not None and self.mode == "hold":
            self._say_hold(self.verdict.reason)

    def detach(self) -> None:
        """End the call."""
        self._say_hold, self._can_send_video = None, False

    def direct(self, picture: FramedPicture) -> FramedPicture | None:
        """Return what is sent for a picture: itself, the last good one in its stead, or nothing."""
        now_s = self._now()
        self.newest = picture
        self.judge.note_face(picture.has_face, picture.num_faces)
        self.verdict = self.judge.verdict(now_s)
        before = self.mode
        self._switch.choose(self.bandwidth_bps, self.link.has_stalled(now_s), self.verdict, now_s)
        if self.mode != before:
            self._change(before, now_s)
        self._pace.note_mode(is_video=self.mode == "video", is_held=self.mode == "hold")
        if self.mode == "video":
            return replace(picture, video_bps=self._video_bps())
        if self.mode == "keypoints":
            self._held = picture if not self.judge.is_doubtful else self._held
            return picture
        if self._held is None or now_s - self._held_sent_s < HELD_INTERVAL_S:
            return None
        self._held_sent_s = now_s
        return replace(self._held, capture_time_us=picture.capture_time_us)

    def note_report(self, bps: int) -> None:
        """Take the receiver's estimate of the link."""
        now_s = self._now()
        for probe in (self._probe, self._video_probe):
            if bps < 0.9 * self.link.bps and not probe.is_running:
                probe.cancel(now_s)
        self.link.note_report(bps, now_s)
        self._pace.note_peer_bitrate(bps)

    def note_sent(self, size_bytes: int, *, is_video: bool) -> None:
        """Take notice of a coded frame's payload; one without bytes goes with the next."""
        if not size_bytes:
            return
        now_s = self._now()
        self._sent.append((now_s, size_bytes + self._pace.header_bytes * max(1, -(-size_bytes // 1300))))
        while now_s - self._sent[0][0] > RATE_WINDOW_S:
            self._sent.popleft()
        if is_video:
            self.link.note_video_sent(now_s)
        else:
            self._pace.note_payload(size_bytes)

    def padding_bytes(self) -> int:
        """Return how many bytes of padding to send beside the frame that was just sent."""
        now_s = self._now()
        elapsed_s = 0.0 if self._padded_s is None else min(now_s - self._padded_s, 0.3)
        self._padded_s = now_s
        if self._coding.mode != "auto" or not self._can_send_video or self.mode == "video" or not self.link.is_known:
            return 0
        probe = self._video_probe if self.verdict.reason else self._probe
        padding_bps = probe.padding_bps(
            self.bandwidth_bps, self._sent_bps(now_s), now_s, silent_s=self.link.silent_s(now_s)
        )
        return round(padding_bps * elapsed_s / 8)

    def link_use(self) -> LinkUse:
        """Return what the link carries, and what the pictures take of it."""
        return LinkUse(self.bandwidth_bps, self._sent_bps(self._now()))

    def _sent_bps(self, now_s: float) -> float:
        return 8 * sum(size for time_s, size in self._sent if now_s - time_s <= RATE_WINDOW_S) / RATE_WINDOW_S

    def _video_bps(self) -> int:
        fps = 1 / max(self._pace.interval_s, 1e-3)
        headers_bps = 8 * self._pace.header_bytes * min(fps, 30.0)
        return round(min(VIDEO_SHARE * self.bandwidth_bps, self._coding.video_kbps * 1000) - headers_bps)

    def _change(self, before: Mode, now_s: float) -> None:
        reason = self.verdict.reason or f"the link carries {self.bandwidth_bps / 1000:.0f} kbit/s"
        logger.info("from %s to %s: %s", before, self.mode, reason)
        self._book.note_mode(self.mode, reason)
        self._probe.cancel(now_s)
        self._video_probe.cancel(now_s)
        self._held_sent_s = float("-inf")
        if self._say_hold is not None and "hold" in (before, self.mode):
            self._say_hold(self.verdict.reason if self.mode == "hold" else "")
