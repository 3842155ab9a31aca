"""Beside the pictures: whether a candidate is worth its bits, measured with the receiver's own generator.

    Candidate -> encode_picture, decode_picture -> CodedReference -> with and without it: the last pictures -> send or
    not

Slow (about a second): for a thread of its own. Where the generator is too slow for that, a candidate is judged by its
keypoints alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Sequence

import numpy as np

from codec.bitstream.picture import decode_picture, encode_picture
from codec.face import Picture
from sender.held import CodedReference, HeldReferences
from sender.reconstruct import Reconstructor
from sender.references import Candidate

logger = logging.getLogger(__name__)

SLOWEST_PICTURE_S = 0.4
"""A generator slower than this is not asked: it would take seconds of a processor that the call needs."""


class GainCheck:
    """Codes candidates and measures what they gain.

    Args:
        reconstructor: the receiver's generator; None judges by keypoints alone.
        quality: of the coded pictures, 0 to 100.
        least_gain: least fall of the structural error, averaged over the last pictures.
    """

    SAMPLE_INTERVAL_S = 0.75
    NUM_SAMPLES = 8

    def __init__(self, reconstructor: Reconstructor | None, quality: int, *, least_gain: float = 0.002) -> None:
        self._reconstructor = reconstructor
        self._quality = quality
        self._least_gain = least_gain
        self._samples: deque[Picture] = deque(maxlen=self.NUM_SAMPLES)
        self._sampled_s = float("-inf")

    def note_picture(self, rgb: Picture, time_s: float) -> None:
        """Keep a picture of the last six seconds, now and then, to measure with."""
        if time_s - self._sampled_s >= self.SAMPLE_INTERVAL_S:
            self._sampled_s = time_s
            self._samples.append(rgb)

    def code(self, candidate: Candidate) -> CodedReference:
        """Code a candidate.

        Raises:
            ReferenceImageError: it would be larger than a receiver accepts.
        """
        data = encode_picture(candidate.rgb, quality=self._quality)
        rgb = decode_picture(data, candidate.rgb.shape[0])
        return CodedReference(hashlib.sha256(data).hexdigest(), data, rgb, candidate)

    def check(self, candidate: Candidate, held: HeldReferences) -> CodedReference | None:
        """Code a candidate, and return it if it is worth its bits.

        Raises:
            ReferenceImageError: it would be larger than a receiver accepts.
        """
        reference = self.code(candidate)
        if held.used and self._is_affordable:
            gain = self._gain(held.used, held.with_one_more(reference), candidate.rgb)
            logger.debug("a reference of %d bytes gains %.4f", len(reference.data), gain)
            return reference if gain >= self._least_gain else None
        return reference

    @property
    def _is_affordable(self) -> bool:
        reconstructor = self._reconstructor
        return reconstructor is not None and (reconstructor.picture_s or 0.0) <= SLOWEST_PICTURE_S

    def _gain(self, before: Sequence[CodedReference], after: Sequence[CodedReference], rgb: Picture) -> float:
        """Return what a candidate gains for other pictures than itself: it would always gain by its own."""
        assert self._reconstructor is not None
        pictures = [picture for picture in self._samples if not np.array_equal(picture, rgb)]
        if not pictures:
            return 0.0
        return self._reconstructor.gain(pictures, [each.rgb for each in before], [each.rgb for each in after])
