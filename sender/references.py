"""Beside the pictures: which of the sender's own pictures are worth their bits as references.

    FramedPicture, its keypoints -> ReferencePicker -> now and then a picture to send

The first picture goes at once, so that the receiver can show something. A further one has to show the head in another
pose: it is the one farthest, in keypoints, from those sent before (farthest-point sampling), among those that are sharp
and show a face. One that is far sharper than all before is worth its bits in any pose: a camera's, or a file's, first
pictures are often blurred.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codec.config import CodecConfig
from codec.face import Picture
from codec.structs import QuantisedKeypoints
from sender.face import FramedPicture

Locations = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    rgb: Picture
    locations: Locations
    distance: float
    sharpness: float


class ReferencePicker:
    """Picks reference pictures from the first part of a call.

    Args:
        config: of the model: tells what the quantised keypoints mean.
        count: how many pictures at most.
        window_s: how long candidates are compared before one is taken, seconds.
        least_distance: least difference from each picture taken before: root mean square distance of the keypoints, in
            [-1, 1] coordinates.
        face_patience_s: how long the first picture waits for a face, seconds.
        patience_s: when to stop looking, seconds after the first picture.
    """

    CANDIDATE_INTERVAL_S = 0.1
    LEAST_SHARPNESS = 0.6
    """Of the median of the last candidates: a blurred picture falls under it."""
    FAR_SHARPER = 1.5
    """Times the sharpest picture taken before."""

    def __init__(
        self,
        config: CodecConfig,
        count: int,
        *,
        window_s: float = 1.5,
        least_distance: float = 0.03,
        face_patience_s: float = 1.0,
        patience_s: float = 60.0,
    ) -> None:
        self._levels = 1 << config.location_bits
        self._count = count
        self._window_s = window_s
        self._least_distance = least_distance
        self._face_patience_s = face_patience_s
        self._patience_s = patience_s
        self._first_offer_s: float | None = None
        self._last_offer_s = float("-inf")
        self._window_start_s = 0.0
        self._begun_s = 0.0
        self._needs_face = True
        self._taken: list[_Candidate] = []
        self._best: _Candidate | None = None
        self._sharpness: deque[float] = deque(maxlen=20)

    @property
    def is_done(self) -> bool:
        """Whether no further picture will be picked."""
        return len(self._taken) >= self._count or self._last_offer_s - self._begun_s > self._patience_s

    def offer(self, picture: FramedPicture, keypoints: QuantisedKeypoints, time_s: float) -> Picture | None:
        """Consider a coded picture.

        Args:
            picture: as it was coded.
            keypoints: found in it.
            time_s: its moment, seconds on any steady clock.

        Returns:
            A picture (S, S, 3) to send as a reference now, this one or an earlier one; mostly None.
        """
        if self._first_offer_s is None:
            self._first_offer_s = self._begun_s = time_s
        if self.is_done or time_s - self._last_offer_s < self.CANDIDATE_INTERVAL_S:
            return None
        self._last_offer_s = time_s
        locations_K2 = keypoints.values_K3[:, :2].astype(np.float64) * (2.0 / self._levels) - 1.0
        if not self._taken:
            return self._first(picture, locations_K2, time_s)
        self._compare(picture, locations_K2)
        return self._farthest(time_s)

    def _first(self, picture: FramedPicture, locations_K2: Locations, time_s: float) -> Picture | None:
        assert self._first_offer_s is not None
        if picture.has_face is False and time_s - self._first_offer_s < self._face_patience_s:
            return None
        self._needs_face = picture.has_face is True
        self._begun_s = time_s
        return self._take(_Candidate(picture.rgb, locations_K2, float("inf"), sharpness(picture.rgb)), time_s)

    def _compare(self, picture: FramedPicture, locations_K2: Locations) -> None:
        sharp = sharpness(picture.rgb)
        self._sharpness.append(sharp)
        if sharp < self.LEAST_SHARPNESS * float(np.median(self._sharpness)) or (
            self._needs_face and not picture.has_face
        ):
            return
        distance = min(_rms_distance(locations_K2, taken.locations) for taken in self._taken)
        if sharp > self.FAR_SHARPER * max(taken.sharpness for taken in self._taken):
            distance += self._least_distance
        if self._best is None or distance > self._best.distance:
            self._best = _Candidate(picture.rgb, locations_K2, distance, sharp)

    def _farthest(self, time_s: float) -> Picture | None:
        """At the end of a window, take its best candidate if it differs enough."""
        if time_s - self._window_start_s < self._window_s:
            return None
        best, self._best, self._window_start_s = self._best, None, time_s
        return self._take(best, time_s) if best is not None and best.distance >= self._least_distance else None

    def _take(self, candidate: _Candidate, time_s: float) -> Picture:
        self._taken.append(candidate)
        self._best, self._window_start_s = None, time_s
        return candidate.rgb


def sharpness(rgb: Picture) -> float:
    """Return the variance of the Laplacian of a picture (H, W, 3): high when it is sharp, low when it is blurred."""
    green = rgb[:, :, 1].astype(np.float32)
    laplacian = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:] - 4 * green[1:-1, 1:-1]
    return float(laplacian.var())


def _rms_distance(one_K2: Locations, other_K2: Locations) -> float:
    return float(np.sqrt(((one_K2 - other_K2) ** 2).sum(axis=1).mean()))
