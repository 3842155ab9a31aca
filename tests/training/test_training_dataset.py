from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codec.errors import TrainingError
from training.dataset import FrameStore, build_store


def test_a_store_holds_the_frames_and_a_bad_clip_is_named(clips: Path, tmp_path: Path) -> None:
    faults = build_store(clips.glob("*.mp4"), tmp_path, size=64, stride=2, frames_per_clip=100)
    assert len(faults) == 1
    assert faults[0].startswith("broken-1.mp4: cannot be decoded")
    frames = FrameStore(tmp_path)
    assert [clip.name for clip in frames.clips] == ["made-0", "made-1", "made-2"]
    assert frames.frames.shape == (18, 64, 64, 3)


def test_no_usable_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no usable clip: the folder has no video files"):
        build_store([], tmp_path / "out", 64, 1, 10)
    with pytest.raises(TrainingError, match="holds no frame store"):
        FrameStore(tmp_path / "out")


def test_a_damaged_store_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((2, 8, 8, 3), np.uint8))
    for index in ("not JSON", "{}", '{"clips": [{"name": "a"}]}', '{"clips": []}'):
        (tmp_path / "index.json").write_text(index)
        with pytest.raises(TrainingError, match="holds no frame store"):
            FrameStore(tmp_path)
    (tmp_path / "index.json").write_text('{"clips": [{"name": "a", "group": "a", "start": 0, "stop": 3}]}')
    with pytest.raises(TrainingError, match="its index does not fit its 2 frames"):
        FrameStore(tmp_path)
    (tmp_path / "index.json").write_text('{"clips": [{"name": "a", "group": "a", "start": 0, "stop": 2}]}')
    np.save(tmp_path / "landmarks.npy", np.zeros((3, 18, 2), np.float32))
    with pytest.raises(TrainingError, match="belongs to other frames"):
        FrameStore(tmp_path)
