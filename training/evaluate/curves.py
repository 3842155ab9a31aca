"""Evaluation ``rd``, all clips: points to means, curves and BD-rates.

    points of clips -> mean_points -> curve of a coder -> quality_at, rate_for, bd_rate_percent

Every clip has one vote. A peer's curve is the best that it reaches at or under each rate, whatever size of frame it
takes for that; between two points it is straight over the logarithm of the rate. Beyond its ends it is not extended.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from codec.errors import TrainingError
from training.evaluate.cache import FEATURES, FeatureStore
from training.evaluate.labels import better_sign
from training.evaluate.rate_distortion import FROZEN, OURS, Point

HELD = "wire_bits_per_s"
RATES = ("payload_bits_per_s", HELD, "wire_bits_per_s_over_10_s", "wire_bits_per_s_over_300_s")
IDENTITY = ("coder", "setting", "size", "references", "target")
# Of a point, but no figure to be averaged; and figures of no quality.
TEXTS = (*IDENTITY, "command", "encoder", "reason", FEATURES)

Curve = list[tuple[float, float]]


def mean_points(points_of_clips: Iterable[list[Point]], features: FeatureStore | None = None) -> list[Point]:
    """Return the mean over clips of each coder at each setting, size and rate (or number of references).

    A point that failed on one clip is left out of its mean, and ``num_clips`` says how many were not. A peer's command
    and version are those of the first clip. ``features`` is where the points' features for FID are.

    Raises:
        TrainingError: features cannot be read.
    """
    gathered: dict[tuple[Any, ...], list[Point]] = {}
    for points in points_of_clips:
        for point in points:
            if "reason" not in point:
                gathered.setdefault(tuple(point.get(name) for name in IDENTITY), []).append(point)
    means = [_mean(points, features) for points in gathered.values()]
    order = list(dict.fromkeys((point["coder"], point["setting"]) for point in means))
    return sorted(means, key=lambda point: order.index((point["coder"], point["setting"])))


def _mean(points: list[Point], features: FeatureStore | None) -> Point:
    mean: Point = {name: value for name, value in points[0].items() if name in TEXTS and name != FEATURES}
    mean["num_clips"] = len(points)
    for name in dict.fromkeys(name for point in points for name in point if name not in TEXTS):
        values = [point[name] for point in points if point.get(name) is not None]
        if values:
            mean[name] = float(np.mean(values))
    files = [point[FEATURES] for point in points if FEATURES in point]
    if features is not None and files and (fid := features.fid(files)) is not None:
        mean["fid"] = fid
    return mean


def metrics_of(points: Iterable[Point]) -> list[str]:
    """Return the names of the metrics that points have, in order."""
    others = {*TEXTS, *RATES, "num_clips"}
    return list(dict.fromkeys(name for point in points for name in point if name not in others))


def curve(points: Iterable[Point], rate: str, metric: str) -> Curve:
    """Return the best of a metric at or under each rate, as (bits a second, value) by rising rate."""
    sign = better_sign(metric)
    best: Curve = []
    for point in sorted((point for point in points if metric in point), key=lambda point: float(point[rate])):
        if not best or sign * point[metric] < sign * best[-1][1]:
            if best and best[-1][0] == float(point[rate]):
                best.pop()
            best.append((float(point[rate]), float(point[metric])))
    return best


def quality_at(best: Curve, bits_per_s: float) -> float | None:
    """Return a curve's value at a rate; None under its lowest rate, its last value over its highest."""
    if not best or bits_per_s < best[0][0]:
        return None
    for (low, first), (high, second) in pairwise(best):
        if bits_per_s <= high:
            return first + (second - first) * math.log(bits_per_s / low) / math.log(high / low)
    return best[-1][1]


def rate_for(best: Curve, value: float, metric: str) -> float | None:
    """Return the lowest rate at which a curve is as good as ``value``; None when it never is."""
    sign = better_sign(metric)
    if not best or sign * best[-1][1] > sign * value:
        return None
    if sign * best[0][1] <= sign * value:
        return best[0][0]
    for (low, first), (high, second) in pairwise(best):
        if sign * second <= sign * value:
            return low * math.exp(math.log(high / low) * (value - first) / (second - first))
    return None


def bd_rate_percent(anchor: Curve, test: Curve, metric: str) -> float | None:
    """Return by how much more rate ``test`` takes than ``anchor`` for the same quality, percent (Bjontegaard's delta).

    The mean over the qualities that both reach, by monotone cubic interpolation (PCHIP) of the logarithm of the rate,
    as the package bjontegaard computes it. None where a curve has one point or they share no quality.

    Args:
        anchor: of the peer.
        test: ours.
        metric: of both.

    Raises:
        TrainingError: the package is not installed.
    """
    try:
        bjontegaard: Any = importlib.import_module("bjontegaard")
    except ImportError as error:
        raise TrainingError(f"no BD-rate without bjontegaard ({error}): pip install 'warpcall[evaluate]'") from error
    if min(len(anchor), len(test)) < 2:
        return None
    sign = -better_sign(metric)
    (rates_a, values_a), (rates_t, values_t) = (zip(*curve, strict=True) for curve in (anchor, test))
    quality_a, quality_t = sign * np.array(values_a), sign * np.array(values_t)
    if min(quality_a.max(), quality_t.max()) <= max(quality_a.min(), quality_t.min()):
        return None
    return float(
        bjontegaard.bd_rate(
            rates_a, quality_a, rates_t, quality_t, method="pchip", require_matching_points=False, min_overlap=0
        )
    )


def coders(points: Iterable[Point]) -> list[tuple[str, str]]:
    """Return the peers among points, as (name, setting), in order."""
    return list(dict.fromkeys((p["coder"], p["setting"]) for p in points if p["coder"] not in (OURS, FROZEN)))


def of_coder(points: Iterable[Point], name: str, setting: str | None = None) -> list[Point]:
    """Return the points of one coder, in one setting or all."""
    return [point for point in points if point["coder"] == name and setting in (None, point["setting"])]
