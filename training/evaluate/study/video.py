"""Study, videos as browsers play them: VP9 in WebM, so fine that the codec under test is what one sees.

Shape legend: N frames, S height and width, 3 RGB.
"""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from codec.errors import TrainingError
from codec.frames import frame_from_rgb
from training.evaluate.clips import Frames

# On faces of 256x256: 0.3 to 0.6 MB for 4 s; 46 dB from what went in, in luma, far above what is compared.
OPTIONS = {"crf": "4", "b": "0", "deadline": "good", "cpu-used": "4"}
SPOILT_SIZE = 24


def webm(frames_NSS3: Frames, fps: float) -> bytes:
    """Return pictures as a WebM file.

    Raises:
        TrainingError: this build of PyAV lacks libvpx-vp9, or it fails.
    """
    file = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1001)
    try:
        with av.open(file, "w", format="webm") as container:
            stream = container.add_stream("libvpx-vp9", rate=rate, options=OPTIONS)
            stream.height, stream.width = frames_NSS3.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for position, rgb in enumerate(frames_NSS3):
                frame = frame_from_rgb(rgb)
                frame.pts, frame.time_base = position, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FFmpegError, av.codec.codec.UnknownCodecError) as error:
        raise TrainingError(f"the video cannot be encoded: {error}") from error
    return file.getvalue()


def spoilt(frames_NSS3: Frames) -> Frames:
    """Return pictures that nobody takes for the better: 24 pixels across, scaled up."""
    size = frames_NSS3.shape[2], frames_NSS3.shape[1]
    small = (SPOILT_SIZE, SPOILT_SIZE)
    return np.stack(
        [
            np.asarray(Image.fromarray(rgb).resize(small).resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
            for rgb in frames_NSS3
        ]
    )
