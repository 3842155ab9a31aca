"""Cut the demo's clip and its reference pictures from one webcam recording.

    python tools/cut_demo_media.py webcam_expressions.mp4 examples/media

The clip is the recording from second 2 to 13; the references are single pictures from before and after it.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av

CLIP_SECONDS = (2.0, 13.0)
REFERENCE_SECONDS = (0.4, 14.3, 18.5)


def main(argv: list[str]) -> int:
    """Cut ``argv[0]`` into the folder ``argv[1]``."""
    source, out = Path(argv[0]), Path(argv[1])
    (out / "refs").mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as recording, av.open(str(out / "call.mp4"), "w") as clip:
        video = recording.streams.video[0]
        rate = video.average_rate or Fraction(25)
        stream = clip.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        wanted = [round(second * rate) for second in REFERENCE_SECONDS]
        for number, frame in enumerate(recording.decode(video)):
            if number in wanted:
                frame.to_image().save(out / "refs" / f"{wanted.index(number) + 1}.png")
            if CLIP_SECONDS[0] <= number / rate < CLIP_SECONDS[1]:
                frame.pts, frame.time_base = number - round(CLIP_SECONDS[0] * rate), 1 / Fraction(rate)
                clip.mux(stream.encode(frame))
        clip.mux(stream.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
