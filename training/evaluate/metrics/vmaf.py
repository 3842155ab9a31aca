"""VMAF: Netflix's fusion of detail, information and motion, by libvmaf in an FFmpeg program.

    received and source pictures in order -> luma -> ffmpeg, libvmaf -> mean of the frames' VMAF, 0 to 100

Model v0.6.1, trained on films at 1080 lines seen from three heights away: at 256 pixels its scale is another, so
compare codecs here and not with VMAF elsewhere. Pictures go in at their own size. Where scored frames are not all
neighbours the motion feature still holds, since it takes the smaller of the changes before and after. The program is
imageio-ffmpeg's (``IMAGEIO_FFMPEG_EXE`` names another). Shape legend: N frames, H height, W width, 3 RGB.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.errors import TrainingError
from training.evaluate.metrics.weights import file_source

Frames = npt.NDArray[np.uint8]

# ITU-R BT.601, studio range.
LUMA = np.array((65.481, 128.553, 24.966), dtype=np.float32) / 255
BLACK, GREY = 16, 128
SCORE = re.compile(r"VMAF score: ([0-9.]+)")
VERSION = re.compile(r"ffmpeg version (\S+)")


class Vmaf:
    """The metric with its program.

    Raises:
        TrainingError: there is no FFmpeg with libvmaf.
    """

    def __init__(self) -> None:
        try:
            package: Any = importlib.import_module("imageio_ffmpeg")
            self._program: str = package.get_ffmpeg_exe()
        except (ImportError, RuntimeError) as error:
            raise TrainingError(f"VMAF needs an FFmpeg program ({error}): pip install 'warpcall[evaluate]'") from error
        listed = self._run(["-filters"], b"")
        if b" libvmaf " not in listed.stdout:
            raise TrainingError(f"{self._program} has no libvmaf; IMAGEIO_FFMPEG_EXE may name an FFmpeg that has")
        version = VERSION.search(self._run(["-version"], b"").stdout.decode(errors="replace"))
        number = version[1] if version else "of unknown version"
        self.source = file_source(f"libvmaf in FFmpeg {number}, model v0.6.1", Path(self._program))

    def score(self, source_NHW: Frames, received_NHW: Frames) -> float:
        """Return the mean of the frames' VMAF.

        Args:
            source_NHW: luma of what was sent, of even height and width.
            received_NHW: luma of what came out.

        Raises:
            TrainingError: FFmpeg fails; the message is its last line.
        """
        _, height, width = source_NHW.shape
        graph = (
            f"[0:v]split[a][b];[a]crop={width}:{height}:0:0[received];[b]crop={width}:{height}:0:{height}[source];"
            "[received][source]libvmaf=n_threads=1"
        )
        raw = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{width}x{2 * height}", "-framerate", "25"]
        stacked_NHW = np.concatenate([received_NHW, source_NHW], axis=1)
        done = self._run([*raw, "-i", "pipe:0", "-lavfi", graph, "-f", "null", "-"], _yuv420p(stacked_NHW))
        printed = done.stderr.decode(errors="replace")
        found = SCORE.search(printed)
        if done.returncode or found is None:
            raise TrainingError(f"VMAF failed: {(printed.strip().splitlines() or ['FFmpeg said nothing'])[-1]}")
        return float(found[1])

    def _run(self, words: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run([self._program, "-hide_banner", *words], input=data, capture_output=True, check=False)
        except OSError as error:
            raise TrainingError(f"{self._program} cannot be run: {error.strerror}") from error


def luma(frames_NHW3: Frames) -> Frames:
    """Return the luma of RGB pictures, BT.601, 16 to 235, (N, H, W)."""
    return np.rint(frames_NHW3.astype(np.float32) @ LUMA + BLACK).astype(np.uint8)


def _yuv420p(luma_NHW: Frames) -> bytes:
    num, height, width = luma_NHW.shape
    chroma = np.full((num, height * width // 2), GREY, np.uint8)
    return np.concatenate([luma_NHW.reshape(num, -1), chroma], axis=1).tobytes()
