from __future__ import annotations

import numpy as np
import pytest

from codec.config import CodecConfig
from codec.face import Picture
from codec.structs import QuantisedKeypoints
from sender.face import FramedPicture
from sender.references import ReferencePicker, sharpness


def picture(brightness: int, *, has_face: bool | None = True, blurred: bool = False) -> FramedPicture:
    rgb = np.random.default_rng(0).integers(0, 40, (32, 32, 3), dtype=np.uint8)
    rgb = np.full_like(rgb, brightness) if blurred else rgb + np.uint8(brightness)
    return FramedPicture(rgb, 0, has_face)


def pose(config: CodecConfig, offset: int) -> QuantisedKeypoints:
    """Keypoints that are all moved by ``offset`` steps to the right."""
    values_K3 = np.full((config.num_keypoints, 3), 100, dtype=np.int32)
    values_K3[:, 0] += offset << config.location_bits - 9
    return QuantisedKeypoints(values_K3)


def run(picker: ReferencePicker, config: CodecConfig, script: list[tuple[float, FramedPicture, int]]) -> list[Picture]:
    offers = (picker.offer(framed, pose(config, offset), time_s) for time_s, framed, offset in script)
    return [rgb for rgb in offers if rgb is not None]


def test_the_first_picture_with_a_face_goes_at_once(tiny_config: CodecConfig) -> None:
    picker = ReferencePicker(tiny_config, 1)
    script = [(0.0, picture(1, has_face=False), 0), (0.2, picture(2), 0), (0.4, picture(3), 0)]
    (taken,) = run(picker, tiny_config, script)
    assert np.array_equal(taken, picture(2).rgb)
    assert picker.is_done


def test_without_any_face_the_first_picture_goes_after_a_while(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index, has_face=False), 0) for index in range(10)]
    (taken,) = run(ReferencePicker(tiny_config, 3, face_patience_s=1.0), tiny_config, script)
    assert np.array_equal(taken, picture(5).rgb)


def test_when_nobody_looks_for_a_face_the_first_picture_goes_at_once(tiny_config: CodecConfig) -> None:
    (taken,) = run(ReferencePicker(tiny_config, 3), tiny_config, [(0.0, picture(7, has_face=None), 0)])
    assert np.array_equal(taken, picture(7).rgb)


def test_the_next_ones_are_those_farthest_from_all_before(tiny_config: CodecConfig) -> None:
    offsets = [0] * 5 + [30, 60, 30, 0, 0] + [0] * 5 + [-50, 58, 30, 0, 0] + [0] * 20
    script = [(0.2 * index, picture(index), offset) for index, offset in enumerate(offsets)]
    taken = run(ReferencePicker(tiny_config, 3, window_s=1.9), tiny_config, script)
    assert [int(rgb.min()) for rgb in taken] == [0, 6, 15]


def test_a_head_that_does_not_move_is_sent_once(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index), index % 3) for index in range(100)]
    assert len(run(ReferencePicker(tiny_config, 3), tiny_config, script)) == 1


def test_blurred_and_faceless_pictures_are_left_out(tiny_config: CodecConfig) -> None:
    script = [(0.2 * index, picture(index), 0) for index in range(5)]
    script += [(1.0, picture(50, blurred=True), 90), (1.2, picture(51, has_face=False), 80), (1.4, picture(52), 40)]
    script += [(1.6 + 0.2 * index, picture(53), 0) for index in range(10)]
    taken = run(ReferencePicker(tiny_config, 2), tiny_config, script)
    assert [int(rgb.min()) for rgb in taken] == [0, 52]


def test_a_far_sharper_picture_is_taken_in_the_same_pose(tiny_config: CodecConfig) -> None:
    script = [(0.0, picture(1, blurred=True), 0)] + [(0.2 * index, picture(5), 0) for index in range(1, 20)]
    taken = run(ReferencePicker(tiny_config, 3), tiny_config, script)
    assert [int(rgb.min()) for rgb in taken] == [1, 5]


def test_the_search_ends(tiny_config: CodecConfig) -> None:
    picker = ReferencePicker(tiny_config, 3, patience_s=10.0)
    script = [(0.5 * index, picture(1), 0) for index in range(30)] + [(20.0, picture(2), 90), (30.0, picture(2), 90)]
    assert len(run(picker, tiny_config, script)) == 1
    assert picker.is_done


def test_sharpness_falls_with_blur() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    soft = ((sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) // 3).astype(np.uint8)
    assert sharpness(sharp) > 2 * sharpness(soft) > 0
    assert sharpness(np.full((8, 8, 3), 9, dtype=np.uint8)) == pytest.approx(0)
