"""Beside the pictures: which of the sender's own pictures are worth their bits as references.

    FramedPicture, its keypoints -> ReferencePicker -> now and then a Candidate

The first picture goes at once, so that the receiver can show something. From then on, for the whole call, a candidate
is the picture of the last window that is farthest, in keypoints, from those that the receiver holds (farthest-point
sampling), among those that are sharp and show a face with its eyes open: a blink is far from all other pictures, and
what is rebuilt from it looks out of one eye. One that is far sharper than all held is a candidate in any pose:
a camera's, or a file's, first pictures are often blurred. A candidate is proposed only when the link has earned its
bits (``BitBudget``); whether it is really sent is decided by what it gains (``sender.gain``). Shape legend: K
keypoints, 2 = (x, y) in [-1, 1].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codec.config import CodecConfig
from codec.face import Picture
from codec.model.keypoints import BROWS, CHIN, LOWER_LIDS, OUTER_CORNERS, UPPER_LIDS, are_on_a_face
from codec.structs import QuantisedKeypoints
from sender.face import FramedPicture

Locations = npt.NDArray[np.float64]

SHIFT_WEIGHT = 0.25
"""What a keypoint's share in the shift of all counts beside the change of the face's shape: the generator carries a
shifted head along, but has never seen the other side of a turned one."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A picture that may become a reference.

    Attributes:
        rgb: (S, S, 3).
        locations_K2: its keypoints.
        sharpness: see ``sharpness``.
    """

    rgb: Picture
    locations_K2: Locations
    sharpness: float


class BitBudget:
    """Bits that references may cost: a share of the link's, saved up for a few pictures at most.

    Args:
        share: of the link's bits.
        picture_bits: what a picture costs, about.
        most_pictures: as many can be saved up for, and are paid for from the beginning: a first set.
    """

    def __init__(self, share: float = 0.1, picture_bits: float = 24_000.0, most_pictures: int = 4) -> None:
        self._share = share
        self._picture_bits = picture_bits
        self._most_pictures = most_pictures
        self._saved_bits = most_pictures * picture_bits
        self._time_s: float | None = None

    @property
    def is_enough(self) -> bool:
        """Whether a picture can be paid for."""
        return self._saved_bits >= self._picture_bits

    def earn(self, bandwidth_bps: float, time_s: float) -> None:
        """Save bits of the time since the last call.

        Args:
            bandwidth_bps: of the link, bits per second.
            time_s: now, seconds on any steady clock.
        """
        elapsed_s = 0.0 if self._time_s is None else max(0.0, time_s - self._time_s)
        self._time_s = time_s
        earned_bits = self._share * max(0.0, bandwidth_bps) * elapsed_s
        self._saved_bits = min(self._most_pictures * self._picture_bits, self._saved_bits + earned_bits)

    def spend(self, bits: float) -> None:
        """Pay for a picture; later pictures are expected to cost as much."""
        self._saved_bits -= bits
        self._picture_bits += 0.5 * (bits - self._picture_bits)


class ReferencePicker:
    """Proposes reference pictures over a call.

    Args:
        config: of the model: tells what the quantised keypoints mean.
        budget: that a proposal must be paid from.
        window_s: how long candidates are compared before one is proposed, seconds.
        least_distance: least ``pose_distance`` from each picture held.
        face_patience_s: how long the first picture waits for a face, seconds.
        declined_s: how long the neighbourhood of a declined candidate is left alone, seconds.
    """

    CANDIDATE_INTERVAL_S = 0.1
    LEAST_SHARPNESS = 0.6
    """Of the median of the last candidates: a blurred picture falls under it."""
    FAR_SHARPER = 1.5
    """Times the sharpest picture held."""
    LEAST_OPENNESS = 0.75
    """Of the median of the last ten seconds' candidates. Of 97 validation clips' pictures 8% are under .7 of their
    clip's median, 10% under .8: there is little between a blink and a narrowed eye."""
    LEAST_FIRST_OPENNESS = 0.045
    """Of eyes before there is a median, a share of the distance between them: the clips' medians are .067 to .125, shut
    eyes .006 to .025."""

    def __init__(
        self,
        config: CodecConfig,
        budget: BitBudget,
        *,
        window_s: float = 1.5,
        least_distance: float = 0.015,
        face_patience_s: float = 1.0,
        declined_s: float = 20.0,
    ) -> None:
        self._config = config
        self._budget = budget
        self._window_s = window_s
        self._least_distance = least_distance
        self._face_patience_s = face_patience_s
        self._declined_s = declined_s
        self._first_offer_s: float | None = None
        self._last_offer_s = float("-inf")
        self._window_start_s = 0.0
        self._needs_face = True
        self._best: tuple[float, Candidate] | None = None
        self._declined: list[tuple[float, Candidate]] = []
        self._sharpness: deque[float] = deque(maxlen=20)
        self._openness: deque[float] = deque(maxlen=100)
        self._knows_eyes = are_on_a_face(config)

    def offer(
        self, picture: FramedPicture, keypoints: QuantisedKeypoints, time_s: float, held: Sequence[Candidate]
    ) -> Candidate | None:
        """Consider a picture.

        Args:
            picture: as it was coded.
            keypoints: found in it.
            time_s: its moment, seconds on any steady clock.
            held: what the receiver holds, and what is on its way there.

        Returns:
            A candidate to send now, this one or an earlier one; mostly None.
        """
        if self._first_offer_s is None:
            self._first_offer_s = time_s
        if time_s - self._last_offer_s < self.CANDIDATE_INTERVAL_S:
            return None
        self._last_offer_s = time_s
        candidate = Candidate(picture.rgb, locations_of(keypoints, self._config), sharpness(picture.rgb))
        if not held:
            return self._first(picture, candidate, time_s)
        self._compare(picture, candidate, time_s, held)
        return self._farthest(time_s)

    def decline(self, candidate: Candidate, time_s: float) -> None:
        """Leave the neighbourhood of a candidate alone for a while: it is not worth its bits."""
        self._declined.append((time_s, candidate))

    def _first(self, picture: FramedPicture, candidate: Candidate, time_s: float) -> Candidate | None:
        assert self._first_offer_s is not None
        is_bad = picture.has_face is False or (
            self._knows_eyes and eye_openness(candidate.locations_K2) < self.LEAST_FIRST_OPENNESS
        )
        if is_bad and time_s - self._first_offer_s < self._face_patience_s:
            return None
        self._needs_face = picture.has_face is True
        self._best, self._window_start_s = None, time_s
        return candidate

    def _compare(self, picture: FramedPicture, candidate: Candidate, time_s: float, held: Sequence[Candidate]) -> None:
        self._sharpness.append(candidate.sharpness)
        if candidate.sharpness < self.LEAST_SHARPNESS * float(np.median(self._sharpness)):
            return
        if (self._needs_face and not picture.has_face) or self._blinks(candidate):
            return
        self._declined = [entry for entry in self._declined if time_s - entry[0] < self._declined_s]
        known = [*held, *(declined for _, declined in self._declined)]
        distance = min(pose_distance(candidate.locations_K2, other.locations_K2) for other in known)
        if candidate.sharpness > self.FAR_SHARPER * max(other.sharpness for other in known):
            distance += self._least_distance
        if self._best is None or distance > self._best[0]:
            self._best = distance, candidate

    def _blinks(self, candidate: Candidate) -> bool:
        """Return whether eyes are open less than they mostly are."""
        if not self._knows_eyes:
            return False
        openness = eye_openness(candidate.locations_K2)
        self._openness.append(openness)
        return openness < self.LEAST_OPENNESS * float(np.median(self._openness))

    def _farthest(self, time_s: float) -> Candidate | None:
        """At the end of a window, return its best candidate if it differs enough and can be paid for."""
        if time_s - self._window_start_s < self._window_s or not self._budget.is_enough:
            return None
        best, self._best, self._window_start_s = self._best, None, time_s
        return best[1] if best is not None and best[0] >= self._least_distance else None


def locations_of(keypoints: QuantisedKeypoints, config: CodecConfig) -> Locations:
    """Return the places of quantised keypoints, (K, 2)."""
    return keypoints.values_K3[:, :2].astype(np.float64) * (2.0 / (1 << config.location_bits)) - 1.0


def sharpness(rgb: Picture) -> float:
    """Return the variance of the Laplacian of a picture (H, W, 3): high when it is sharp, low when it is blurred."""
    green = rgb[:, :, 1].astype(np.float32)
    laplacian = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:] - 4 * green[1:-1, 1:-1]
    return float(laplacian.var())


def eye_openness(locations_K2: Locations) -> float:
    """Return how far the lids are apart along the face, a share of the distance between the eyes' outer corners.

    Args:
        locations_K2: of keypoints that are on a face, see ``codec.model.keypoints``.
    """
    downwards_2 = locations_K2[CHIN] - locations_K2[list(BROWS)].mean(axis=0)
    apart_2 = (locations_K2[list(LOWER_LIDS)] - locations_K2[list(UPPER_LIDS)]).mean(axis=0)
    width = float(np.hypot(*(locations_K2[OUTER_CORNERS[0]] - locations_K2[OUTER_CORNERS[1]])))
    return float(apart_2 @ downwards_2) / max(float(np.hypot(*downwards_2)) * width, 1e-9)


def pose_distance(one_K2: Locations, other_K2: Locations) -> float:
    """Return how far two sets of keypoints are apart, in [-1, 1] coordinates.

    Root mean square change of the face's shape, its centre set aside, plus a quarter of the centre's shift. On a clip
    of expressions the change of shape goes with the generator's LPIPS at r = 0.62, the plain distance at r = 0.49.
    """
    shift_2 = one_K2.mean(axis=0) - other_K2.mean(axis=0)
    shape = float(np.sqrt(((one_K2 - other_K2 - shift_2) ** 2).sum(axis=1).mean()))
    return shape + SHIFT_WEIGHT * float(np.hypot(*shift_2))
