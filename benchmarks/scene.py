"""A clip whose speaker leaves and comes back: ``python -m benchmarks.scene IN.mp4 OUT.mp4``.

Between two times the pictures show the first picture's left border stretched over the whole: the wall, and nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import tyro

from codec.frames import rgb_from_frame

BORDER = 12


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Make a clip whose speaker leaves and comes back."""

    source: Annotated[Path, tyro.conf.Positional]
    """Video of one person."""
    target: Annotated[Path, tyro.conf.Positional]
    """Video to write."""
    leaves_s: float = 8.0
    """When the person leaves."""
    returns_s: float = 14.0
    """When the person is back."""
    seconds: float = 22.0
    """Length of the whole."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the clip."""
    config = tyro.cli(SceneConfig, args=argv, prog="python -m benchmarks.scene")
    with av.open(str(config.source)) as source, av.open(str(config.target), "w") as target:
        stream_in = source.streams.video[0]
        fps = Fraction(stream_in.average_rate or 25)
        stream = target.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height = stream_in.codec_context.width, stream_in.codec_context.height
        stream.pix_fmt = "yuv420p"
        wall = None
        for index, frame in enumerate(source.decode(stream_in)):
            if index / fps >= config.seconds:
                break
            rgb = rgb_from_frame(frame)
            if wall is None:
                wall = np.repeat(rgb[:, :BORDER].mean(axis=1, keepdims=True).astype(np.uint8), rgb.shape[1], axis=1)
            is_away = config.leaves_s <= index / fps < config.returns_s
            target.mux(stream.encode(av.VideoFrame.from_ndarray(wall if is_away else rgb, format="rgb24")))
        target.mux(stream.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
