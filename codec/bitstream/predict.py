"""Stage 4 of 8: a frame to coefficients of what was not expected of it, and back.

    FrameState of the base --expect--> what is expected; with a FrameCode --reconstruct--> FrameState of the frame
    values of two coded frames --interpolate--> values between them

Closed loop: both ends expect a frame from what the receiver has, never from what the camera saw. What was not expected
is told in a basis in which keypoints move together, as a head does (a Karhunen-Loeve transform, learned), so that most
coefficients are 0. ``choose`` is the encoder's half. Shape legend: N = 3 K values, in the order x0, y0, strength0, x1
and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.priors import BASIS_BITS, GRID_BITS, MOTION_BITS, SCALE_BITS, USUAL, Priors
from codec.structs import Integers

MAX_COEFFICIENT = (1 << 14) - 1
MAX_MOTION = 1 << 12
_HALF = 1 << (BASIS_BITS + SCALE_BITS) >> 1


@dataclass(frozen=True, slots=True, eq=False)
class FrameCode:
    """One frame, as it is coded.

    Attributes:
        coefficients_N: of what was not expected, each in [-MAX_COEFFICIENT, MAX_COEFFICIENT].
        activity: whose tables code them; -1 of a keyframe.
        reference: tag of the nearest reference; 0 for none.
        scale: index of the quantiser's step.
    """

    coefficients_N: Integers
    activity: int
    reference: int = 0
    scale: int = USUAL

    @property
    def is_keyframe(self) -> bool:
        """Whether it needs no base."""
        return self.activity < 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameState:
    """What both ends keep of a frame.

    Attributes:
        values_N: where things are, in steps of the grid.
        motion_N: how far they went since the frame before.
        activity: of the frame; 0 of a keyframe.
        reference: tag of the nearest reference; 0 for none.
        scale: index of the quantiser's step that it was told in.
    """

    values_N: Integers
    motion_N: Integers
    activity: int
    reference: int
    scale: int


def mean_state(priors: Priors) -> FrameState:
    """Return what is expected of a keyframe."""
    return FrameState(priors.mean_N, np.zeros_like(priors.mean_N), 0, 0, USUAL)


def expect(state: FrameState, distance: int, priors: Priors) -> FrameState:
    """Return what is expected ``distance`` frames after a state: that its motion goes on, and fades."""
    values_N, motion_N = state.values_N, state.motion_N
    for _ in range(distance):
        motion_N = (priors.motion_NN @ motion_N + (1 << MOTION_BITS >> 1)) >> MOTION_BITS
        before_N, values_N = values_N, on_grid(values_N + motion_N)
        motion_N = values_N - before_N
    return FrameState(values_N, motion_N, state.activity, state.reference, state.scale)


def reconstruct(code: FrameCode, expected: FrameState, distance: int, priors: Priors) -> FrameState:
    """Return the state after a predicted frame.

    What was not expected came about over all frames since the base, so that each has its share of it in its motion.

    Args:
        code: of the frame.
        expected: of the frame.
        distance: frames since the state that it is predicted from.
        priors: of both ends.
    """
    values_N = _plus(expected.values_N, priors.basis_NN, code, priors)
    unexpected_N = (values_N - expected.values_N + (distance >> 1)) // distance
    motion_N = np.clip(expected.motion_N + unexpected_N, -MAX_MOTION, MAX_MOTION)
    return FrameState(values_N, motion_N.astype(np.int32), code.activity, code.reference, code.scale)


def reconstruct_key(code: FrameCode, priors: Priors) -> FrameState:
    """Return the state after a keyframe: at rest."""
    values_N = _plus(priors.mean_N, priors.key_basis_NN, code, priors)
    return FrameState(values_N, np.zeros_like(priors.mean_N), 0, code.reference, code.scale)


def interpolate(before_N: Integers, after_N: Integers, index: int, distance: int) -> Integers:
    """Return the values ``index`` of ``distance`` frames after those before, on a straight line to those after."""
    between_N: Integers = (before_N * (distance - index) + after_N * index + (distance >> 1)) // distance
    return between_N


def _plus(values_N: Integers, basis_NN: Integers, code: FrameCode, priors: Priors) -> Integers:
    scaled_N = basis_NN @ code.coefficients_N.astype(np.int64) * int(priors.scales_Q[code.scale])
    return on_grid(values_N + (scaled_N + _HALF >> BASIS_BITS + SCALE_BITS))


def on_grid(values_N: Integers) -> Integers:
    """Clamp values to the grid."""
    return np.clip(values_N, 0, (1 << GRID_BITS) - 1).astype(np.int32)
