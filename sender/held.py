"""Beside the pictures: the sender's copy of the references that the receiver holds.

    send -> on its way -> ReferenceStatus -> in use at both ends (the worst one, if full, is out: ReferenceSelection)

Both ends hold the same bounded set, because its changes are made by the sender alone: a picture is used once the
receiver has said that it has it, and which one leaves for it is told by naming those that stay. The receiver takes a
picture into use by itself only while there is room, as this copy does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codec.face import Picture
from sender.references import Candidate, Locations, pose_distance


@dataclass(frozen=True, slots=True, eq=False)
class CodedReference:
    """A reference picture as the receiver has it.

    Attributes:
        sha256: of the coded bytes, 64 hex digits.
        data: the coded bytes.
        rgb: decoded again, (S, S, 3).
        candidate: the picture that it was made from.
    """

    sha256: str
    data: bytes
    rgb: Picture
    candidate: Candidate


class HeldReferences:
    """The receiver's references, as far as the sender knows.

    Args:
        capacity: how many the receiver holds.
    """

    HISTORY_INTERVAL_S = 0.5
    HISTORY = 240
    """Poses remembered: two minutes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used: list[CodedReference] = []
        self._sent: CodedReference | None = None
        self._poses: deque[Locations] = deque(maxlen=self.HISTORY)
        self._posed_s = float("-inf")

    @property
    def used(self) -> tuple[CodedReference, ...]:
        """Pictures in use at the receiver."""
        return tuple(self._used)

    @property
    def sent(self) -> CodedReference | None:
        """The picture on its way, if there is one."""
        return self._sent

    @property
    def candidates(self) -> list[Candidate]:
        """What the pictures in use, and the one on its way, were made from."""
        return [reference.candidate for reference in (*self._used, *([self._sent] if self._sent is not None else []))]

    def note_pose(self, locations_K2: Locations, time_s: float) -> None:
        """Remember how the face is posed: what has been seen lately is what the pictures should cover."""
        if time_s - self._posed_s >= self.HISTORY_INTERVAL_S:
            self._posed_s = time_s
            self._poses.append(locations_K2)

    def with_one_more(self, reference: CodedReference) -> list[CodedReference]:
        """Return the pictures that would be in use with another one.

        When there is no room, the one leaves without which the poses of the last two minutes are covered best: their
        mean distance from the nearest picture is least.
        """
        if len(self._used) < self._capacity:
            return [*self._used, reference]
        choices = [[*self._used[:index], *self._used[index + 1 :], reference] for index in range(len(self._used))]
        return min(choices, key=self._coverage)

    def send(self, reference: CodedReference) -> None:
        """Note that a picture goes out."""
        self._sent = reference

    def acknowledge(self, sha256: str) -> tuple[str, ...] | None:
        """Take the receiver's word that it has a picture.

        Returns:
            Hashes of the pictures in use from now on, where the receiver has to be told: it had no room. None where it
            has taken the picture into use by itself, or where the picture is not the one on its way.
        """
        reference, self._sent = self._take_sent(sha256)
        if reference is None:
            return None
        was_full = len(self._used) >= self._capacity
        self._used = self.with_one_more(reference)
        return tuple(each.sha256 for each in self._used) if was_full else None

    def refuse(self, sha256: str) -> CodedReference | None:
        """Take the receiver's word that it does not want a picture; return the picture if it was on its way."""
        reference, self._sent = self._take_sent(sha256)
        return reference

    def restart(self, held: Sequence[str]) -> list[CodedReference]:
        """Begin another call with a receiver that holds some pictures.

        Returns:
            The pictures that it has to be sent again, the oldest first.
        """
        known = [*self._used, *([self._sent] if self._sent is not None else [])]
        self._used = [reference for reference in known if reference.sha256 in held]
        self._sent = None
        return [reference for reference in known if reference.sha256 not in held][: self._capacity - len(self._used)]

    def nearest_distance(self, locations_K2: Locations) -> float:
        """Return the distance of a pose from the nearest picture in use; infinite where there is none."""
        return min(
            (pose_distance(locations_K2, reference.candidate.locations_K2) for reference in self._used),
            default=float("inf"),
        )

    def _take_sent(self, sha256: str) -> tuple[CodedReference | None, CodedReference | None]:
        if self._sent is not None and self._sent.sha256 == sha256:
            return self._sent, None
        return None, self._sent

    def _coverage(self, references: Sequence[CodedReference]) -> float:
        newest = references[-1].candidate.locations_K2
        poses = [*self._poses, newest]
        return float(
            np.mean([min(pose_distance(pose, each.candidate.locations_K2) for each in references) for pose in poses])
        )
