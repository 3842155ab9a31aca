"""Stage 1 of 8 for any track: a frame of any size to the square that is coded."""

from __future__ import annotations

import av

from codec.frames import Rgb, rgb_from_frame


def square_rgb(frame: av.VideoFrame, size: int) -> Rgb:
    """Return the centre square of a frame, scaled to the size of the coded picture.

    Args:
        frame: a picture of any size and format.
        size: height and width wanted, pixels.

    Returns:
        uint8 (size, size, 3).
    """
    shorter = min(frame.width, frame.height)
    width, height = (max(size, round(side * size / shorter)) for side in (frame.width, frame.height))
    if (width, height) != (frame.width, frame.height):
        frame = frame.reformat(width=width, height=height, interpolation="AREA" if shorter > size else "BICUBIC")
    left, top = (width - size) // 2, (height - size) // 2
    return rgb_from_frame(frame)[top : top + size, left : left + size]
