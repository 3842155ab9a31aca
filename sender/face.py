"""Before stage 1: from a camera's picture to the square that is coded.

av.VideoFrame (any size) -> FaceTracker -> Square -> crop -> FramedPicture (S, S, 3)
"""

from __future__ import annotations

from dataclasses import dataclass

from av.video.frame import VideoFrame

from codec.face import FaceTracker, Picture, center_square, crop
from codec.frames import rgb_from_frame


@dataclass(frozen=True, slots=True, eq=False)
class FramedPicture:
    """A picture ready to be coded; travels with its frame as ``VideoFrame.opaque``.

    Attributes:
        rgb: (S, S, 3).
        capture_time_us: microseconds since the epoch.
        has_face: whether the tracker sees a face; None when nobody looks for one.
        num_faces: how many faces are in the square; None when nobody looks for any.
        video_bps: bits per second at which it is coded as conventional video; None codes it as keypoints.
    """

    rgb: Picture
    capture_time_us: int
    has_face: bool | None
    num_faces: int | None = None
    video_bps: int | None = None


class Framer:
    """Crops the square around the face; runs in the reader's thread.

    Args:
        size: of the result, pixels (S).
        tracker: follows the face; None takes the centre of the picture.
    """

    def __init__(self, size: int, tracker: FaceTracker | None) -> None:
        self._size = size
        self._tracker = tracker

    def frame(self, picture: VideoFrame, capture_time_us: int) -> FramedPicture:
        """Crop one picture."""
        rgb = rgb_from_frame(picture)
        if self._tracker is None:
            square = center_square(rgb.shape[1], rgb.shape[0])
            return FramedPicture(crop(rgb, square, self._size), capture_time_us, None)
        square = self._tracker.update(rgb, capture_time_us / 1e6)
        tracker = self._tracker
        return FramedPicture(crop(rgb, square, self._size), capture_time_us, tracker.has_face, tracker.num_faces)

    def close(self) -> None:
        """End the tracker's thread."""
        if self._tracker is not None:
            self._tracker.close()
