"""Beside the pictures: whether a picture goes as keypoints, as conventional video, or not at all.

    Link, QualityJudge -> ModeSwitch -> "keypoints" | "video" | "hold"

Above the crossover conventional video is the better picture, and the call is conventional video; below it keypoints
are. What keypoints cannot show goes as video as long as the link carries any, and is held back otherwise: the receiver
keeps the last good picture and says so. Downwards the switch acts at once, upwards only when it has stayed in a mode
for a moment and the link carries clearly more than the crossover.
"""

from __future__ import annotations

from typing import Literal

from sender.quality import Verdict

Mode = Literal["keypoints", "video", "hold"]
Choice = Literal["auto", "keypoints", "video"]

CLEARLY_MORE = 1.15
CLEARLY_LESS = 0.85
LEAST_STAY_S, LEAST_STAY_AFTER_VIDEO_S = 1.0, 4.0
LEAST_VIDEO_BPS = 22_000.0
"""Least that conventional video needs, headers counted, where keypoints will not do: eight pictures a second."""


class ModeSwitch:
    """Chooses the mode of each picture.

    Args:
        choice: the user's: one of the two always, or whichever is better.
        crossover_bps: from where on conventional video is better, bits per second, headers counted.
    """

    def __init__(self, choice: Choice, crossover_bps: float) -> None:
        self._choice = choice
        self._crossover_bps = crossover_bps
        self._since_s: float | None = None
        self._least_stay_s = LEAST_STAY_S
        self.mode: Mode = "video" if choice == "video" else "keypoints"
        """The mode at this moment."""

    def choose(self, link_bps: float, has_stalled: bool, verdict: Verdict, time_s: float) -> Mode:
        """Return the mode of the next picture.

        Args:
            link_bps: what the link carries, headers counted.
            has_stalled: whether video is under way that nobody answers.
            verdict: what speaks against keypoints.
            time_s: now, seconds on any steady clock.
        """
        if self._choice != "auto":
            return self.mode
        self._since_s = time_s if self._since_s is None else self._since_s
        wanted = self._wanted(0.0 if has_stalled else link_bps, verdict)
        is_up = wanted == "video"
        if wanted != self.mode and not (is_up and time_s - self._since_s < self._least_stay_s):
            self._least_stay_s = LEAST_STAY_AFTER_VIDEO_S if self.mode == "video" else LEAST_STAY_S
            self.mode, self._since_s = wanted, time_s
        return self.mode

    def _wanted(self, link_bps: float, verdict: Verdict) -> Mode:
        threshold_bps = LEAST_VIDEO_BPS if verdict.reason else self._crossover_bps
        if link_bps >= (CLEARLY_LESS if self.mode == "video" else CLEARLY_MORE) * threshold_bps:
            return "video"
        return "hold" if verdict.is_hopeless else "keypoints"
