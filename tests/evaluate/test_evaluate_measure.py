from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from training.evaluate.clips import Frames
from training.evaluate.measure import Bench, Look
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.metrics.ssim import ssim
from training.evaluate.metrics.weights import WeightsSource
from training.evaluate.tally import Tally

MakePictures = Callable[..., Frames]
FACE: Landmarks = np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], np.float32)


class BrightnessDetector:
    """Finds one face, moved to the right by the first pixel's value; none in a picture that starts with 255."""

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        shifts = [int(frame[0, 0, 0]) for frame in frames_NHW3]
        return [FACE[None] + np.array((shift, 0), np.float32) if shift < 255 else FACE[:0, None] for shift in shifts]


@pytest.fixture
def bench(lpips: Lpips) -> Bench:
    return Bench(lpips, BrightnessDetector())


def marked(frames_NSS3: Frames, values: list[int]) -> Frames:
    marked_NSS3 = frames_NSS3.copy()
    marked_NSS3[:, 0, 0, 0] = values
    return marked_NSS3


def test_identical_pictures(bench: Bench, moving_pictures: MakePictures) -> None:
    look = bench.look(marked(moving_pictures(4), [0] * 4))
    tally = Tally()
    bench.compare(tally, [1, 2, 3, 4], look, look)
    assert {name: value for name, value in asdict(tally.scores()).items() if value is not None} == {
        "psnr_db": 100.0,
        "l1": 0.0,
        "lpips_alex": 0.0,
        "akd": 0.0,
        "mouth_lpips": 0.0,
        "eyes_lpips": 0.0,
        "mouth_psnr_db": 100.0,
        "eyes_psnr_db": 100.0,
        "temporal_error": 0.0,
        "flicker": 0.0,
        "faceless": 0.0,
    }


def test_moved_and_missing_faces(bench: Bench, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(4)
    source = bench.look(marked(frames, [0, 0, 0, 255]))
    received = bench.look(marked(frames, [3, 5, 255, 0]))
    tally = Tally()
    bench.compare(tally, [0, 1, 2, 3], source, received)
    scores = tally.scores()
    assert scores.akd == pytest.approx(4.0)
    assert scores.faceless == pytest.approx(1 / 3)


def test_damage_at_the_mouth_is_seen_there_alone(bench: Bench, moving_pictures: MakePictures) -> None:
    frames = marked(moving_pictures(2), [0, 0])
    damaged = frames.copy()
    damaged[:, 38:44, 24:36] = 255 - damaged[:, 38:44, 24:36]
    tally = Tally()
    bench.compare(tally, [0, 1], bench.look(frames), bench.look(damaged))
    scores = tally.scores()
    assert scores.mouth_lpips is not None
    assert scores.mouth_lpips > scores.lpips_alex > 0
    assert scores.eyes_lpips == 0


def test_changes_are_measured_between_neighbours_only(bench: Bench, moving_pictures: MakePictures) -> None:
    source = np.zeros((4, 64, 64, 3), np.uint8)
    received = source.copy()
    for index, level in enumerate((0, 10, 50, 54)):
        received[index] = level
    tally = Tally()
    looks = [Look(frames, bench.look(frames).features, None, [{}] * 4) for frames in (source, received)]
    bench.compare(tally, [1, 2], looks[0][[0, 1]], looks[1][[0, 1]])
    bench.compare(tally, [8, 9], looks[0][[2, 3]], looks[1][[2, 3]])
    assert tally.scores().temporal_error == pytest.approx((10 + 4) / 2)


def test_psnr_is_the_mean_over_frames(bench: Bench) -> None:
    source = np.zeros((2, 64, 64, 3), np.uint8)
    received = source.copy()
    received[0], received[1] = 1, 100
    tally = Tally()
    bench.compare(tally, [0, 1], bench.look(source), bench.look(received))
    assert tally.scores().psnr_db == pytest.approx((20 * np.log10(255) + 20 * np.log10(2.55)) / 2)


def test_without_a_detector_there_are_no_faces(lpips: Lpips, moving_pictures: MakePictures) -> None:
    bench = Bench(lpips, None)
    look, tally = bench.look(moving_pictures(2)), Tally()
    bench.compare(tally, [0, 1], look, look)
    scores = tally.scores()
    assert (scores.akd, scores.mouth_lpips, scores.eyes_lpips, scores.faceless) == (None, None, None, None)


def test_an_empty_tally_has_no_scores() -> None:
    with pytest.raises(ValueError, match="no frame was scored"):
        Tally().scores()


class CountingMetric:
    """Keeps of a picture its first pixel, and counts pictures."""

    name = "dists"
    source = WeightsSource("none", "0" * 64)

    def __init__(self) -> None:
        self.num_pictures = 0

    def view(self, frames_NSS3: Frames, faces: list[Landmarks] | None) -> Sequence[Any]:
        self.num_pictures += len(frames_NSS3)
        return [int(frame[0, 0, 0]) for frame in frames_NSS3]

    def compare(self, source: Any, received: Any) -> dict[str, float | None]:
        return {"dists": None if received == 255 else float(abs(source - received))}


def test_slow_metrics_look_at_one_frame_of_several_and_once(lpips: Lpips, moving_pictures: MakePictures) -> None:
    metric = CountingMetric()
    bench = Bench(lpips, None, [metric], slow_every=3)
    source = bench.look(marked(moving_pictures(8), list(range(8))))
    received = bench.look(marked(moving_pictures(8), [10, 10, 10, 20, 10, 10, 255, 10]))
    first, second = Tally(), Tally()
    for tally in (first, second):
        bench.compare(tally, [0, 1], source[[0, 1]], received[[0, 1]])
        bench.compare(tally, [2, 3, 4, 5, 6, 7], source[[2, 3, 4, 5, 6, 7]], received[[2, 3, 4, 5, 6, 7]])
    assert metric.num_pictures == 2 * 3
    assert first.scores().dists == second.scores().dists == pytest.approx((10 + 17) / 2)


def test_dependencies_name_every_metric(lpips: Lpips) -> None:
    bench = Bench(lpips, None, [CountingMetric()], slow_every=3, with_ssim=True)
    assert bench.dependencies() == {
        "weights": {"lpips_alex": lpips.source.sha256, "dists": "0" * 64},
        "landmarks": False,
        "slow_every": 3,
        "ssim": True,
    }


def test_ssim_is_measured_when_asked_for(lpips: Lpips, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(2)
    scores = []
    for asked in (False, True):
        bench, tally = Bench(lpips, None, with_ssim=asked), Tally()
        bench.compare(tally, [0, 1], bench.look(frames), bench.look(frames[::-1].copy()))
        scores.append(tally.scores().ssim)
    assert scores == [None, pytest.approx(ssim(frames, frames[::-1]).mean())]


def test_regions_have_a_psnr(bench: Bench, moving_pictures: MakePictures) -> None:
    frames = np.minimum(marked(moving_pictures(2), [0, 0]), 200)
    tally = Tally()
    bench.compare(tally, [0, 1], bench.look(frames), bench.look(marked(frames + np.uint8(10), [0, 0])))
    scores = tally.scores()
    assert scores.mouth_psnr_db == pytest.approx(20 * np.log10(25.5), abs=1e-3)
    assert scores.eyes_psnr_db == pytest.approx(20 * np.log10(25.5), abs=0.2)
