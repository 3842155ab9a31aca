from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from codec.face import Detector, Face, Picture
from codec.frames import rgb_from_frame
from training.prepare import work

MARK = np.array((255, 0, 255), dtype=np.uint8)
WIDTH, HEIGHT = 320, 240


class MarkDetector:
    """Finds the magenta square that stands for a face."""

    def __init__(self) -> None:
        self.num_calls = 0

    def detect(self, rgb: Picture) -> list[Face]:
        self.num_calls += 1
        faces = []
        marked = np.abs(rgb.astype(np.int16) - MARK).max(axis=2) < 60
        columns = np.flatnonzero(marked.any(axis=0))
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            if len(part) < 8:
                continue
            rows = np.flatnonzero(marked[:, part].any(axis=1))
            box = (float(part[0]), float(rows[0]), float(part[-1] + 1), float(rows[-1] + 1))
            faces.append(Face(box, 1.0, np.zeros((5, 2), dtype=np.float32)))
        return sorted(faces, key=lambda face: face.size, reverse=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> MarkDetector:
    """Let magenta squares be faces, in this process, and count how often somebody looks."""
    detector = MarkDetector()

    def mark_detector() -> Detector:
        return detector

    monkeypatch.setattr(work, "face_detector", mark_detector)
    return detector


def make_scene(
    num_frames: int, faces: Sequence[tuple[float, float]] = ((160, 110),), side: int = 70, seed: int = 0
) -> list[Picture]:
    """Make a still background with magenta squares (centre x, y) in front, a dot for the frame's number on each."""
    draw = np.random.default_rng(seed)
    background = np.kron(draw.integers(20, 200, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    pictures = []
    for number in range(num_frames):
        rgb = background.copy()
        for x, y in faces:
            left, top = round(x - side / 2), round(y - side / 2)
            rgb[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = MARK
        rgb[-8:, : 8 * (number % 30) + 8] = 230
        pictures.append(rgb)
    return pictures


def make_video(path: Path, pictures: Sequence[Picture], fps: int = 25, gop: int = 12, rotation: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.gop_size = gop
        if rotation:
            stream.set_display_rotation(rotation)
        for number, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def scene() -> Callable[..., list[Picture]]:
    return make_scene


@pytest.fixture
def write_video() -> Callable[..., Path]:
    return make_video


@pytest.fixture
def read_video() -> Callable[[Path], list[Picture]]:
    def read(path: Path) -> list[Picture]:
        with av.open(str(path)) as container:
            return [rgb_from_frame(frame) for frame in container.decode(video=0)]

    return read
