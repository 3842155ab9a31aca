from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from codec.errors import FaceNotFoundError
from codec.face import (
    Face,
    FaceDetector,
    FaceTracker,
    Picture,
    Square,
    center_square,
    crop,
    crop_reference,
    square_of,
)
from codec.frames import rgb_from_frame

FACE_JPG = Path(__file__).parent / "fixtures" / "face.jpg"
SHIP = Path(__file__).parents[2] / "shared" / "data" / "ship"
WIDTH, HEIGHT = 640, 480
BLANK: Picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)


def face_at(x: float, y: float, size: float = 120.0) -> Face:
    half = size / 2
    return Face((x - half, y - half, x + half, y + half), 1.0, np.zeros((5, 2), dtype=np.float32))


class Scripted:
    """A detector that gives what the test says."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)
        self.num_calls = 0

    def detect(self, rgb: Picture) -> list[Face]:
        self.num_calls += 1
        return list(self.faces)


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine two are ten times slower
    yield FaceDetector()
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def picture() -> Picture:
    return np.asarray(Image.open(FACE_JPG).convert("RGB"))


def test_the_detector_finds_the_face(detector: FaceDetector, picture: Picture) -> None:
    faces = detector.detect(picture)
    assert len(faces) == 1
    x, y = faces[0].center
    assert math.dist((x, y), (345, 228)) < 15
    assert 170 < faces[0].size < 210
    left_eye, right_eye, nose, left_mouth, right_mouth = faces[0].landmarks_5x2
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert left_mouth[0] < right_mouth[0]


def test_the_detector_finds_the_same_face_at_another_size(detector: FaceDetector, picture: Picture) -> None:
    double = np.asarray(Image.fromarray(picture).resize((2 * WIDTH, 2 * HEIGHT)))
    (face,), (large,) = detector.detect(picture), detector.detect(double)
    assert large.size == pytest.approx(2 * face.size, rel=0.1)
    assert math.dist(large.center, (2 * face.center[0], 2 * face.center[1])) < 20


@pytest.mark.parametrize("shape", [(480, 640, 3), (300, 5, 3), (1, 1, 3), (23, 23, 3), (24, 24, 3), (2000, 40, 3)])
def test_the_detector_finds_nothing_where_nothing_is(detector: FaceDetector, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros(shape, dtype=np.uint8)) == []


def test_the_square_frames_the_face_as_the_training_clips_do() -> None:
    square = square_of(face_at(320, 220, 96), WIDTH, HEIGHT)
    assert square.size == pytest.approx(200)
    assert (square.center_x, square.center_y) == pytest.approx((320, 220 + 0.045 * 200))


@pytest.mark.parametrize(("x", "y", "size"), [(5, 5, 100), (635, 475, 150), (320, 240, 900), (-50, 240, 60)])
def test_the_square_stays_inside_the_picture(x: float, y: float, size: float) -> None:
    square = square_of(face_at(x, y, size), WIDTH, HEIGHT)
    assert square.size <= HEIGHT
    assert square.size / 2 <= square.center_x <= WIDTH - square.size / 2
    assert square.size / 2 <= square.center_y <= HEIGHT - square.size / 2


@pytest.mark.parametrize("size", [105, 122, 160])
def test_a_picture_that_is_a_crop_already_is_taken_whole(size: float) -> None:
    assert square_of(face_at(130, 115, size), 256, 256) == Square(128, 128, 256)


def test_a_small_face_in_a_square_picture_is_cropped() -> None:
    assert square_of(face_at(128, 115, 50), 256, 256).size == pytest.approx(50 / 0.48)


def test_crop_of_the_whole_picture_changes_nothing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(crop(rgb, Square(32, 32, 64), 64), rgb)


def test_crop_takes_the_pixels_of_the_square() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert np.array_equal(crop(rgb, Square(30, 20, 16), 16), rgb[12:28, 22:38])


def test_crop_repeats_the_edge_outside_the_picture() -> None:
    rgb = np.zeros((32, 32, 3), dtype=np.uint8)
    rgb[:, :16] = 200
    cropped = crop(rgb, Square(0, 16, 32), 32)
    assert (cropped[:, :16] == 200).all()
    assert np.array_equal(cropped[:, 16:], rgb[:, :16])


def test_crop_scales_without_aliasing() -> None:
    checkerboard = np.indices((256, 256)).sum(axis=0) % 2
    rgb = np.repeat((checkerboard * 255).astype(np.uint8)[..., None], 3, axis=2)
    assert np.ptp(crop(rgb, Square(128, 128, 256), 64)) < 16


def test_crop_reference_crops_the_largest_face() -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    rgb[180:280, 400:500] = 255
    cropped = crop_reference(rgb, 64, Scripted(face_at(450, 230, 90)))
    assert cropped.shape == (64, 64, 3)
    assert cropped[32, 32, 0] == 255


def test_crop_reference_needs_a_face() -> None:
    with pytest.raises(FaceNotFoundError, match="no face in the picture of 640x480 pixels"):
        crop_reference(BLANK, 64, Scripted())


def test_crop_reference_of_a_real_face_is_centred_on_it(detector: FaceDetector, picture: Picture) -> None:
    cropped = crop_reference(picture, 256, detector)
    (face,) = detector.detect(cropped)
    assert math.dist(face.center, (128, 0.455 * 256)) < 20
    assert face.size / 256 == pytest.approx(0.48, abs=0.06)
    whole = square_of(face, 256, 256)
    assert whole == Square(128, 128, 256)


def test_the_tracker_gives_the_centre_before_a_face_was_found() -> None:
    tracker = FaceTracker(Scripted(), background=False)
    assert tracker.update(BLANK, 0.0) == center_square(WIDTH, HEIGHT) == Square(320, 240, 480)
    assert not tracker.has_face


def test_the_first_picture_is_framed_already() -> None:
    tracker = FaceTracker(Scripted(face_at(200, 200)))
    assert tracker.update(BLANK, 0.0) == square_of(face_at(200, 200), WIDTH, HEIGHT)
    assert tracker.has_face
    tracker.close()


def test_the_square_holds_while_the_face_moves_a_little() -> None:
    detector = Scripted(face_at(300, 220))
    tracker = FaceTracker(detector, background=False)
    first = tracker.update(BLANK, 0.0)
    rng = np.random.default_rng(0)
    for index in range(1, 200):
        x, y = 300 + rng.uniform(-15, 15), 220 + rng.uniform(-15, 15)
        detector.faces = [face_at(x, y, 120 * rng.uniform(0.93, 1.07))]
        assert tracker.update(BLANK, index / 30) == first


def test_the_square_glides_to_a_face_that_has_moved() -> None:
    detector = Scripted(face_at(250, 220))
    tracker = FaceTracker(detector, background=False)
    squares = [tracker.update(BLANK, 0.0)]
    detector.faces = [face_at(320, 220)]
    squares += [tracker.update(BLANK, index / 30) for index in range(1, 150)]
    steps = np.diff([square.center_x for square in squares])
    assert (steps >= 0).all()
    assert steps.max() < 0.1 * 70
    assert squares[-1].center_x == pytest.approx(320, abs=8)
    assert steps[-10:].max() == 0


def test_the_square_grows_with_the_face() -> None:
    detector = Scripted(face_at(320, 240, 90))
    tracker = FaceTracker(detector, background=False)
    tracker.update(BLANK, 0.0)
    detector.faces = [face_at(320, 240, 150)]
    for index in range(1, 150):
        square = tracker.update(BLANK, index / 30)
    assert square.size == pytest.approx(150 / 0.48, rel=0.05)


def test_the_square_jumps_when_the_face_has_left_it() -> None:
    detector = Scripted(face_at(150, 220, 60))
    tracker = FaceTracker(detector, background=False)
    tracker.update(BLANK, 0.0)
    detector.faces = [face_at(500, 220, 60)]
    tracker.update(BLANK, 0.4)
    assert tracker.update(BLANK, 0.6) == square_of(face_at(500, 220, 60), WIDTH, HEIGHT)


def test_the_square_holds_when_the_face_is_lost() -> None:
    detector = Scripted(face_at(250, 220))
    tracker = FaceTracker(detector, background=False)
    first = tracker.update(BLANK, 0.0)
    detector.faces = []
    for index in range(1, 60):
        assert tracker.update(BLANK, index / 30) == first
    assert not tracker.has_face
    assert tracker.face is not None


def test_the_tracker_keeps_to_one_of_two_people() -> None:
    detector = Scripted(face_at(200, 220, 100))
    tracker = FaceTracker(detector, background=False)
    first = tracker.update(BLANK, 0.0)
    detector.faces = [face_at(450, 220, 160), face_at(203, 221, 100)]
    for index in range(1, 60):
        assert tracker.update(BLANK, index / 30) == first


def test_the_tracker_counts_the_faces_in_the_square() -> None:
    me, beside, behind, far = face_at(300, 240), face_at(380, 240, 100), face_at(360, 200, 40), face_at(600, 240)
    detector = Scripted(me, beside, behind, far)
    tracker = FaceTracker(detector, background=False)
    tracker.update(BLANK, 0.0)
    assert tracker.num_faces == 2  # one is too small, one too far away
    detector.faces = [me]
    tracker.update(BLANK, 1.0)
    assert tracker.num_faces == 1
    detector.faces = []
    tracker.update(BLANK, 2.0)
    assert (tracker.num_faces, tracker.has_face) == (0, False)


def test_the_tracker_detects_now_and_then() -> None:
    detector = Scripted(face_at(300, 220))
    tracker = FaceTracker(detector, background=False, interval_s=0.5)
    for index in range(301):
        tracker.update(BLANK, index / 30)
    assert 19 <= detector.num_calls <= 21


def test_a_picture_of_another_size_begins_anew() -> None:
    detector = Scripted(face_at(300, 220))
    tracker = FaceTracker(detector, background=False)
    tracker.update(BLANK, 0.0)
    detector.faces = []
    assert tracker.update(BLANK[:200, :300], 0.1) == center_square(300, 200)


def test_pictures_flow_while_the_detector_works() -> None:
    started, may_end = threading.Event(), threading.Event()

    class Slow(Scripted):
        def detect(self, rgb: Picture) -> list[Face]:
            if self.num_calls:
                started.set()
                assert may_end.wait(10)
            return super().detect(rgb)

    detector = Slow(face_at(300, 220))
    tracker = FaceTracker(detector)
    first = tracker.update(BLANK, 0.0)
    for index in range(1, 60):
        assert tracker.update(BLANK, float(index)) == first
    assert started.wait(10)
    assert detector.num_calls == 1
    may_end.set()
    tracker.close()
    assert detector.num_calls == 2


def test_a_failing_detector_is_heard() -> None:
    class Failing(Scripted):
        def detect(self, rgb: Picture) -> list[Face]:
            if super().detect(rgb) and self.num_calls > 1:
                raise RuntimeError("out of memory")
            return self.faces

    tracker = FaceTracker(Failing(face_at(300, 220)), background=False)
    tracker.update(BLANK, 0.0)
    with pytest.raises(RuntimeError, match="out of memory"):
        tracker.update(BLANK, 1.0)


@pytest.mark.slow
@pytest.mark.skipif(
    not SHIP.is_dir(),
    reason="needs the whole webcam pictures of ../shared/data/ship; this repository ships a square cut from one",
)
@pytest.mark.parametrize(("name", "most_moves"), [("webcam_man.mp4", 12), ("webcam_expressions.mp4", 12)])
def test_a_real_face_stays_in_a_steady_square(detector: FaceDetector, name: str, most_moves: int) -> None:
    tracker = FaceTracker(detector, background=False, interval_s=0.6)
    squares, offs = [], []
    with av.open(str(SHIP / name)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index >= 240:
                break
            if index % 3:
                continue
            square = tracker.update(rgb_from_frame(frame), frame.time or 0.0)
            assert tracker.face is not None
            squares.append(square)
            offs.append(math.dist(tracker.face.center, (square.center_x, square.center_y)) / square.size)
    moves = sum(one != other for one, other in itertools.pairwise(squares))
    assert moves <= most_moves
    assert max(offs) < 0.35
