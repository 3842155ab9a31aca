from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codec.config import CodecConfig
from codec.model.keypoints import FACE_ANCHORS
from codec.structs import QuantisedKeypoints
from sender.face import FramedPicture
from sender.references import (
    BitBudget,
    Candidate,
    ReferencePicker,
    eye_openness,
    locations_of,
    pose_distance,
    sharpness,
)

PICTURE_BITS = 10_000.0


@pytest.fixture
def tiny_config(tiny_config: CodecConfig) -> CodecConfig:
    """Return a config whose keypoints are on no face: poses of the tests have no eyes."""
    return dataclasses.replace(tiny_config, anchored_keypoints=False)


def picture(brightness: int, *, has_face: bool | None = True, blurred: bool = False) -> FramedPicture:
    rgb = np.random.default_rng(0).integers(0, 40, (32, 32, 3), dtype=np.uint8)
    rgb = np.full_like(rgb, brightness) if blurred else rgb + np.uint8(brightness)
    return FramedPicture(rgb, 0, has_face)


def pose(config: CodecConfig, offset: int) -> QuantisedKeypoints:
    """Keypoints of which every other one is moved to the right by so many 512ths of the picture."""
    step = (1 << config.location_bits) // 512
    values_K3 = np.full((config.num_keypoints, 3), 100, dtype=np.int32)
    values_K3[:, :2] = 100 * step
    values_K3[::2, 0] += offset * step
    return QuantisedKeypoints(values_K3)


def rich(most_pictures: int = 100) -> BitBudget:
    return BitBudget(share=1.0, picture_bits=PICTURE_BITS, most_pictures=most_pictures)


def run(picker: ReferencePicker, config: CodecConfig, script: list[tuple[float, FramedPicture, int]]) -> list[int]:
    """Return the brightness of the candidates proposed; each is held from then on."""
    held: list[Candidate] = []
    for time_s, framed, offset in script:
        candidate = picker.offer(framed, pose(config, offset), time_s, held)
        held += [candidate] if candidate is not None else []
    return [int(candidate.rgb.min()) for candidate in held]


def test_the_first_picture_with_a_face_goes_at_once(tiny_config: CodecConfig) -> None:
    script = [(0.0, picture(1, has_face=False), 0), (0.2, picture(2), 0), (0.4, picture(3), 0)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script) == [2]


def test_without_any_face_the_first_picture_goes_after_a_while(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index, has_face=False), 0) for index in range(10)]
    assert run(ReferencePicker(tiny_config, rich(), face_patience_s=1.0), tiny_config, script) == [5]


def test_when_nobody_looks_for_a_face_the_first_picture_goes_at_once(tiny_config: CodecConfig) -> None:
    script = [(0.0, picture(7, has_face=None), 0)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script) == [7]


def test_the_next_ones_are_those_farthest_from_all_held(tiny_config: CodecConfig) -> None:
    offsets = [0] * 5 + [30, 60, 30, 0, 0] + [0] * 5 + [-50, 58, 30, 0, 0] + [0] * 20
    script = [(0.2 * index, picture(index), offset) for index, offset in enumerate(offsets)]
    assert run(ReferencePicker(tiny_config, rich(), window_s=1.9), tiny_config, script) == [0, 6, 15]


def test_a_head_that_does_not_move_is_sent_once(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index), index % 3) for index in range(100)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script) == [0]


def test_the_search_goes_on_for_the_whole_call(tiny_config: CodecConfig) -> None:
    script = [(0.5 * index, picture(1), 0) for index in range(400)] + [(201.0, picture(2), 90), (203.0, picture(3), 90)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script)[1:] == [2]


def test_blurred_and_faceless_pictures_are_left_out(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index), 0) for index in range(5)]
    script += [(1.0, picture(50, blurred=True), 90), (1.2, picture(51, has_face=False), 80), (1.4, picture(52), 40)]
    script += [(1.6 + 0.2 * index, picture(53), 0) for index in range(10)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script) == [0, 52]


def face(config: CodecConfig, shift: float, openness: float) -> QuantisedKeypoints:
    """Keypoints of a face that has moved to the right, its eyes so far open as a share of their distance."""
    locations_K2 = np.array(FACE_ANCHORS)
    locations_K2[:18:2, 0] += shift
    width = np.hypot(*(locations_K2[7] - locations_K2[10]))
    locations_K2[[8, 11], 1] = -0.19 - openness * width / 2
    locations_K2[[9, 12], 1] = -0.19 + openness * width / 2
    levels_K2 = np.floor((locations_K2 + 1) / 2 * (1 << config.location_bits))
    return QuantisedKeypoints(np.column_stack([levels_K2, np.full(20, 100)]).astype(np.int32))


def test_shut_eyes_are_left_out_however_far_they_are(tiny_config: CodecConfig) -> None:
    config = dataclasses.replace(tiny_config, anchored_keypoints=True)
    assert eye_openness(locations_of(face(config, 0.0, 0.1), config)) == pytest.approx(0.1, abs=0.01)
    eyes = {13: 0.02, 14: 0.05, 15: 0.09}
    for knows_eyes, expected in ((True, [0, 15]), (False, [0, 14])):
        picker = ReferencePicker(dataclasses.replace(config, anchored_keypoints=knows_eyes), rich(), window_s=1.9)
        held: list[Candidate] = []
        for index in range(25):
            keypoints = face(config, {13: 0.05, 14: 0.08, 15: 0.06}.get(index, 0.0), eyes.get(index, 0.1))
            candidate = picker.offer(picture(index), keypoints, 0.2 * index, held)
            held += [candidate] if candidate is not None else []
        assert [int(candidate.rgb.min()) for candidate in held] == expected


def test_the_first_picture_waits_for_open_eyes(tiny_config: CodecConfig) -> None:
    config = dataclasses.replace(tiny_config, anchored_keypoints=True)
    for openness, expected_s in ((0.02, 1.0), (0.07, 0.0)):
        picker = ReferencePicker(config, rich())
        times_s = [0.2 * index for index in range(10)]
        keypoints = face(config, 0.0, openness)
        sent_s = next(time_s for time_s in times_s if picker.offer(picture(1), keypoints, time_s, []) is not None)
        assert sent_s == pytest.approx(expected_s)


def test_a_far_sharper_picture_is_proposed_in_the_same_pose(tiny_config: CodecConfig) -> None:
    script = [(0.0, picture(1, blurred=True), 0)] + [(0.2 * index, picture(5), 0) for index in range(1, 20)]
    assert run(ReferencePicker(tiny_config, rich()), tiny_config, script) == [1, 5]


def test_the_neighbourhood_of_a_declined_candidate_is_left_alone_for_a_while(tiny_config: CodecConfig) -> None:
    picker = ReferencePicker(tiny_config, rich(), declined_s=10.0)
    held = [Candidate(picture(0).rgb, locations_of(pose(tiny_config, 0), tiny_config), 1.0)]
    proposed = []
    for index in range(150):
        candidate = picker.offer(picture(1), pose(tiny_config, 60), 0.2 * index, held)
        if candidate is not None:
            proposed.append(0.2 * index)
            picker.decline(candidate, 0.2 * index)
    assert len(proposed) == 3
    assert np.diff(proposed).min() >= 10.0


def test_a_candidate_waits_until_the_link_has_earned_its_bits(tiny_config: CodecConfig) -> None:
    budget = BitBudget(share=0.1, picture_bits=PICTURE_BITS, most_pictures=2)
    picker = ReferencePicker(tiny_config, budget)
    held: list[Candidate] = []
    times = []
    for index in range(400):
        time_s = 0.2 * index
        budget.earn(5_000, time_s)
        candidate = picker.offer(picture(1), pose(tiny_config, 40 * len(held)), time_s, held)
        if candidate is not None:
            budget.spend(PICTURE_BITS)
            held.append(candidate)
            times.append(time_s)
    assert times[1] < 3.0  # the first two are there from the beginning
    assert np.diff(times[1:]) == pytest.approx(PICTURE_BITS / 500, abs=2.5)


def test_what_pictures_cost_is_learnt() -> None:
    budget = BitBudget(share=0.5, picture_bits=1_000, most_pictures=1)
    assert budget.is_enough
    budget.spend(3_000)
    budget.earn(1_000, 0.0)
    budget.earn(1_000, 3.9)
    assert not budget.is_enough
    budget.earn(1_000, 8.1)
    assert budget.is_enough
    budget.earn(1_000_000, 1_000.0)
    budget.spend(2_000)
    assert not budget.is_enough


def test_a_change_of_shape_is_farther_than_a_shift() -> None:
    one_K2 = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2))
    shifted_K2, changed_K2 = one_K2 + np.array([0.1, 0.0]), one_K2.copy()
    changed_K2[::2, 0] += 0.1
    changed_K2[1::2, 0] -= 0.1
    assert pose_distance(one_K2, one_K2) == 0
    assert pose_distance(one_K2, shifted_K2) == pytest.approx(0.025)
    assert pose_distance(one_K2, changed_K2) == pytest.approx(0.1)


def test_sharpness_falls_with_blur() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    soft = ((sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) // 3).astype(np.uint8)
    assert sharpness(sharp) > 2 * sharpness(soft) > 0
    assert sharpness(np.full((8, 8, 3), 9, dtype=np.uint8)) == pytest.approx(0)
