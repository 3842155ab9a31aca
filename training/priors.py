"""Learn what the bitstream knows of keypoints beforehand (``codec.bitstream.priors``) from tracks.

    tracks -> closed loop -> motions, differences -> motion matrix and basis -> (again) -> coefficients -> tables

The basis is the Karhunen-Loeve transform of what the closed loop did not expect, in a space where distance is what an
error costs in the picture (``training.sensitivity``): one step costs the same along every vector, and the transform is
the best one for that cost (Goyal, "Theoretical foundations of transform coding", 2001). Tables are fitted like a
mixture: each frame belongs to the activity that codes it shortest, each coefficient of an activity to the table that
does. Shape legend: F frames, N = 3 K values, C activities, T tables, S symbols.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codec.bitstream.choose import choose_frame, choose_keyframe, symbols_of
from codec.bitstream.priors import (
    BASIS_BITS,
    ESCAPE,
    GRID_BITS,
    MOTION_BITS,
    NUM_SYMBOLS,
    PRECISION_BITS,
    SCALES,
    USUAL,
    Floats,
    Priors,
    bits_of,
)
from codec.structs import Integers
from training.tracks import Values

logger = logging.getLogger(__name__)

PIXELS = 256
STRENGTH_PIXELS = 4.0
"""Without a metric, a strength that is wrong by 1 costs as much as a place that is wrong by so many pixels of 256."""
PIXELS_MISSED = 8.0
"""Without a metric, a place that is wrong by so many pixels of 256 costs as much as the picture misses anyway."""
FLOOR = 0.05
"""Least cost of a value's error, as a share of what it is without a metric: nothing may drift unseen."""
RIDGE = 0.002
LIVELY = 5.0
"""Squared steps of unexpected motion, all coefficients together, beyond which frames weigh less."""
REWEIGHINGS = 4
ROUNDS_OF_TABLES = 10
FRAMES_PER_CLIP = 60
"""The first ones of each clip: more of the same face teach little."""


@dataclass(frozen=True, kw_only=True)
class PriorsConfig:
    """How priors are learned."""

    step: float = 0.057
    """Step of the quantiser: an error of one step costs the square of this, as a share of what the picture misses."""
    num_activities: int = 8
    """Kinds of frames, from still to lively."""
    num_tables: int = 32
    """Tables of symbol frequencies, of each scale."""
    rounds: int = 2
    """How often the closed loop runs over the tracks."""
    seed_ratio: float = 0.9
    """Widest table to begin with."""


@dataclass(frozen=True, slots=True, eq=False)
class LoopRecord:
    """What a closed loop over tracks met, predicted frames only.

    Attributes:
        motions_FN: the motion that both ends knew, steps of the grid.
        targets_FN: the motion that came.
        coefficients_FN: of the predicted frames.
        starts: index of each track's first predicted frame.
        keyframes: coefficients of the keyframes, one a track.
    """

    motions_FN: Floats
    targets_FN: Floats
    coefficients_FN: Integers
    starts: list[int]
    keyframes: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What codes the coefficients of one scale.

    Attributes:
        tables_CN: which table codes each coefficient, by activity; the last row is for keyframes.
        frequencies_TS: of the symbols of each table.
        activities_CC: of a frame's activity, by that of the frame before.
    """

    tables_CN: Integers
    frequencies_TS: Integers
    activities_CC: Integers


def learn_priors(tracks: Sequence[Values], config: PriorsConfig, metric_NN: Floats | None = None) -> Priors:
    """Learn priors.

    Args:
        tracks: (F, K, 3) each.
        config: how.
        metric_NN: what errors cost, as ``training.sensitivity`` finds it; without it places cost alike.
    """
    grids = [to_grid(values_FK3) for values_FK3 in tracks if len(values_FK3) > 2]
    root_NN = metric_root(tracks[0].shape[1], metric_NN)
    priors = _beginning(grids, root_NN, config)
    for index in range(config.rounds):
        record = run_loop(grids, priors)
        priors = _with_tables(_with_motion(priors, record, root_NN, config), [tables_of(record, config)] * len(SCALES))
        logger.info("round %d: %.2f of %d coefficients are not 0", index + 1, *_activity(record))
    records = [run_loop(grids, priors, scale) for scale in range(len(SCALES))]
    return _with_tables(priors, [tables_of(record, config) for record in records])


def to_grid(values_FK3: Values) -> Floats:
    """Return a track in steps of the bitstream's grid, (F, N)."""
    unit_FK3 = values_FK3.astype(np.float64)
    unit_FK3[..., :2] = (unit_FK3[..., :2] + 1) / 2
    return unit_FK3.reshape(len(values_FK3), -1) * (1 << GRID_BITS)


def metric_root(num_keypoints: int, metric_NN: Floats | None = None) -> Floats:
    """Return R such that an error e, in steps of the grid, costs the square of the length of R e, (N, N)."""
    pixels_N = np.tile([PIXELS, PIXELS, STRENGTH_PIXELS], num_keypoints) / (1 << GRID_BITS)
    alike_NN: Floats = np.diag((pixels_N / PIXELS_MISSED) ** 2)
    squared_NN = alike_NN if metric_NN is None else metric_NN + FLOOR * alike_NN
    return np.asarray(np.linalg.cholesky(squared_NN).T, dtype=np.float64)


def run_loop(grids: Sequence[Floats], priors: Priors, scale: int = USUAL) -> LoopRecord:
    """Code tracks as a sender does, and note what it met."""
    motions: list[Integers] = []
    targets: list[Floats] = []
    coefficients: list[Integers] = []
    keyframes: list[Integers] = []
    starts: list[int] = []
    for grid_FN in grids:
        code, state = choose_keyframe(grid_FN[0], priors, scale=scale)
        keyframes.append(code.coefficients_N)
        starts.append(len(motions))
        for grid_N in grid_FN[1:]:
            motions.append(state.motion_N)
            targets.append(grid_N - state.values_N)
            code, state = choose_frame(grid_N, state, 1, priors, scale=scale)
            coefficients.append(code.coefficients_N)
    return LoopRecord(
        np.array(motions, dtype=np.float64), np.array(targets), np.array(coefficients), starts, np.array(keyframes)
    )


def _activity(record: LoopRecord) -> tuple[float, int]:
    return float((record.coefficients_FN != 0).sum(axis=1).mean()), record.coefficients_FN.shape[1]


def _beginning(grids: Sequence[Floats], root_NN: Floats, config: PriorsConfig) -> Priors:
    size = len(root_NN)
    clip_means = np.array([grid_FN.mean(axis=0) for grid_FN in grids])
    mean_N = np.round(clip_means.mean(axis=0)).astype(np.int32)
    differences = np.concatenate([np.diff(grid_FN, axis=0) for grid_FN in grids])
    faces = np.concatenate([grid_FN[:: max(1, len(grid_FN) // 4)] for grid_FN in grids]) - mean_N
    table = laplacian_frequencies(0.5)[None]
    return Priors(
        mean_N=mean_N,
        motion_NN=np.eye(size, dtype=np.int32) << (MOTION_BITS - 1),
        basis_NN=basis_of(differences, root_NN, config.step),
        key_basis_NN=basis_of(faces, root_NN, config.step),
        scales_Q=np.array(SCALES, dtype=np.int32),
        tables_QCN=np.zeros((len(SCALES), 2, size), dtype=np.int32),
        frequencies_TS=table,
        activities_QCC=np.full((len(SCALES), 1, 1), 1 << PRECISION_BITS, dtype=np.int32),
        sha256="",
    )


def basis_of(differences_FN: Floats, root_NN: Floats, step: float) -> Integers:
    """Return the Karhunen-Loeve basis of differences, its columns one step long, the most common ones first."""
    weighed_FN = differences_FN @ root_NN.T
    weighed_FN = weighed_FN * np.sqrt(_weights(weighed_FN, step))[:, None]
    _, vectors_NN = np.linalg.eigh(weighed_FN.T @ weighed_FN / len(weighed_FN))
    columns_NN = np.linalg.solve(root_NN, vectors_NN[:, ::-1]) * step
    limit = np.iinfo(np.int16).max
    return np.clip(np.round(columns_NN * (1 << BASIS_BITS)), -limit, limit).astype(np.int32)


def _weights(unexpected_FN: Floats, step: float) -> Floats:
    """Return how much each frame weighs: in inverse proportion to its squared unexpected motion, if that is large."""
    weights_F: Floats = 1 / (np.square(unexpected_FN).sum(axis=1) / step**2 + LIVELY)
    return weights_F


def _with_motion(priors: Priors, record: LoopRecord, root_NN: Floats, config: PriorsConfig) -> Priors:
    """Return priors with motion by iteratively reweighed regression, and with the basis of what it leaves."""
    motions, targets = record.motions_FN @ root_NN.T, record.targets_FN @ root_NN.T
    weights_F = np.ones(len(motions))
    for _ in range(REWEIGHINGS):
        weighed = motions * weights_F[:, None]
        covariance_NN = weighed.T @ motions
        ridge_NN = np.eye(len(root_NN)) * RIDGE * np.trace(covariance_NN) / len(root_NN)
        weighed_NN = np.linalg.solve(covariance_NN + ridge_NN, weighed.T @ targets).T
        weights_F = _weights(targets - motions @ weighed_NN.T, config.step)
    matrix_NN = np.linalg.solve(root_NN, weighed_NN @ root_NN)
    limit = np.iinfo(np.int16).max
    motion_NN = np.clip(np.round(matrix_NN * (1 << MOTION_BITS)), -limit, limit).astype(np.int32)
    unexpected_FN = record.targets_FN - record.motions_FN @ (motion_NN.T / (1 << MOTION_BITS))
    return dataclasses.replace(priors, motion_NN=motion_NN, basis_NN=basis_of(unexpected_FN, root_NN, config.step))


def _with_tables(priors: Priors, scales: Sequence[Tables]) -> Priors:
    """Return priors with the tables of each scale, one scale's behind the other's."""
    offsets_Q = np.cumsum([0, *(len(each.frequencies_TS) for each in scales[:-1])])
    tables_QCN = np.stack([each.tables_CN + offset for each, offset in zip(scales, offsets_Q, strict=True)])
    return dataclasses.replace(
        priors,
        tables_QCN=tables_QCN.astype(np.int32),
        frequencies_TS=np.concatenate([each.frequencies_TS for each in scales]),
        activities_QCC=np.stack([each.activities_CC for each in scales]),
    )


def tables_of(record: LoopRecord, config: PriorsConfig) -> Tables:
    """Fit tables to what a closed loop met."""
    symbols_FN, key_symbols_FN = symbols_of(record.coefficients_FN), symbols_of(record.keyframes)
    ratios = config.seed_ratio ** np.geomspace(1, 60, config.num_tables)
    frequencies_TS = np.stack([laplacian_frequencies(ratio) for ratio in ratios])
    lively_F = np.abs(record.coefficients_FN).sum(axis=1)
    bounds = np.quantile(lively_F, np.arange(1, config.num_activities) / config.num_activities)
    activity_F = np.searchsorted(bounds, lively_F)
    for _ in range(ROUNDS_OF_TABLES):
        counts_CNS = np.stack(
            [_histogram(symbols_FN[activity_F == activity]) for activity in range(config.num_activities)]
            + [_histogram(key_symbols_FN)]
        )
        tables_CN = (counts_CNS @ bits_of(frequencies_TS).T).argmin(axis=-1)
        frequencies_TS = _refit(counts_CNS, tables_CN, frequencies_TS)
        activities_CC = _transitions(activity_F, record.starts, config.num_activities)
        activity_F = _cheapest(symbols_FN, record.starts, bits_of(frequencies_TS)[tables_CN], bits_of(activities_CC))
    return Tables(tables_CN.astype(np.int32), frequencies_TS, activities_CC)


def _histogram(symbols_FN: Integers) -> Floats:
    counts_NS = np.stack([(symbols_FN == symbol).sum(axis=0) for symbol in range(NUM_SYMBOLS)], axis=-1)
    return counts_NS.astype(np.float64)


def _refit(counts_CNS: Floats, tables_CN: npt.NDArray[np.intp], frequencies_TS: Integers) -> Integers:
    """Fit each table to all that it codes, a little of what it was kept in so that nothing becomes impossible."""
    refitted = []
    for index, row_S in enumerate(frequencies_TS):
        counts_S = counts_CNS[tables_CN == index].sum(axis=0)
        refitted.append(integer_frequencies(counts_S + 20 * row_S / (1 << PRECISION_BITS)))
    return np.stack(refitted)


def _transitions(activity_F: npt.NDArray[np.intp], starts: Sequence[int], num_activities: int) -> Integers:
    counts_CC = np.full((num_activities, num_activities), 0.5)
    before_F = np.concatenate([[0], activity_F[:-1]])
    before_F[[start for start in starts if start < len(before_F)]] = 0
    np.add.at(counts_CC, (before_F, activity_F), 1)
    return np.stack([integer_frequencies(row) for row in counts_CC])


def _cheapest(
    symbols_FN: Integers, starts: Sequence[int], costs_CNS: Floats, activity_costs_CC: Floats
) -> npt.NDArray[np.intp]:
    """Return for each frame the activity that codes it shortest after the one before."""
    index_N = np.arange(symbols_FN.shape[1])
    costs_FC = np.stack([costs_NS[index_N, symbols_FN].sum(axis=1) for costs_NS in costs_CNS[:-1]], axis=-1)
    chosen, before, begins = np.empty(len(symbols_FN), dtype=np.intp), 0, set(starts)
    for frame, costs_C in enumerate(costs_FC):
        before = 0 if frame in begins else before
        chosen[frame] = before = int((costs_C + activity_costs_CC[before]).argmin())
    return chosen


def coded_bits(record: LoopRecord, priors: Priors, scale: int = USUAL) -> float:
    """Return the mean bits of a predicted frame's coefficients and activity, as an ideal coder would write them."""
    symbols_FN = symbols_of(record.coefficients_FN)
    costs_CNS, activity_costs_CC = priors.costs_QCNS[scale], priors.activity_costs_QCC[scale]
    activity_F = _cheapest(symbols_FN, record.starts, costs_CNS, activity_costs_CC)
    index_N, before, total, begins = np.arange(symbols_FN.shape[1]), 0, 0.0, set(record.starts)
    for frame, (symbols_N, activity) in enumerate(zip(symbols_FN, activity_F, strict=True)):
        before = 0 if frame in begins else before
        total += costs_CNS[activity][index_N, symbols_N].sum() + activity_costs_CC[before, activity]
        before = activity
    return total / len(symbols_FN)


def laplacian_frequencies(ratio: float) -> Integers:
    """Return the table of a two-sided geometric distribution: each step farther from zero is ``ratio`` as likely.

    Symbols are in zigzag order, and the last stands for all that is farther.
    """
    magnitudes = (np.arange(ESCAPE) + 1) // 2
    weights = ratio**magnitudes
    tail = 2 * ratio ** (magnitudes[-1] + 1) / (1 - ratio)
    return integer_frequencies(np.append(weights, tail))


def integer_frequencies(weights: Floats) -> Integers:
    """Return positive integers in the proportion of the weights, as near as may be, that sum to 2**PRECISION_BITS."""
    total = 1 << PRECISION_BITS
    share = np.asarray(weights, dtype=np.float64) / math.fsum(weights)
    frequencies = np.maximum(np.round(share * total), 1).astype(np.int32)
    frequencies[int(frequencies.argmax())] += total - int(frequencies.sum())
    return frequencies
