"""Before stage 1: follow one face with a steady square.

    rgb (H, W, 3), now and then -> Detector -> wanted Square -> held, gliding or jumping Square

Nothing here knows pixels but the detector: the rest is geometry over time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from codec.face.detect import Detector, Face, Picture
from codec.face.square import HEAD, Framing, Square, center_square, inside, square_of


class FaceTracker:
    """Follows one face with a steady square.

    Keypoints are relative to the square, so a square that swims costs bits and makes the background swim. The tracker
    detects every ``interval_s`` in a thread of its own, holds the square while the face stays within a dead zone,
    glides to the face when it has left that zone, and jumps when the face has left the square. Between detections and
    without a face it holds the last square; before any face was found it gives the picture's centre square.

    Args:
        detector: finds faces.
        interval_s: seconds between detections while the square holds; a third of it while it glides.
        dead_zone: how far the wanted square may be from the held one, in shares of its size.
        glide_s: time constant of the glide, seconds.
        background: False runs every detection inside ``update`` (for reproducible offline work).
        framing: how much of the person the square shows.
    """

    JUMP = 0.5
    OTHER_FACE = 0.5
    ARRIVED = 0.02

    def __init__(
        self,
        detector: Detector,
        *,
        interval_s: float = 0.5,
        dead_zone: float = 0.1,
        glide_s: float = 0.35,
        background: bool = True,
        framing: Framing = HEAD,
    ) -> None:
        self._detector = detector
        self._interval_s = interval_s
        self._dead_zone = dead_zone
        self._glide_s = glide_s
        self._framing = framing
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="face") if background else None
        self._reset(None)

    def _reset(self, picture_shape: tuple[int, ...] | None) -> None:
        self._picture_shape = picture_shape
        self._pending: Future[list[Face]] | None = None
        self._detected_s: float | None = None
        self._updated_s = 0.0
        self._gliding = False
        self._target: Square | None = None
        self._square: Square | None = None
        self.face: Face | None = None
        """The face followed, where it was last seen; None before the first."""
        self.has_face = False
        """Whether the last detection that finished saw the face."""
        self.num_faces = 0
        """How many faces of at least half the size of the one followed it saw, within the square of that face."""

    def update(self, rgb: Picture, time_s: float | None = None) -> Square:
        """Take the next picture and return the square to crop from it.

        The first call waits for its detection, so that the first coded picture is framed already; later ones never
        wait. Call it from one thread (not an event loop's).

        Args:
            rgb: (H, W, 3); when the size changes, the tracker begins anew.
            time_s: the picture's time, seconds on any steady clock; None takes the monotonic clock.
        """
        now_s = time.monotonic() if time_s is None else time_s
        if rgb.shape != self._picture_shape:
            self._reset(rgb.shape)
        height, width = rgb.shape[:2]
        self._detect(rgb, now_s)
        if self._target is None:
            return center_square(width, height)
        self._square = self._follow(self._square or self._target, self._target, max(now_s - self._updated_s, 0.0))
        self._updated_s = now_s
        return inside(self._square, width, height)

    def close(self) -> None:
        """End the detection thread; the tracker holds its square from then on."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _detect(self, rgb: Picture, now_s: float) -> None:
        if self._pending is not None and self._pending.done():
            self._take(self._pending.result(), rgb.shape[1], rgb.shape[0])
            self._pending = None
        interval_s = self._interval_s / 3 if self._gliding else self._interval_s
        first = self._detected_s is None
        if self._pending is not None or not (first or now_s - (self._detected_s or 0.0) >= interval_s):
            return
        self._detected_s = now_s
        if first or self._executor is None:
            self._take(self._detector.detect(rgb), rgb.shape[1], rgb.shape[0])
        else:
            self._pending = self._executor.submit(self._detector.detect, rgb)

    def _take(self, faces: Sequence[Face], width: int, height: int) -> None:
        self.has_face = bool(faces)
        if faces:
            self.face = self._choose(faces)
            self._target = square_of(self.face, width, height, self._framing)
        self.num_faces = self._count(faces, self._target) if faces else 0

    def _count(self, faces: Sequence[Face], square: Square | None) -> int:
        assert self.face is not None
        assert square is not None
        reach = square.size / 2
        return sum(
            face.size >= self.OTHER_FACE * self.face.size
            and abs(face.center[0] - square.center_x) < reach
            and abs(face.center[1] - square.center_y) < reach
            for face in faces
        )

    def _choose(self, faces: Sequence[Face]) -> Face:
        """Keep to the person followed: the nearest face within a face's size, else the largest."""
        last = self.face
        if last is not None:
            nearest = min(faces, key=lambda face: math.dist(face.center, last.center))
            if math.dist(nearest.center, last.center) <= last.size:
                return nearest
        return max(faces, key=lambda face: face.size)

    def _follow(self, square: Square, target: Square, elapsed_s: float) -> Square:
        off = max(abs(target.center_x - square.center_x), abs(target.center_y - square.center_y)) / square.size
        grown = abs(math.log(target.size / square.size))
        if off > self.JUMP:
            self._gliding = False
            return target
        if self._gliding:
            self._gliding = off > self.ARRIVED or grown > 2 * self.ARRIVED
        else:
            self._gliding = off > self._dead_zone or grown > 2 * self._dead_zone
        if not self._gliding:
            return square
        share = 1 - math.exp(-elapsed_s / self._glide_s)
        return Square(
            square.center_x + share * (target.center_x - square.center_x),
            square.center_y + share * (target.center_y - square.center_y),
            square.size + share * (target.size - square.size),
        )
