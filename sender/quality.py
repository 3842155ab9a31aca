"""Beside the pictures: whether keypoints do justice to what the camera sees.

    face detections; pictures rebuilt now and then (``sender.reconstruct``) -> QualityJudge -> Verdict

Keypoints describe one face that the references know. Without a face, with a second one, with a hand before it or in a
pose far from all references, what the receiver rebuilds is wrong, and nobody there can know. A fault counts when it has
stood for a moment, and is over when nothing was wrong for longer than that.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

NO_FACE = "no face is seen"
MORE_FACES = "more than one face is seen"
UNLIKE = "the picture cannot be rebuilt from the references"
FAR = "the pose is far from all references"

BAD_S = 0.7
GOOD_S = 1.5
MEMORY_S = 120.0
LEAST_LOOKS = 6
# Painted hands before four faces: the worst tenth's error is 0.76 to 0.93 in nine pictures of ten; without a hand it
# depends on the face, the room and the references, 0.05 to 0.6 in half of the pictures.
POOR_ERROR, POOR_FACTOR = 0.7, 1.5
HOPELESS_ERROR, HOPELESS_FACTOR = 0.75, 1.8
FARTHEST = 0.12


@dataclass(frozen=True, slots=True)
class Verdict:
    """What speaks against keypoints.

    Attributes:
        reason: in words; empty when nothing does.
        is_hopeless: whether a held picture is better than what keypoints would make of it.
    """

    reason: str = ""
    is_hopeless: bool = False


GOOD = Verdict()


class QualityJudge:
    """Gathers what speaks against keypoints.

    A rebuilt picture speaks against them when its error is high and far above the median of the last two minutes, twice
    in a row.
    """

    def __init__(self) -> None:
        self._face = GOOD
        self._picture = GOOD
        self._last_picture = GOOD
        self._errors: deque[tuple[float, float]] = deque()
        self._bad_since_s: float | None = None
        self._good_since_s: float | None = None
        self._verdict = GOOD

    def note_face(self, has_face: bool | None, num_faces: int | None) -> None:
        """Take what the face tracker saw last; None where nobody looks for faces."""
        if has_face is False:
            self._face = Verdict(NO_FACE, is_hopeless=True)
        else:
            self._face = Verdict(MORE_FACES, is_hopeless=True) if num_faces is not None and num_faces > 1 else GOOD

    def note_reconstruction(self, worst_error: float, time_s: float) -> None:
        """Take the error of a rebuilt picture: that of its worst tenth (see ``structural_error``)."""
        usual = self.usual_error
        seen = GOOD
        if usual is not None and worst_error > max(POOR_ERROR, POOR_FACTOR * usual):
            seen = Verdict(UNLIKE, is_hopeless=worst_error > max(HOPELESS_ERROR, HOPELESS_FACTOR * usual))
        self._picture = Verdict(UNLIKE, seen.is_hopeless and self._last_picture.is_hopeless)
        if not (seen.reason and self._last_picture.reason):
            self._picture = GOOD
        self._last_picture = seen
        self._errors.append((time_s, worst_error))
        while time_s - self._errors[0][0] > MEMORY_S:
            self._errors.popleft()

    def note_distance(self, distance: float) -> None:
        """Take the distance of a pose from the nearest reference, where the generator is too slow to be asked."""
        self._picture = Verdict(FAR) if distance > FARTHEST else GOOD

    def forget_reconstructions(self) -> None:
        """Begin anew: the references have changed."""
        self._errors.clear()
        self._picture = self._last_picture = GOOD

    @property
    def usual_error(self) -> float | None:
        """Median error of the last two minutes; None before there are a few."""
        return statistics.median(error for _, error in self._errors) if len(self._errors) >= LEAST_LOOKS else None

    @property
    def is_doubtful(self) -> bool:
        """Whether anything speaks against keypoints, for however short a time."""
        return bool(self._face.reason or self._picture.reason or self._last_picture.reason)

    def verdict(self, time_s: float) -> Verdict:
        """Return what speaks against keypoints at this moment."""
        seen = self._face if self._face.reason else self._picture
        if seen.reason:
            self._good_since_s = None
            self._bad_since_s = time_s if self._bad_since_s is None else self._bad_since_s
            if self._verdict.reason or time_s - self._bad_since_s >= BAD_S:
                self._verdict = seen
        else:
            self._bad_since_s = None
            self._good_since_s = time_s if self._good_since_s is None else self._good_since_s
            if time_s - self._good_since_s >= GOOD_S:
                self._verdict = GOOD
        return self._verdict
