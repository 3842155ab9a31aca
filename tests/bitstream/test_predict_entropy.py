from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.choose import TRADES, choose_frame, choose_keyframe, frame_choices, quantise_cheaply
from codec.bitstream.entropy import SymbolReader, SymbolWriter
from codec.bitstream.predict import MAX_COEFFICIENT, FrameCode, FrameState, expect, reconstruct, reconstruct_key
from codec.bitstream.priors import (
    COARSE,
    FINE,
    GRID_BITS,
    USUAL,
    Priors,
    frequencies_and_starts,
    generic_priors,
)
from codec.errors import BitstreamError
from codec.structs import Integers

ROWS = [frequencies_and_starts(row) for row in generic_priors(1).frequencies_TS.tolist()]
TOP = (1 << GRID_BITS) - 1


@given(st.lists(st.tuples(st.integers(-MAX_COEFFICIENT, MAX_COEFFICIENT), st.integers(0, len(ROWS) - 1)), max_size=200))
def test_integers_come_back(steps: list[tuple[int, int]]) -> None:
    writer = SymbolWriter()
    for value, row in steps:
        writer.integer(value, ROWS[row])
    reader = SymbolReader(writer.to_bytes())
    assert [reader.integer(ROWS[row]) for _, row in steps] == [value for value, _ in steps]
    reader.end()


def test_every_size_of_integer_comes_back() -> None:
    for value in range(-MAX_COEFFICIENT, MAX_COEFFICIENT + 1, 37):
        writer = SymbolWriter()
        writer.bits(5, 3)
        writer.integer(value, ROWS[0])
        reader = SymbolReader(writer.to_bytes())
        assert (reader.bits(3), reader.integer(ROWS[0])) == (5, value)
        reader.end()


def test_nothing_takes_no_byte_and_much_of_the_likeliest_little() -> None:
    assert SymbolWriter().to_bytes() == b""
    SymbolReader(b"").end()
    writer = SymbolWriter()
    for _ in range(50):
        writer.integer(0, ROWS[0])
    assert len(writer.to_bytes()) <= 1


def test_size_is_near_the_entropy() -> None:
    # Two-sided geometric sources, each coded with its own table: 3% and two bytes over the entropy.
    rng = np.random.default_rng(3)
    for row, ratio in zip(ROWS[:6], (0.02, 0.1, 0.2, 0.35, 0.5, 0.65), strict=True):
        values = rng.geometric(1 - ratio, 3000) - rng.geometric(1 - ratio, 3000)
        writer = SymbolWriter()
        for value in values.tolist():
            writer.integer(value, row)
        zero = (1 - ratio) / (1 + ratio)
        entropy_bits = -np.log2(zero * ratio ** np.abs(values)).sum()
        assert 8 * len(writer.to_bytes()) < 1.03 * entropy_bits + 16


@given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, -1, 5, -90]), st.integers(0, 3)), max_size=40))
def test_bytes_that_no_encoder_writes_are_refused(steps: list[tuple[int, int]]) -> None:
    writer = SymbolWriter()
    for value, row in steps:
        writer.integer(value, ROWS[row])
    coded = writer.to_bytes()
    for other in (coded + b"\x00", coded + b"\x01", coded + b"\xff\xff", coded[:-1]):
        reader = SymbolReader(other)
        values = [reader.integer(ROWS[row]) for _, row in steps]
        if other != coded and values == [value for value, _ in steps]:
            with pytest.raises(BitstreamError, match="does not end where its last symbol does"):
                reader.end()


def state(values: Integers, motion: Integers) -> FrameState:
    return FrameState(values.astype(np.int32), motion.astype(np.int32), 0, 0, USUAL)


def test_motion_is_expected_to_go_on_and_to_fade(priors: Priors) -> None:
    start = state(np.full(60, 8000), np.full(60, 64))
    values = [int(expect(start, distance, priors).values_N[0]) for distance in range(1, 9)]
    steps = np.diff([8000, *values])
    assert steps.tolist() == [32, 16, 8, 4, 2, 1, 1, 1]
    assert expect(start, 3, priors).motion_N[0] == 8


def test_what_is_expected_stays_on_the_grid(priors: Priors) -> None:
    for corner, sign in ((0, -1), (TOP, 1)):
        expected = expect(state(np.full(60, corner), np.full(60, 4000 * sign)), 16, priors)
        assert expected.values_N.tolist() == [corner] * 60
        coefficients = np.full(60, MAX_COEFFICIENT * sign, dtype=np.int32)
        for scale in (FINE, USUAL, COARSE):
            code = FrameCode(coefficients, 3, scale=scale)
            assert reconstruct(code, expected, 1, priors).values_N.tolist() == [corner] * 60


@pytest.mark.parametrize(("scale", "share"), [(FINE, 43 / 64), (USUAL, 1), (COARSE, 1.5)])
def test_coefficients_bring_the_frame_within_a_step(priors: Priors, scale: int, share: float) -> None:
    grid_N = np.random.default_rng(0).uniform(0, TOP, 60)
    key, state_of_key = choose_keyframe(grid_N, priors, trade=0.0, scale=scale)
    code, state_of_next = choose_frame(grid_N[::-1], state_of_key, 1, priors, trade=0.0, reference=7, scale=scale)
    steps_N = share * np.diag(priors.basis_NN) / 16
    assert (np.abs(state_of_key.values_N - grid_N) <= steps_N / 2 + 1).all()
    assert (np.abs(state_of_next.values_N - grid_N[::-1]) <= steps_N / 2 + 1).all()
    assert not state_of_key.motion_N.any()
    np.testing.assert_array_equal(
        state_of_next.motion_N, np.clip(state_of_next.values_N - state_of_key.values_N, -4096, 4096)
    )
    assert (state_of_next.reference, state_of_next.scale, state_of_next.activity) == (7, scale, code.activity)
    np.testing.assert_array_equal(reconstruct_key(key, priors).values_N, state_of_key.values_N)


def test_a_higher_trade_takes_fewer_bits_for_more_error(priors: Priors) -> None:
    grid_N = np.random.default_rng(1).uniform(4000, 5000, 60)
    _, state_of_key = choose_keyframe(grid_N, priors)
    grid_N += np.random.default_rng(2).normal(0, 60, 60)
    choices = frame_choices(grid_N, expect(state_of_key, 1, priors), priors)
    assert 2 < len(choices) <= len(TRADES)
    bits, errors = [choice.bits for choice in choices], [choice.error for choice in choices]
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert bits[0] > bits[-1]
    exact_N = priors.analysis_NN @ (grid_N - expect(state_of_key, 1, priors).values_N)
    for choice in choices:
        assert choice.error == pytest.approx(np.square(choice.code.coefficients_N - exact_N).sum())


def test_a_bit_is_saved_where_little_is_lost() -> None:
    costs_NS = np.tile(np.array([1.0, 4.0, 4.0, 6.0, 6.0, *[9.0] * 27]), (7, 1))
    exact_N = np.array([0.4, 0.6, -0.6, 0.8, 1.6, -2.4, 300.0])
    assert quantise_cheaply(exact_N, costs_NS, (0.0,))[0].tolist() == [0, 1, -1, 1, 2, -2, 300]
    assert quantise_cheaply(exact_N, costs_NS, (0.15,))[0].tolist() == [0, 0, 0, 1, 1, -2, 300]
    assert quantise_cheaply(exact_N, costs_NS, (1e6,))[0].tolist() == [0] * 7
    assert quantise_cheaply(exact_N, costs_NS, (0.15, 1e6)).tolist() == [[0, 0, 0, 1, 1, -2, 300], [0] * 7]
