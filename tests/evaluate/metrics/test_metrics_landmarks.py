from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.evaluate.clips import Frames
from training.evaluate.metrics.landmarks import (
    Box,
    Landmarks,
    MtcnnLandmarks,
    cut,
    eyes_box,
    face_scale,
    keypoint_distance,
    mouth_box,
)

FACE = Path(__file__).parents[2] / "fixtures" / "face.jpg"
UPRIGHT: Landmarks = np.array([[100, 100], [140, 100], [120, 120], [105, 150], [135, 150]], np.float32)


def test_distance_is_the_mean_over_landmarks() -> None:
    moved = UPRIGHT.copy()
    moved[0] += (3, 4)
    assert keypoint_distance(UPRIGHT, moved[None]) == pytest.approx(1.0)


def test_the_nearest_face_counts() -> None:
    faces = np.stack([UPRIGHT + 50, UPRIGHT + np.float32(2)])
    assert keypoint_distance(UPRIGHT, faces) == pytest.approx(2 * 2**0.5)


def test_no_face_has_no_distance() -> None:
    assert keypoint_distance(UPRIGHT, np.zeros((0, 5, 2), np.float32)) is None


def test_regions_lie_around_mouth_and_eyes() -> None:
    assert face_scale(UPRIGHT) == 50
    assert mouth_box(UPRIGHT) == Box(left=90, top=127.5, width=60, height=45)
    assert eyes_box(UPRIGHT) == Box(left=70, top=80, width=100, height=40)


def test_regions_keep_their_size_when_the_head_turns() -> None:
    turned = UPRIGHT.copy()
    turned[:, 0] = 120 + (turned[:, 0] - 120) * 0.4
    assert mouth_box(turned).width == mouth_box(UPRIGHT).width


def test_cut_of_whole_pixels_is_a_slice() -> None:
    image_BCHW = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    boxes = [Box(left=4, top=2, width=8, height=6), Box(left=0, top=14, width=8, height=6)]
    cut_BCHW = cut(image_BCHW, boxes, (6, 8))
    torch.testing.assert_close(cut_BCHW[0], image_BCHW[0, :, 2:8, 4:12])
    torch.testing.assert_close(cut_BCHW[1], image_BCHW[1, :, 14:20, 0:8])


def test_cut_over_the_edge_repeats_it() -> None:
    image_BCHW = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cut_BCHW = cut(image_BCHW, [Box(left=-4, top=0, width=8, height=8)], (8, 8))
    torch.testing.assert_close(cut_BCHW[0, :, :, :4], image_BCHW[0, :, :, :1].expand(3, 8, 4))


@pytest.fixture(scope="module")
def face_pictures() -> Frames:
    """A face, nothing, and the face moved by (8, 6)."""
    wide = np.asarray(Image.open(FACE).convert("RGB").crop((110, 0, 590, 480)).resize((280, 280)), np.uint8)
    return np.stack([wide[8:264, 10:266], np.zeros((256, 256, 3), np.uint8), wide[2:258, 2:258]])


def test_mtcnn_finds_faces_and_their_motion(face_pictures: Frames) -> None:
    faces = MtcnnLandmarks(256, torch.device("cpu")).detect(face_pictures)
    assert [len(found) for found in faces] == [1, 0, 1]
    (left_eye, right_eye, nose, left_mouth, right_mouth) = faces[0][0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    moved_52 = faces[0][0] + np.array((8, 6), np.float32)
    assert keypoint_distance(moved_52, faces[2]) == pytest.approx(0, abs=2.5)


def test_mtcnn_on_nothing_at_all() -> None:
    black = np.zeros((2, 64, 64, 3), np.uint8)
    assert [len(found) for found in MtcnnLandmarks(64, torch.device("cpu")).detect(black)] == [0, 0]
