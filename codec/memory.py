"""Reference pictures as either end computes them: once each, however often the set changes.

rgbs, tags -> ReferencePictures.set -> features of each -> memories (receiver), aligner (sender)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from codec.errors import ConfigError
from codec.frames import Rgb, image_from_rgb
from codec.loading import Model
from codec.model.generator import ReferenceFeatures, ReferenceMemory


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """One reference picture.

    Attributes:
        tag: what frames call it; 0 where they cannot.
        features: what the networks make of it.
        memory: of it alone.
    """

    tag: int
    features: ReferenceFeatures
    memory: ReferenceMemory


class ReferencePictures:
    """A set of reference pictures with what the networks make of each.

    Args:
        model: the networks.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._entries: dict[bytes, ReferenceEntry] = {}
        self._memories: dict[int, ReferenceMemory] | None = None

    @property
    def entries(self) -> list[ReferenceEntry]:
        """One for each picture, in order; the same picture twice is one."""
        return list(self._entries.values())

    def memories(self) -> dict[int, ReferenceMemory]:
        """Return what frames are rebuilt from, by the tag that they name: all references, with that one preferred.

        0 names none. Empty without references; put together once for each set.
        """
        if self._memories is None:
            self._memories = self._combine(self.entries)
        return self._memories

    def _combine(self, entries: list[ReferenceEntry]) -> dict[int, ReferenceMemory]:
        if not entries:
            return {}
        with torch.inference_mode():
            together = self.model.generator.combine([entry.features for entry in entries])
            named = {entry.tag: together.preferring(index, entry.memory) for index, entry in enumerate(entries)}
        return named | {0: together}

    def set(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        """Use these pictures from now on; only those that are new are computed.

        Args:
            rgbs: each uint8 (S, S, 3).
            tags: what frames call each; None counts them from 1 on.

        Raises:
            ConfigError: a picture has another size than the model's.
        """
        size = self.model.config.image_size
        entries: dict[bytes, ReferenceEntry] = {}
        for rgb, tag in zip(rgbs, range(1, len(rgbs) + 1) if tags is None else tags, strict=True):
            if rgb.shape != (size, size, 3):
                raise ConfigError(f"reference is {rgb.shape}; the model takes ({size}, {size}, 3)")
            name = rgb.tobytes()
            if name not in entries:
                known = self._entries.get(name)
                entries[name] = self._compute(rgb, tag) if known is None else replace(known, tag=tag)
        before, after = ([(name, entry.tag) for name, entry in each.items()] for each in (self._entries, entries))
        if before != after:
            self._entries, self._memories = entries, None

    def _compute(self, rgb: Rgb, tag: int) -> ReferenceEntry:
        generator = self.model.generator
        with torch.inference_mode():
            image_BCHW = image_from_rgb(rgb).to(self.model.device)
            features = generator.encode_reference(image_BCHW, generator.detect(image_BCHW))
            return ReferenceEntry(tag, features, generator.combine([features]))
