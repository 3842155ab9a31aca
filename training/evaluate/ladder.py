"""Evaluation ``rd``: which rates, or qualities, and sizes a comparison codec is run at.

Mode, settings of the run, size of the pictures -> rungs
"""

from __future__ import annotations

from collections.abc import Iterator

from training.evaluate.config import RateDistortionConfig
from training.evaluate.peers import Mode, Rung, coded_side

# SVT-AV1 codes no smaller pictures.
SMALLEST_SIDE = 64
MOST_BITS_PER_SMALL_PIXEL, PLAN_FPS = 0.06, 25


def rungs(mode: Mode, config: RateDistortionConfig, size: int) -> Iterator[Rung]:
    """Give the steps of a ladder: the mode's own qualities, or the bitrates that the run asks for.

    Smaller pictures are left out at rates at which they have bits to spare (from 0.06 bits a pixel on, 25 a second):
    there whole ones are better for every peer.
    """
    own = dict(mode.ladder)
    for scale in config.scales:
        side = coded_side(size, scale)
        if side < min(SMALLEST_SIDE, size):
            continue
        for target in own.get(scale, ()) if mode.unit != "kbit/s" else config.rates:
            spare = 1000 * target > MOST_BITS_PER_SMALL_PIXEL * side * side * PLAN_FPS
            if mode.unit != "kbit/s" or scale == 1 or not spare:
                yield Rung(scale, target)
