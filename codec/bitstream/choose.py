"""Stage 4 of 8, sending end: which coefficients and which activity tell a frame best.

    grid values, FrameState of the base --choose_frame--> coefficients, activity, FrameState of the frame

An encoder is free in both. Each coefficient is rounded to what costs least in distortion and bits together
(rate-distortion optimised quantisation: squared error in steps, plus ``TRADE`` for each bit). Mostly that is nearer to
what was expected than the detector's jitter: fewer bits, and less flicker. Nothing is held back, so there is no delay.
Shape legend: N = 3 K values, C activities, S symbols.
"""

from __future__ import annotations

import numpy as np

from codec.bitstream.predict import MAX_COEFFICIENT, FrameState, expect, reconstruct, reconstruct_key
from codec.bitstream.priors import ESCAPE, Floats, Priors
from codec.structs import Integers

TRADE = 0.13
"""Squared steps that a bit is worth: a higher one sends less and worse."""
_ROUNDING = 0.3


def choose_frame(
    grid_N: Floats, base: FrameState, distance: int, priors: Priors, trade: float = TRADE, reference: int = 0
) -> tuple[Integers, int, FrameState]:
    """Choose how to tell a predicted frame.

    Args:
        grid_N: the frame as detected, in steps of the grid.
        base: state that it is predicted from.
        distance: frames since then.
        priors: of both ends.
        trade: see ``TRADE``.
        reference: tag of the nearest reference.

    Returns:
        Coefficients, activity, and the state after the frame.
    """
    expected = expect(base, distance, priors)
    exact_N = priors.analysis_NN @ (grid_N - expected.values_N)
    activity = cheapest_activity(_cut(exact_N), base.activity, priors)
    coefficients_N = quantise_cheaply(exact_N, priors.costs_CNS[activity], trade)
    activity = cheapest_activity(coefficients_N, base.activity, priors)
    return coefficients_N, activity, reconstruct(coefficients_N, expected, activity, priors, reference)


def choose_keyframe(
    grid_N: Floats, priors: Priors, trade: float = TRADE, reference: int = 0
) -> tuple[Integers, FrameState]:
    """Choose how to tell a keyframe; arguments and results as of ``choose_frame``."""
    exact_N = priors.key_analysis_NN @ (grid_N - priors.mean_N)
    coefficients_N = quantise_cheaply(exact_N, priors.costs_CNS[-1], trade)
    return coefficients_N, reconstruct_key(coefficients_N, priors, reference)


def cheapest_activity(coefficients_N: Integers, before: int, priors: Priors) -> int:
    """Return the activity whose tables code coefficients shortest, after that of the base."""
    index_N = np.arange(len(coefficients_N))
    costs_C = priors.costs_CNS[:-1, index_N, symbols_of(coefficients_N)].sum(axis=1)
    return int((costs_C + priors.activity_costs_CC[before]).argmin())


def quantise_cheaply(exact_N: Floats, costs_NS: Floats, trade: float) -> Integers:
    """Return for each coefficient the nearest integer, the next one towards 0, or 0: whichever costs least.

    Args:
        exact_N: coefficients before rounding.
        costs_NS: bits of each symbol of each.
        trade: squared steps that a bit is worth.
    """
    sign_N = np.where(exact_N < 0, -1, 1)
    magnitudes_N = np.minimum(np.abs(exact_N), MAX_COEFFICIENT)
    nearest_N = np.floor(magnitudes_N + 0.5)
    options_3N = sign_N * np.stack([nearest_N, np.maximum(nearest_N - 1, 0), np.zeros_like(nearest_N)]).astype(np.int32)
    bits_3N = costs_NS[np.arange(len(exact_N)), symbols_of(options_3N)]
    costs_3N = (options_3N - exact_N) ** 2 + trade * bits_3N
    best: Integers = np.take_along_axis(options_3N, costs_3N.argmin(axis=0)[None], axis=0)[0]
    return best


def symbols_of(coefficients_N: Integers) -> Integers:
    """Return the symbols of coefficients; the last stands for all that escape."""
    symbols: Integers = np.minimum((coefficients_N << 1) ^ (coefficients_N >> 31), ESCAPE)
    return symbols


def _cut(exact_N: Floats) -> Integers:
    return (np.sign(exact_N) * np.minimum(np.floor(np.abs(exact_N) + _ROUNDING), MAX_COEFFICIENT)).astype(np.int32)
