from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.config import CodecConfig
from codec.errors import ConfigError, TrainingError
from codec.model.generator import Generator
from codec.model.weights import load_weights, save_weights
from training.dataset import FrameStore, write_store
from training.jitter import MIRRORED
from training.teach import Lessons, TeachConfig, Teacher, teach

SIZE = 128


@pytest.fixture(scope="module")
def dotted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of black pictures, each landmark a dot of a grey of its own; the speaker is blue."""
    folder, random = tmp_path_factory.mktemp("dotted"), np.random.default_rng(0)
    places_FLC = random.uniform(-0.6, 0.6, (8, 20, 2)).astype(np.float32)
    frames = np.zeros((8, SIZE, SIZE, 3), dtype=np.uint8)
    frames[:, :, : SIZE // 2, 2] = 200
    for picture, places_LC in zip(frames, places_FLC, strict=True):
        for number, (x, y) in enumerate(places_LC[::-1]):
            column, row = ((np.array([x, y]) + 1) / 2 * SIZE).astype(int)
            picture[row - 2 : row + 3, column - 2 : column + 3] = 250 - 5 * number
    write_store(folder, SIZE, [("dots-1", frames[:4]), ("dots-2", frames[4:])])
    np.save(folder / "landmarks.npy", places_FLC)
    mattes = np.zeros((8, SIZE, SIZE), dtype=np.uint8)
    mattes[:, :, : SIZE // 2] = 255
    np.save(folder / "mattes.npy", mattes)
    return folder


def test_labels_move_with_their_pictures(dotted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.teach.recolour", lambda images, *_: images)
    lessons = Lessons(FrameStore(dotted), TeachConfig(batch_size=8, matte_batch_size=4, turn=0.3))
    seen = {False: 0, True: 0}
    for step in range(4):
        lesson = lessons.draw(step)
        assert lesson.mattes_BCHW is not None
        assert lesson.mattes_BCHW.shape == (4, 1, SIZE, SIZE)
        for image_CHW, places_LC in zip(lesson.images_BCHW, lesson.landmarks_BLC, strict=True):
            columns, rows = (((places_LC + 1) / 2 * SIZE).long().clamp(0, SIZE - 1)).unbind(-1)
            greys_L = image_CHW[0, rows, columns] * 255
            inside_L = (places_LC.abs() < 0.95).all(-1)
            expected_L = 250 - 5 * torch.arange(19, -1, -1).float()
            straight = (greys_L - expected_L)[inside_L].abs().median()
            swapped = (greys_L - expected_L[list(MIRRORED)])[inside_L].abs().median()
            assert float(min(straight, swapped)) < 4
            seen[bool(swapped < straight)] += 1
    assert min(seen.values()) > 4


def test_what_is_taught_is_learned_and_the_rest_stays(dotted: Path, tiny_config: CodecConfig) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    config = TeachConfig(steps=40, batch_size=8, matte_batch_size=4, learning_rate=3e-3)
    lessons, teacher = Lessons(FrameStore(dotted), config), Teacher(generator, config)
    figures = [teacher.step(lessons.draw(step), step) for step in range(config.steps)]
    for name in ("landmarks", "matte"):
        assert np.mean([each[name] for each in figures[-5:]]) < 0.9 * np.mean([each[name] for each in figures[:5]])
    for name, tensor in generator.state_dict().items():
        if name.startswith(("detector.", "matte_network.")):
            continue
        assert torch.equal(tensor, before[name]), name


def test_weights_come_out(dotted: Path, tiny_config: CodecConfig, tmp_path: Path) -> None:
    init, out = tmp_path / "init.safetensors", tmp_path / "out.safetensors"
    save_weights(init, Generator(tiny_config).state_dict(), tiny_config, {})
    config = TeachConfig(steps=2, batch_size=2, matte_batch_size=1)
    figures = list(teach(FrameStore(dotted), init, out, config))
    assert [each["step"] for each in figures] == [2]
    assert load_weights(out)[1] == tiny_config
    assert json.loads(out.with_suffix(".json").read_text())["provenance"]["taught"] == 2


def test_faults_are_told(dotted: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matte_batch_size 9; they must be positive"):
        TeachConfig(batch_size=8, matte_batch_size=9)
    write_store(tmp_path, SIZE, [("bare-1", FrameStore(dotted).frames[:2])])
    with pytest.raises(TrainingError, match="has no landmarks; make them with"):
        Lessons(FrameStore(tmp_path), TeachConfig())
    np.save(tmp_path / "mattes.npy", np.zeros((5, 8, 8), dtype=np.uint8))
    with pytest.raises(TrainingError, match="belongs to other frames; label them again"):
        FrameStore(tmp_path)
