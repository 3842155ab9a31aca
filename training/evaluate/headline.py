"""Evaluation ``rd``, the honest headline: who is better at the rate of our call, by how much, and from where on.

    mean points -> comparisons (a row for each count of our bits, number of references, peer and metric) -> sentences
    mean points -> bd_rates

Our bits are counted three times: with the references held beforehand, and with the references sent at the start of a
call of 10 s and of 300 s. A peer's are the same each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.evaluate.curves import (
    HELD,
    RATES,
    bd_rate_percent,
    coders,
    curve,
    metrics_of,
    of_coder,
    quality_at,
    rate_for,
)
from training.evaluate.labels import better_sign, in_order, label_of
from training.evaluate.rate_distortion import FROZEN, OURS, Point

COUNTS = RATES[1:]
# The claim stands on these two; the table names what else the points have of the others.
CLAIM_METRICS = ("lpips_alex", "dists")
COUNT_NAMES = {
    "wire_bits_per_s": "references held beforehand",
    "wire_bits_per_s_over_10_s": "references sent, spread over 10 s",
    "wire_bits_per_s_over_300_s": "references sent, spread over 5 minutes",
}

Comparison = dict[str, Any]


def comparisons(points: list[Point]) -> list[Comparison]:
    """Return, for each count, number of references, peer and metric: who is better at our wire rate, and from where on.

    ``peer_at_our_rate`` is None when the peer has no picture at so low a rate, ``peer_passes_at_bits_per_s`` when it
    stays behind at every rate measured. ``our_bits_percent`` is our rate for that quality less the peer's, in percent
    of the peer's: -60 where we need 40% of its bits.
    """
    metrics = in_order(metrics_of(of_coder(points, OURS)))
    return [
        _compare(ours, of_coder(points, name, setting), count, metric)
        for count in COUNTS
        for ours in of_coder(points, OURS)
        for name, setting in coders(points)
        for metric in metrics
        if count in ours and metric in ours
    ]


def _compare(ours: Point, theirs: list[Point], count: str, metric: str) -> Comparison:
    best = curve(theirs, HELD, metric)
    passes = rate_for(best, ours[metric], metric)
    return {
        "count": count,
        "references": ours["references"],
        "peer": theirs[0]["coder"],
        "setting": theirs[0]["setting"],
        "metric": metric,
        "our_bits_per_s": ours[count],
        "ours": ours[metric],
        "peer_lowest_bits_per_s": best[0][0] if best else None,
        "peer_at_lowest": best[0][1] if best else None,
        "peer_at_our_rate": quality_at(best, ours[count]),
        "peer_passes_at_bits_per_s": passes,
        "our_bits_percent": None if passes is None else 100 * (ours[count] / passes - 1),
    }


def bd_rates(points: list[Point]) -> list[dict[str, Any]]:
    """Return our BD-rate against each peer, over the numbers of references, percent; negative where we need fewer bits.

    With the references held beforehand our rate is one and the same for every number of them: there is no curve, and
    ``comparisons`` says what can be said.
    """
    rows = []
    for count in COUNTS[1:]:
        for name, setting in coders(points):
            for metric in in_order(metrics_of(of_coder(points, OURS))):
                ours = curve((point for point in of_coder(points, OURS) if count in point), count, metric)
                theirs = curve(of_coder(points, name, setting), HELD, metric)
                percent = bd_rate_percent(theirs, ours, metric)
                row = {"count": count, "peer": name, "setting": setting, "metric": metric, "bd_rate_percent": percent}
                rows.append(row if percent is not None else {**row, "reason": _why_none(theirs, ours)})
    return rows


def _why_none(theirs: list[tuple[float, float]], ours: list[tuple[float, float]]) -> str:
    if len(ours) < 2:
        return "more references make our picture no better"
    return "the peer has one point" if len(theirs) < 2 else "no quality that both reach"


def sentences(points: list[Point], rows: list[Comparison]) -> Iterator[str]:
    """Say the headline, a paragraph for each metric of the claim that was measured.

    Args:
        points: means.
        rows: their comparisons.
    """
    most = max((point["references"] for point in of_coder(points, OURS)), default=0)
    for metric in CLAIM_METRICS:
        held = [row for row in rows if (row["count"], row["references"], row["metric"]) == (HELD, most, metric)]
        if held:
            yield " ".join(_paragraph(points, held, most, metric))


def _paragraph(points: list[Point], rows: list[Comparison], references: int, metric: str) -> Iterator[str]:
    label, ours = label_of(metric), rows[0]["ours"]
    digits = label.digits
    rate = rows[0]["our_bits_per_s"] / 1000
    yield f"At the wire rate of our call, {rate:.1f} kbit/s with {references} reference(s) held beforehand,"
    yield f"{OURS} has {label.long} {ours:.{digits}f}."
    for setting, words in (("realtime", "in real-time settings"), ("offline", "in their best offline settings")):
        of_setting = [row for row in rows if row["setting"] == setting]
        if of_setting:
            yield _verdict(of_setting, metric, words)
    frozen = [point for point in of_coder(points, FROZEN) if point["references"] == references and metric in point]
    for point in frozen:
        word = _better_or_worse(ours, point[metric], metric)
        yield f"The frozen picture, at zero bits, has {point[metric]:.{digits}f}: ours is {word}."


def _verdict(rows: list[Comparison], metric: str, words: str) -> str:
    sign, ours, digits = better_sign(metric), rows[0]["ours"], label_of(metric).digits
    told = []
    absent = [row["peer"] for row in rows if row["peer_at_our_rate"] is None]
    if absent:
        told.append(f"{', '.join(absent)} cannot go so low")
        lowest = min((row for row in rows if row["peer_at_lowest"] is not None), key=_lowest, default=None)
        if lowest is not None and len(absent) == len(rows):
            at_lowest = f"{_lowest(lowest) / 1000:.1f} kbit/s and {lowest['peer_at_lowest']:.{digits}f}"
            told.append(f"the lowest is {lowest['peer']} with {at_lowest}")
    there = [row for row in rows if row["peer_at_our_rate"] is not None]
    if there:
        best = min(there, key=lambda row: sign * float(row["peer_at_our_rate"]))
        value = float(best["peer_at_our_rate"])
        word = _better_or_worse(ours, value, metric)
        told.append(f"the best at that rate is {best['peer']} with {value:.{digits}f}: ours is {word}")
    passing = [row for row in rows if row["peer_passes_at_bits_per_s"] is not None]
    if passing:
        first = min(passing, key=lambda row: float(row["peer_passes_at_bits_per_s"]))
        kbit_per_s = float(first["peer_passes_at_bits_per_s"]) / 1000
        told.append(f"the first to be as good as ours is {first['peer']}, at {kbit_per_s:.1f} kbit/s")
    else:
        told.append("none is as good as ours at any rate measured")
    return f"Of the others {words}: {'; '.join(told)}."


def _lowest(row: Comparison) -> float:
    return float(row["peer_lowest_bits_per_s"])


def _better_or_worse(ours: float, theirs: float, metric: str) -> str:
    """Say how ours stands to theirs, such as ``32% lower (better)``."""
    percent = 100 * (ours / theirs - 1) if theirs else 0.0
    if abs(percent) < 0.5:
        return "the same"
    good = (percent < 0) != (better_sign(metric) < 0)
    return f"{abs(percent):.0f}% {'lower' if percent < 0 else 'higher'} ({'better' if good else 'worse'})"
