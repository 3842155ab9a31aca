"""Stage 4 of 8, sending end: which coefficients and which activity tell a frame best.

    grid values, FrameState that is expected --frame_choices--> FrameChoice: FrameCode, its error and bits

An encoder is free in both. Each coefficient is rounded to what costs least in distortion and bits together
(rate-distortion optimised quantisation: squared error in steps, plus ``TRADE`` for each bit). Mostly that is nearer to
what was expected than what was detected: fewer bits, and less flicker. Nothing is held back, so there is no delay.
A message has whole bytes, so one trade's frame may waste most of its last byte and another's just fill it:
``frame_choices`` gives several, of which the writer takes the one whose message costs least. Shape legend: N = 3 K
values, C activities, S symbols, J trades, O options of a coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codec.bitstream.predict import MAX_COEFFICIENT, FrameCode, FrameState, expect, reconstruct, reconstruct_key
from codec.bitstream.priors import ESCAPE, USUAL, Floats, Priors
from codec.structs import Integers

TRADE = 0.13
"""Squared steps that a bit is worth: a higher one sends less and worse."""
TRADES = (0.6 * TRADE, 0.77 * TRADE, TRADE, 1.3 * TRADE, 1.67 * TRADE)
"""What is tried to fill whole bytes. Against ``TRADE`` alone .32 bytes of 7.45 at 1.9% more squared error, which is
.06 bytes (validation clips); nine or seventeen trades save .03 and .07 bytes more."""
_ROUNDING = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class FrameChoice:
    """A way to tell a frame.

    Attributes:
        code: what is sent.
        error: squared, in steps, of all coefficients.
        bits: of activity and coefficients.
    """

    code: FrameCode
    error: float
    bits: float


def choose_frame(
    grid_N: Floats,
    base: FrameState,
    distance: int,
    priors: Priors,
    *,
    reference: int = 0,
    scale: int = USUAL,
    trade: float = TRADE,
) -> tuple[FrameCode, FrameState]:
    """Choose how to tell a predicted frame by one trade.

    Args:
        grid_N: the frame as detected, in steps of the grid.
        base: state that it is predicted from.
        distance: frames since then.
        priors: of both ends.
        reference: tag of the nearest reference.
        scale: index of the quantiser's step.
        trade: see ``TRADE``.

    Returns:
        The frame as it is coded, and the state after it.
    """
    expected = expect(base, distance, priors)
    code = frame_choices(grid_N, expected, priors, reference=reference, scale=scale, trades=(trade,))[0].code
    return code, reconstruct(code, expected, distance, priors)


def choose_keyframe(
    grid_N: Floats, priors: Priors, *, reference: int = 0, scale: int = USUAL, trade: float = TRADE
) -> tuple[FrameCode, FrameState]:
    """Choose how to tell a keyframe by one trade; arguments and results as of ``choose_frame``."""
    code = keyframe_choices(grid_N, priors, reference=reference, scale=scale, trades=(trade,))[0].code
    return code, reconstruct_key(code, priors)


def frame_choices(
    grid_N: Floats,
    expected: FrameState,
    priors: Priors,
    *,
    reference: int = 0,
    scale: int = USUAL,
    trades: Sequence[float] = TRADES,
) -> list[FrameChoice]:
    """Return ways to tell a predicted frame, one for each trade; the same way only once.

    Args:
        grid_N: the frame as detected, in steps of the grid.
        expected: of the frame, by both ends.
        priors: of both ends.
        reference: tag of the nearest reference.
        scale: index of the quantiser's step.
        trades: see ``TRADE``.
    """
    exact_N = priors.analysis_NN @ (grid_N - expected.values_N) / priors.steps_Q[scale]
    costs_CNS, before_C = priors.costs_QCNS[scale], priors.activity_costs_QCC[scale, expected.activity]
    likely = cheapest_activity(_cut(exact_N), before_C, costs_CNS)
    chosen_JN = quantise_cheaply(exact_N, costs_CNS[likely], trades)
    activity = cheapest_activity(chosen_JN[len(trades) // 2], before_C, costs_CNS)
    codes = [FrameCode(chosen_N, activity, reference, scale) for chosen_N in chosen_JN]
    return _choices(codes, chosen_JN, exact_N, before_C[activity], costs_CNS[activity])


def keyframe_choices(
    grid_N: Floats, priors: Priors, *, reference: int = 0, scale: int = USUAL, trades: Sequence[float] = TRADES
) -> list[FrameChoice]:
    """Return ways to tell a keyframe; arguments as of ``frame_choices``."""
    exact_N = priors.key_analysis_NN @ (grid_N - priors.mean_N) / priors.steps_Q[scale]
    costs_NS = priors.costs_QCNS[scale, -1]
    chosen_JN = quantise_cheaply(exact_N, costs_NS, trades)
    codes = [FrameCode(chosen_N, -1, reference, scale) for chosen_N in chosen_JN]
    return _choices(codes, chosen_JN, exact_N, 0.0, costs_NS)


def cheapest_activity(coefficients_N: Integers, before_C: Floats, costs_CNS: Floats) -> int:
    """Return the activity that codes coefficients shortest.

    Args:
        coefficients_N: of a frame.
        before_C: bits of each activity, after that of the base.
        costs_CNS: bits of each symbol of each coefficient, the last row being for keyframes.
    """
    index_N = np.arange(len(coefficients_N))
    costs_C = costs_CNS[:-1, index_N, symbols_of(coefficients_N)].sum(axis=1)
    return int((costs_C + before_C).argmin())


def quantise_cheaply(exact_N: Floats, costs_NS: Floats, trades: Sequence[float]) -> Integers:
    """Return for each coefficient the nearest integer, the next one towards 0, or 0: whichever costs least.

    Args:
        exact_N: coefficients before rounding.
        costs_NS: bits of each symbol of each.
        trades: squared steps that a bit is worth.

    Returns:
        Coefficients, (J, N).
    """
    sign_N = np.where(exact_N < 0, -1, 1)
    magnitudes_N = np.minimum(np.abs(exact_N), MAX_COEFFICIENT)
    nearest_N = np.floor(magnitudes_N + 0.5)
    options_ON = sign_N * np.stack([nearest_N, np.maximum(nearest_N - 1, 0), np.zeros_like(nearest_N)]).astype(np.int32)
    bits_ON = costs_NS[np.arange(len(exact_N)), symbols_of(options_ON)]
    costs_JON = (options_ON - exact_N) ** 2 + np.array(trades)[:, None, None] * bits_ON
    best: Integers = np.take_along_axis(options_ON[None], costs_JON.argmin(axis=1)[:, None], axis=1)[:, 0]
    return best


def symbols_of(coefficients_N: Integers) -> Integers:
    """Return the symbols of coefficients; the last stands for all that escape."""
    symbols: Integers = np.minimum((coefficients_N << 1) ^ (coefficients_N >> 31), ESCAPE)
    return symbols


def _choices(
    codes: list[FrameCode], chosen_JN: Integers, exact_N: Floats, activity_bits: float, costs_NS: Floats
) -> list[FrameChoice]:
    errors_J = np.square(chosen_JN - exact_N).sum(axis=1)
    bits_J = activity_bits + costs_NS[np.arange(len(exact_N)), symbols_of(chosen_JN)].sum(axis=1)
    is_new_J = np.append(True, bits_J[1:] != bits_J[:-1])  # trades that are near each other often choose the same
    choices = map(FrameChoice, codes, errors_J.tolist(), bits_J.tolist())
    return [choice for choice, is_new in zip(choices, is_new_J, strict=True) if is_new]


def _cut(exact_N: Floats) -> Integers:
    return (np.sign(exact_N) * np.minimum(np.floor(np.abs(exact_N) + _ROUNDING), MAX_COEFFICIENT)).astype(np.int32)
