from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import Model
from codec.errors import OutputError, TrainingError
from training.evaluate.__main__ import main
from training.evaluate.clips import Frames, read_clip
from training.evaluate.strip import (
    ERROR_GAIN,
    GAP,
    HEADER,
    LABEL_WIDTH,
    Strip,
    draw,
    evenly_spaced,
    strip_of,
    write_strip,
)

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


@pytest.fixture
def strip(moving_pictures: MakePictures) -> Strip:
    frames = moving_pictures(5)
    return Strip(
        title="a clip",
        references=(0, 4),
        references_RSS3=frames[[0, 4]],
        positions=(1, 2, 3),
        source_NSS3=frames[1:4],
        received_NSS3=frames[1:4] // 2,
        frozen_NSS3=frames[[0, 0, 4]],
    )


def test_evenly_spaced_takes_the_middle_of_each_part() -> None:
    assert evenly_spaced(range(16), 4) == (2, 6, 10, 14)
    assert evenly_spaced((3, 5), 8) == (3, 5)


def test_pictures_lie_in_their_rows(strip: Strip) -> None:
    sheet = np.asarray(draw(strip))
    size, left = 64, LABEL_WIDTH + 64 + GAP
    top = HEADER + 2 * (HEADER + size + GAP)
    np.testing.assert_array_equal(sheet[top - size - GAP : top - GAP, left : left + size], strip.source_NSS3[1])
    np.testing.assert_array_equal(sheet[top : top + size, left : left + size], strip.received_NSS3[1])
    bottom = top + 2 * (size + GAP)
    error = np.abs(strip.source_NSS3[1].astype(int) - strip.received_NSS3[1]) * ERROR_GAIN
    np.testing.assert_array_equal(sheet[bottom : bottom + size, left : left + size], error.clip(0, 255))
    assert sheet.shape == (bottom + size + GAP, LABEL_WIDTH + 3 * (size + GAP), 3)


def test_nothing_to_draw(strip: Strip) -> None:
    with pytest.raises(TrainingError, match="no frame to draw"):
        draw(replace(strip, positions=()))


def test_a_place_that_cannot_be_written(strip: Strip, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_strip(strip, tmp_path / "file" / "strip.png")


def test_strip_of_a_clip(write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model) -> None:
    clip = read_clip(write_clip("a.mp4", moving_pictures(10)), 64)
    strip = strip_of(clip, tiny_model, num_references=2, num_frames=3)
    assert strip.references == (0, 5)
    assert strip.positions == (2, 6, 8)
    np.testing.assert_array_equal(strip.frozen_NSS3[2], clip.frames_NSS3[5])


def test_command(write_clip: WriteClip, moving_pictures: MakePictures, tiny_weights: Path, tmp_path: Path) -> None:
    clip, out = write_clip("a.mp4", moving_pictures(8)), tmp_path / "new" / "strip.png"
    words = ["--references", "2", "--frames", "4", "--weights", str(tiny_weights), "--device", "cpu"]
    assert main(["strip", "--clip", str(clip), "--out", str(out), *words]) == 0
    with Image.open(out) as sheet:
        assert sheet.width == LABEL_WIDTH + 4 * (64 + GAP)


def test_command_on_a_short_clip(
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = write_clip("a.mp4", moving_pictures(1))
    words = ["--out", str(tmp_path / "strip.png"), "--weights", str(tiny_weights)]
    assert main(["strip", "--clip", str(clip), *words]) == 1
    assert "error: a.mp4: has 1 frame(s); 3 reference(s) need 5" in capsys.readouterr().err
    assert not (tmp_path / "strip.png").exists()
