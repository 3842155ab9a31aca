from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.priors import COARSE, ESCAPE, FINE, MOTION_BITS, PRECISION_BITS, USUAL, generic_priors
from training.priors import (
    PriorsConfig,
    coded_bits,
    integer_frequencies,
    laplacian_frequencies,
    learn_priors,
    run_loop,
    to_grid,
)
from training.tracks import Values


def tracks(count: int, seed: int) -> list[Values]:
    """Heads that sway as a whole, with keypoints that jitter."""
    rng = np.random.default_rng(seed)
    rest_K3 = np.column_stack([np.random.default_rng(9).uniform(-0.5, 0.5, (20, 2)), np.full(20, 0.5)])
    found = []
    for _ in range(count):
        sway_F2 = rng.normal(0, 0.004, (40, 2)).cumsum(axis=0)
        values_FK3 = rest_K3 + rng.normal(0, 0.002, (40, 20, 3)) + rng.normal(0, 0.02, (20, 3))
        values_FK3[..., :2] += sway_F2[:, None]
        found.append(np.clip(values_FK3, [-1, -1, 0], 1).astype(np.float32))
    return found


def test_learned_priors_take_fewer_bits_than_generic_ones() -> None:
    config = PriorsConfig(step=0.065, num_activities=3, num_tables=8, rounds=2)  # about as fine as the generic ones
    learned = learn_priors(tracks(12, seed=0), config)
    grids = [to_grid(track) for track in tracks(4, seed=1)]
    assert learned.num_keypoints == 20
    assert learned.num_activities == 3
    bits, generic_bits = (coded_bits(run_loop(grids, priors), priors) for priors in (learned, generic_priors(20)))
    assert bits < 0.5 * generic_bits


def test_learning_gives_the_same_twice() -> None:
    config = PriorsConfig(num_activities=2, num_tables=4, rounds=1)
    first, second = (learn_priors(tracks(4, seed=2), config) for _ in range(2))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_a_finer_scale_takes_more_bits() -> None:
    learned = learn_priors(tracks(12, seed=0), PriorsConfig(num_activities=3, num_tables=8, rounds=1))
    grids = [to_grid(track) for track in tracks(4, seed=1)]
    bits = [coded_bits(run_loop(grids, learned, scale), learned, scale) for scale in (FINE, USUAL, COARSE)]
    assert bits[0] > 1.15 * bits[1] > 1.3 * bits[2]


def test_a_lively_clip_does_not_rule_the_motion_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # One clip that jumps about, far beyond how the others move, which go on as they went.
    rng = np.random.default_rng(5)
    glide_F = 0.002 * np.arange(60)
    found = []
    for sway_F in [glide_F] * 12 + [rng.normal(0, 0.03, 60)]:
        values_FK3 = np.full((60, 20, 3), 0.1) + rng.normal(0, 0.0002, (60, 20, 3))
        values_FK3[..., 0] += sway_F[:, None]
        found.append(values_FK3.astype(np.float32))

    def goes_on() -> float:
        learned = learn_priors(found, PriorsConfig(num_activities=2, num_tables=4))
        along = np.tile([1.0, 0.0, 0.0], 20)
        return float(along @ learned.motion_NN @ along) / 20 / (1 << MOTION_BITS)

    assert goes_on() > 0.2
    monkeypatch.setattr("training.priors.REWEIGHINGS", 1)  # frames weigh alike
    assert goes_on() < 0


@given(st.lists(st.floats(1e-9, 1.0), min_size=2, max_size=16))
def test_frequencies_fill_the_range(weights: list[float]) -> None:
    frequencies = integer_frequencies(np.array(weights))
    assert frequencies.sum() == 1 << PRECISION_BITS
    assert frequencies.min() >= 1


def test_laplacian_tables_fall_off() -> None:
    frequencies = laplacian_frequencies(0.5)
    assert len(frequencies) == ESCAPE + 1
    assert (np.diff(frequencies[:ESCAPE:2]) <= 0).all()
