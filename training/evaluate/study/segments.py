"""Study, first step: which parts of a clip are shown.

number of frames, rate -> parts -> ranges of frames
"""

from __future__ import annotations

PARTS = ("start", "middle", "end")
WHOLE = "whole"


def parts(num_frames: int, fps: float, seconds: float) -> dict[str, range]:
    """Return the parts of a clip by name.

    A clip of at least three times ``seconds`` gives its start, its middle and its end, as the supplement cuts videos of
    1024 frames. A shorter one gives ``seconds`` from its middle, and one shorter than that is shown whole.
    """
    length = max(1, round(seconds * fps))
    if num_frames >= 3 * length:
        starts = (0, (num_frames - length) // 2, num_frames - length)
        return {name: range(start, start + length) for name, start in zip(PARTS, starts, strict=True)}
    if num_frames > length:
        start = (num_frames - length) // 2
        return {PARTS[1]: range(start, start + length)}
    return {WHOLE: range(num_frames)}
