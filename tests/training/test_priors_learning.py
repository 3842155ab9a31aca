from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.priors import ESCAPE, PRECISION_BITS, generic_priors
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
    for name in ("mean_N", "motion_NN", "basis_NN", "key_basis_NN", "tables_CN", "frequencies_TS", "activities_CC"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@given(st.lists(st.floats(1e-9, 1.0), min_size=2, max_size=16))
def test_frequencies_fill_the_range(weights: list[float]) -> None:
    frequencies = integer_frequencies(np.array(weights))
    assert frequencies.sum() == 1 << PRECISION_BITS
    assert frequencies.min() >= 1


def test_laplacian_tables_fall_off() -> None:
    frequencies = laplacian_frequencies(0.5)
    assert len(frequencies) == ESCAPE + 1
    assert (np.diff(frequencies[:ESCAPE:2]) <= 0).all()
