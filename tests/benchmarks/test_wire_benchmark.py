"""The parts of ``benchmarks.wire`` that its figures rest on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.wire.call import Arrived, CallConfig, CallRecord
from benchmarks.wire.designs import gfvc, levels_of, ours, packed, sizes, train_dictionary
from benchmarks.wire.link import burst_loss, random_loss
from benchmarks.wire.loss import figures, shown
from benchmarks.wire.quality import ALIGNED, DETECTED, Quality, means_of, received
from codec import Model
from codec.structs import QuantisedKeypoints
from training.tracks import Track


@pytest.fixture
def track() -> Track:
    rng = np.random.default_rng(0)
    rest_K3 = np.column_stack([rng.uniform(-0.5, 0.5, (20, 2)), np.full(20, 0.5)])
    values_FK3 = (rest_K3 + rng.normal(0, 0.002, (30, 20, 3))).astype(np.float32)
    return Track(values_FK3, np.repeat([1, 2], 15).astype(np.int32), 25.0)


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_losses_have_their_share_and_their_length(share: float, length: int) -> None:
    model = burst_loss(share, length, seed=3) if length > 1 else random_loss(share, seed=3)
    lost = [model() for _ in range(60_000)]
    assert np.mean(lost) == pytest.approx(share, rel=0.12)
    edges = np.flatnonzero(np.diff([0, *map(int, lost), 0]))
    runs = edges[1::2] - edges[::2]
    assert runs.min() >= 1
    assert length == 1 or (runs[:-1] % length == 0).all()


def test_the_same_seed_loses_the_same() -> None:
    first, second = (random_loss(0.2, seed=7) for _ in range(2))
    assert [first() for _ in range(100)] == [second() for _ in range(100)]


def test_designs_have_the_sizes_of_their_formats(track: Track, tiny_model: Model) -> None:
    found = sizes(track, tiny_model, train_dictionary([track.values_FK3] * 40))
    assert set(found["32-bit floats"]) == {240}
    assert set(found["packed bits"]) == {58}
    shared = {2: found.pop("ours, two frames a message"), 3: found.pop("ours, three frames a message")}
    for name in ("ours, fine, two frames a message", "ours, fine, three frames a message"):
        assert len(found.pop(name)) > len(track) - 3
    assert all(len(each) == len(track) for each in found.values())
    assert sum(found["ours, coarse"]) < sum(found["ours"]) < sum(found["ours, fine"])
    assert sum(found["ours"]) < sum(ours(track, tiny_model, repeats=2))
    for count, each in shared.items():
        assert len(track) - count < len(each) <= len(track)
        assert [bool(size) for size in each[1:]] == ([False] * (count - 1) + [True]) * ((len(each) - 1) // count)
        assert sum(each) < sum(found["ours"][: len(each)])


def test_what_shared_messages_bring_is_near_what_was_detected(track: Track, tiny_model: Model) -> None:
    found, bytes_per_frame = received(track, tiny_model, tiny_model.priors, 2)
    assert bytes_per_frame == pytest.approx(np.mean(ours(track, tiny_model, frames_per_packet=2)))
    assert found.values_FK3.shape == track.values_FK3.shape
    assert np.abs(found.values_FK3 - track.values_FK3)[..., :2].max() < 0.02
    np.testing.assert_array_equal(found.references_F, track.references_F)


def test_each_kind_of_keypoints_is_compared_with_its_own_exact_ones() -> None:
    def clip(aligned: float, coded: float, detected: float, size: float) -> dict[str, Quality]:
        return {
            ALIGNED: Quality(aligned, 30.0, None),
            "coded, usual": Quality(coded, 29.0, size),
            DETECTED: Quality(detected, 28.0, None),
            "detected, coded, usual": Quality(detected, 27.5, size),
        }

    rows = means_of([clip(0.01, 0.02, 0.05, 4.0), clip(0.03, 0.03, 0.05, 10.0)], [100, 50])
    assert rows["coded, usual"]["lpips_change_percent"] == pytest.approx(25)
    assert rows["coded, usual"]["psnr_change_db"] == -1
    assert rows["coded, usual"]["bytes_per_frame"] == 6
    assert rows["coded, usual"]["bytes_per_frame_mean_of_clips"] == 7
    assert rows["detected, coded, usual"]["lpips_change_percent"] == pytest.approx(0)
    assert rows["detected, coded, usual"]["psnr_change_db"] == -0.5
    assert "bytes_per_frame" not in rows[ALIGNED]


def test_packed_bits_hold_every_value(track: Track) -> None:
    levels_K3 = levels_of(track.values_FK3)[0]
    state = int.from_bytes(packed(levels_K3), "big")
    for x, y, strength in levels_K3[::-1].tolist():
        assert state & 31 == strength
        assert state >> 5 & 511 == y
        assert state >> 14 & 511 == x
        state >>= 23


def test_gfvc_learns_what_does_not_move() -> None:
    levels_FK3 = np.zeros((50, 20, 3), dtype=np.int64)
    assert gfvc(levels_FK3)[-1] <= 1


def record(due_s: dict[int, float]) -> CallRecord:
    found = CallRecord(CallConfig(delay_s=0.0), sent_s={number: number * 0.04 for number in range(4)}, duration_s=0.16)
    keypoints = {number: QuantisedKeypoints(np.full((20, 3), number, dtype=np.int32)) for number in due_s}
    found.arrived = {number: Arrived(due, keypoints[number], False, number == 3) for number, due in due_s.items()}
    found.up[0].add(20)
    return found


def test_a_frame_that_comes_too_late_is_not_in_time() -> None:
    row = figures(record({0: 0.0, 1: 0.04, 2: 0.2, 3: 0.12}))
    assert row["in_time"] == 0.75
    assert row["concealed"] == 0.25
    assert row["decoded_in_time"] == 0.5
    assert row["came_at_all"] == 1.0
    assert row["longest_gap_frames"] == 1


def test_the_newest_frame_that_is_there_is_shown() -> None:
    found = record({0: 0.0, 1: 0.04, 3: 0.12})
    shown_values = [shown(found, number) for number in range(4)]
    assert [None if each is None else int(each.values_K3[0, 0]) for each in shown_values] == [0, 1, 1, 3]
    assert shown(record({3: 0.12}), 0) is None
