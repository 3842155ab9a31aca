"""Reference pictures as either end computes them: once each, however often the set changes.

rgbs -> ReferencePictures.set -> features of each -> memory (receiver), aligner (sender)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codec.errors import ConfigError
from codec.frames import Rgb, image_from_rgb
from codec.loading import Model
from codec.model.generator import ReferenceFeatures


class ReferencePictures:
    """A set of reference pictures with what the networks make of each.

    Args:
        model: the networks.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._features: dict[bytes, ReferenceFeatures] = {}

    @property
    def features(self) -> list[ReferenceFeatures]:
        """Of each picture, in order; the same picture twice is one."""
        return list(self._features.values())

    def set(self, rgbs: Sequence[Rgb]) -> None:
        """Use these pictures from now on; only those that are new are computed.

        Args:
            rgbs: each uint8 (S, S, 3).

        Raises:
            ConfigError: a picture has another size than the model's.
        """
        size = self.model.config.image_size
        features: dict[bytes, ReferenceFeatures] = {}
        for rgb in rgbs:
            if rgb.shape != (size, size, 3):
                raise ConfigError(f"reference is {rgb.shape}; the model takes ({size}, {size}, 3)")
            name = rgb.tobytes()
            features[name] = self._features[name] if name in self._features else self._compute(rgb)
        self._features = features

    def _compute(self, rgb: Rgb) -> ReferenceFeatures:
        with torch.inference_mode():
            image_BCHW = image_from_rgb(rgb).to(self.model.device)
            return self.model.generator.encode_reference(image_BCHW, self.model.generator.detect(image_BCHW))
