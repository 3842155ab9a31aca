"""Beside the call: what the sender knows of the link, and how it tries whether there is more.

    REMB -> Link -> bits per second, or that the link has stalled
    Link, the codec in use -> Probe -> padding beside each picture

The receiver's estimate vouches for what has come through lately and half as much again. Keypoints are so small that
they never show whether the link would carry video; so the sender now and then fills it up with padding, a little more
each moment, and stops as soon as the estimate falls. What does not come through costs nothing but a queue of a tenth of
a second.
"""

from __future__ import annotations

import math

START_BPS = 30_000.0
STALL_S = 0.4
STALLED_BPS = 12_000.0
STEP_S, STEP_FACTOR = 0.3, 1.25
HELD_S = 2.0
LAG_S, LAGGING = 1.0, 0.45
BETTER, SILENT_S = 1.4, 0.7
FIRST_PAUSE_S, LONGEST_PAUSE_S = 3.0, 60.0


class Link:
    """The link to the receiver, on any steady clock."""

    def __init__(self) -> None:
        self._reported_bps: float | None = None
        self._reported_s = float("-inf")
        self._unanswered_s: float | None = None

    @property
    def bps(self) -> float:
        """Bits per second that it carries, headers counted."""
        return START_BPS if self._reported_bps is None else self._reported_bps

    @property
    def is_known(self) -> bool:
        """Whether the receiver has ever reported."""
        return self._reported_bps is not None

    def note_report(self, bps: float, time_s: float) -> None:
        """Take the receiver's estimate."""
        self._reported_bps, self._reported_s = bps, time_s
        self._unanswered_s = None

    def silent_s(self, time_s: float) -> float:
        """Return how long ago the receiver last reported, seconds."""
        return time_s - self._reported_s

    def note_video_sent(self, time_s: float) -> None:
        """Note that a frame of conventional video was sent: the receiver answers such frames ten times a second."""
        if self._unanswered_s is None:
            self._unanswered_s = time_s

    def has_stalled(self, time_s: float) -> bool:
        """Return whether video is under way that nothing answers: a queue is building up.

        The estimate is then forgotten: whatever carries the next report carries little.
        """
        if self.is_known and self._unanswered_s is not None and time_s - self._unanswered_s > STALL_S:
            self._reported_bps = min(self.bps, STALLED_BPS)
            return True
        return False

    def begin_anew(self) -> None:
        """Forget all: another call."""
        self._reported_bps, self._unanswered_s = None, None


class Probe:
    """Tries whether a link carries more than is sent.

    Args:
        wanted_bps: what it is to carry, headers counted.
    """

    def __init__(self, wanted_bps: float) -> None:
        self._wanted_bps = wanted_bps
        self._pause_s = FIRST_PAUSE_S
        self._resume_s: float | None = None
        self._begun_s: float | None = None
        self._from_bps = 0.0
        self._best_bps = 0.0
        self._failed_bps = math.inf
        self.num_probes = 0
        """Attempts so far."""

    def padding_bps(self, link_bps: float, sent_bps: float, time_s: float, *, silent_s: float = 0.0) -> float:
        """Return how many bits per second of padding to send now.

        Args:
            link_bps: what the link is thought to carry.
            sent_bps: what is sent without padding.
            time_s: now.
            silent_s: how long ago the receiver last reported: without reports nothing tells that the link is full.
        """
        if self._begun_s is None:
            return self._begin(link_bps, sent_bps, time_s)
        elapsed_s = time_s - self._begun_s
        target_bps = min(self._from_bps * STEP_FACTOR ** (1 + math.floor(elapsed_s / STEP_S)), self._wanted_bps)
        steps_s = STEP_S * math.ceil(math.log(max(self._wanted_bps / self._from_bps, 1.0), STEP_FACTOR))
        lags = elapsed_s > LAG_S and link_bps < LAGGING * target_bps
        is_blind = min(silent_s, elapsed_s) > SILENT_S
        if lags or is_blind or link_bps < 0.9 * self._best_bps or elapsed_s > steps_s + HELD_S:
            self._end(time_s, has_failed=link_bps < self._wanted_bps)
            self._failed_bps = link_bps if link_bps < self._wanted_bps else math.inf
            return 0.0
        self._best_bps = max(self._best_bps, link_bps)
        return max(0.0, target_bps - sent_bps)

    @property
    def is_running(self) -> bool:
        """Whether an attempt is under way."""
        return self._begun_s is not None

    def cancel(self, time_s: float) -> None:
        """Stop, and leave the link alone for a while."""
        if self._begun_s is not None:
            self._end(time_s, has_failed=False)
        self._resume_s = time_s + self._pause_s

    def _begin(self, link_bps: float, sent_bps: float, time_s: float) -> float:
        if self._resume_s is None:
            self._resume_s = time_s + self._pause_s
        if link_bps > BETTER * self._failed_bps:
            # The link is not what it was when it failed.
            self._resume_s, self._pause_s, self._failed_bps = time_s, FIRST_PAUSE_S, math.inf
        if time_s >= self._resume_s and link_bps < self._wanted_bps and sent_bps > 0:
            self._begun_s, self._from_bps, self._best_bps = time_s, max(sent_bps, 0.7 * link_bps), link_bps
            self.num_probes += 1
        return 0.0

    def _end(self, time_s: float, *, has_failed: bool) -> None:
        self._begun_s = None
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) if has_failed else FIRST_PAUSE_S
        self._resume_s = time_s + self._pause_s
