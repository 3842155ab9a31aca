"""Stage 4 of 8: a frame to coefficients of what was not expected of it, and back.

    FrameState of the base --expect--> what is expected; with coefficients --reconstruct--> FrameState of the frame
    values of two coded frames --interpolate--> values between them

Closed loop: both ends expect a frame from what the receiver has, never from what the camera saw. What was not expected
is told in a basis in which keypoints move together, as a head does (a Karhunen-Loeve transform, learned), so that most
coefficients are 0. ``choose`` is the encoder's half. Shape legend: N = 3 K values, in the order x0, y0, strength0, x1
and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.priors import BASIS_BITS, GRID_BITS, MOTION_BITS, Priors
from codec.structs import Integers

MAX_COEFFICIENT = (1 << 14) - 1
MAX_MOTION = 1 << 12


@dataclass(frozen=True, slots=True, eq=False)
class FrameState:
    """What both ends keep of a frame.

    Attributes:
        values_N: where things are, in steps of the grid.
        motion_N: how far they went since the frame before.
        activity: of the frame; 0 of a keyframe.
        reference: tag of the nearest reference; 0 for none.
    """

    values_N: Integers
    motion_N: Integers
    activity: int
    reference: int


def mean_state(priors: Priors) -> FrameState:
    """Return what is expected of a keyframe."""
    return FrameState(priors.mean_N, np.zeros_like(priors.mean_N), 0, 0)


def expect(state: FrameState, distance: int, priors: Priors) -> FrameState:
    """Return what is expected ``distance`` frames after a state: that its motion goes on, and fades."""
    values_N, motion_N = state.values_N, state.motion_N
    for _ in range(distance):
        motion_N = (priors.motion_NN @ motion_N + (1 << MOTION_BITS >> 1)) >> MOTION_BITS
        before_N, values_N = values_N, on_grid(values_N + motion_N)
        motion_N = values_N - before_N
    return FrameState(values_N, motion_N, state.activity, state.reference)


def reconstruct(
    coefficients_N: Integers, expected: FrameState, activity: int, priors: Priors, reference: int = 0
) -> FrameState:
    """Return the state after a predicted frame.

    Args:
        coefficients_N: each in [-MAX_COEFFICIENT, MAX_COEFFICIENT].
        expected: of the frame.
        activity: of the frame.
        priors: of both ends.
        reference: tag of the nearest reference.
    """
    values_N = _plus(expected.values_N, priors.basis_NN, coefficients_N)
    # What was expected had the old motion in it; the frame before is where that began.
    motion_N = np.clip(values_N - expected.values_N + expected.motion_N, -MAX_MOTION, MAX_MOTION)
    return FrameState(values_N, motion_N.astype(np.int32), activity, reference)


def reconstruct_key(coefficients_N: Integers, priors: Priors, reference: int = 0) -> FrameState:
    """Return the state after a keyframe: at rest."""
    values_N = _plus(priors.mean_N, priors.key_basis_NN, coefficients_N)
    return FrameState(values_N, np.zeros_like(priors.mean_N), 0, reference)


def interpolate(before_N: Integers, after_N: Integers, index: int, distance: int) -> Integers:
    """Return the values ``index`` of ``distance`` frames after those before, on a straight line to those after."""
    between_N: Integers = (before_N * (distance - index) + after_N * index + (distance >> 1)) // distance
    return between_N


def _plus(values_N: Integers, basis_NN: Integers, coefficients_N: Integers) -> Integers:
    unexpected_N = (basis_NN @ coefficients_N.astype(np.int64) + (1 << BASIS_BITS >> 1)) >> BASIS_BITS
    return on_grid(values_N + unexpected_N)


def on_grid(values_N: Integers) -> Integers:
    """Clamp values to the grid."""
    return np.clip(values_N, 0, (1 << GRID_BITS) - 1).astype(np.int32)
