"""Evaluation ``rd``, all clips: points to means, curves and the headline.

    points of clips -> mean_points -> curve of a coder -> quality_at, rate_for -> headline

Every clip has one vote. A peer's curve is the best that it reaches at or under each rate, whatever size of frame it
takes for that; between two points it is straight over the logarithm of the rate. Beyond its ends it is not extended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from training.evaluate.cache import FEATURES, FeatureStore
from training.evaluate.rate_distortion import FROZEN, OURS, Point
from training.evaluate.tally import HIGHER_IS_BETTER, SCORE_NAMES

HEADLINE_METRICS = ("lpips_alex", "psnr_db", "akd", "mouth_lpips")
RATES = ("payload_bits_per_s", "wire_bits_per_s", "wire_bits_per_s_over_10_s", "wire_bits_per_s_over_300_s")
IDENTITY = ("coder", "setting", "size", "references", "target_bits_per_s")

Curve = list[tuple[float, float]]


def mean_points(points_of_clips: Iterable[list[Point]], features: FeatureStore | None = None) -> list[Point]:
    """Return the mean over clips of each coder at each setting, size and rate (or number of references).

    A point that failed on one clip is left out of its mean, and ``num_clips`` says how many were not. ``features`` is
    where the points' features for FID are.

    Raises:
        TrainingError: features cannot be read.
    """
    gathered: dict[tuple[Any, ...], list[Point]] = {}
    for points in points_of_clips:
        for point in points:
            if "reason" not in point:
                gathered.setdefault(tuple(point.get(name) for name in IDENTITY), []).append(point)
    means = [_mean(identity, points, features) for identity, points in gathered.items()]
    order = list(dict.fromkeys((point["coder"], point["setting"]) for point in means))
    return sorted(means, key=lambda point: order.index((point["coder"], point["setting"])))


def _mean(identity: tuple[Any, ...], points: list[Point], features: FeatureStore | None) -> Point:
    mean: Point = {name: value for name, value in zip(IDENTITY, identity, strict=True) if value is not None}
    mean["num_clips"] = len(points)
    for name in (*RATES, *SCORE_NAMES):
        values = [point[name] for point in points if point.get(name) is not None]
        if values:
            mean[name] = float(np.mean(values))
    files = [point[FEATURES] for point in points if FEATURES in point]
    if features is not None and files and (fid := features.fid(files)) is not None:
        mean["fid"] = fid
    return mean


def curve(points: Iterable[Point], rate: str, metric: str) -> Curve:
    """Return the best of a metric at or under each rate, as (bits a second, value) by rising rate."""
    sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
    best: Curve = []
    for point in sorted((point for point in points if metric in point), key=lambda point: float(point[rate])):
        if not best or sign * point[metric] < sign * best[-1][1]:
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
    sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
    if not best or sign * best[-1][1] > sign * value:
        return None
    if sign * best[0][1] <= sign * value:
        return best[0][0]
    for (low, first), (high, second) in pairwise(best):
        if sign * second <= sign * value:
            return low * math.exp(math.log(high / low) * (value - first) / (second - first))
    return None


def coders(points: Iterable[Point]) -> list[tuple[str, str]]:
    """Return the peers among points, as (name, setting), in order."""
    return list(dict.fromkeys((p["coder"], p["setting"]) for p in points if p["coder"] not in (OURS, FROZEN)))


def headline(points: list[Point]) -> list[dict[str, Any]]:
    """Return, for each number of references, peer and metric: who is better at our wire rate, and from where on.

    ``peer_at_our_rate`` is None when the peer has no picture at so low a rate, ``peer_passes_at_bits_per_s`` when it
    stays behind at every rate measured.
    """
    rows = []
    for ours in (point for point in points if point["coder"] == OURS):
        for name, setting in coders(points):
            theirs = [point for point in points if (point["coder"], point["setting"]) == (name, setting)]
            for metric in HEADLINE_METRICS:
                if metric not in ours:
                    continue
                best = curve(theirs, "wire_bits_per_s", metric)
                rows.append(
                    {
                        "references": ours["references"],
                        "peer": name,
                        "setting": setting,
                        "metric": metric,
                        "our_wire_bits_per_s": ours["wire_bits_per_s"],
                        "ours": ours[metric],
                        "peer_lowest_bits_per_s": best[0][0] if best else None,
                        "peer_at_our_rate": quality_at(best, ours["wire_bits_per_s"]),
                        "peer_passes_at_bits_per_s": rate_for(best, ours[metric], metric),
                    }
                )
    return rows
