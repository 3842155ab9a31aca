"""The sending half of the pipe: image to bytes (stages 2 to 5), its keypoints aligned on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codec.bitstream.stream import StreamWriter
from codec.errors import ConfigError
from codec.frames import Rgb, image_from_rgb
from codec.loading import Model
from codec.memory import ReferencePictures
from codec.model.alignment import Aligned, Aligner
from codec.structs import EncodedFrame, Keypoints


class Encoder:
    """Code pictures as keypoints, one message a picture.

    An encoder that is told the receiver's references aligns keypoints to them: better pictures of the same bits, for
    some 10 ms a picture on a CPU (see ``codec.model.alignment``).

    Args:
        model: the networks.
        repeats: frames before it that each message sends once more, against loss.
        frames_per_packet: pictures that share a message: fewer headers, more delay.
        pictures: where references are computed, for an encoder that shares them with a decoder.

    Raises:
        ConfigError: a message would have too many frames.
    """

    def __init__(
        self,
        model: Model,
        *,
        repeats: int = 0,
        frames_per_packet: int = 1,
        pictures: ReferencePictures | None = None,
    ) -> None:
        self.model = model
        self.writer = StreamWriter(
            model.config, model.sha256, model.priors, repeats=repeats, frames_per_packet=frames_per_packet
        )
        self._references = ReferencePictures(model) if pictures is None else pictures
        self._aligner: Aligner | None = None
        self._tags: list[int] = []
        self._before: Aligned | None = None
        self._used: int | None = None

    @property
    def aligns(self) -> bool:
        """Whether there are references to align keypoints to."""
        return self._aligner is not None

    def set_references(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        """Align keypoints to these pictures, which the receiver holds, from now on; to none by an empty sequence.

        A model that carries no pixels by its keypoints has nothing to align.

        Args:
            rgbs: each uint8 (S, S, 3), as the receiver has them.
            tags: what frames call each at the receiver; None counts them from 1 on.

        Raises:
            ConfigError: a picture has another size than the model's.
        """
        self._aligner, self._before, self._used = None, None, None
        if self.model.config.can_align:
            self._references.set(rgbs, tags)
            entries = self._references.entries
            self._tags = [entry.tag for entry in entries]
            features, alone = [entry.features for entry in entries], [entry.memory for entry in entries]
            self._aligner = Aligner(self.model.generator, features, alone) if entries else None

    def encode(self, rgb: Rgb, force_keyframe: bool = False, base_number: int | None = None) -> EncodedFrame:
        """Code one picture.

        Args:
            rgb: uint8 (S, S, 3), S the config's ``image_size``.
            force_keyframe: code it so that it can be decoded on its own.
            base_number: code it from this frame, which the receiver has said to have, if it is still kept.

        Raises:
            ConfigError: the picture has another size.
        """
        keypoints, reference = self.align(self.detect(rgb), rgb)
        return self.write(keypoints, reference, force_keyframe=force_keyframe, base_number=base_number)

    def write(
        self,
        keypoints: Keypoints,
        reference: int = 0,
        *,
        force_keyframe: bool = False,
        base_number: int | None = None,
    ) -> EncodedFrame:
        """Code what ``align`` found; see ``encode``."""
        if base_number is not None and not self.writer.holds(base_number):
            base_number = None
        return self.writer.write(keypoints, reference=reference, force_keyframe=force_keyframe, base_number=base_number)

    def detect(self, rgb: Rgb) -> Keypoints:
        """Find a picture's keypoints, on the CPU, a batch of one.

        Raises:
            ConfigError: the picture has another size than the model's.
        """
        size = self.model.config.image_size
        if rgb.shape != (size, size, 3):
            raise ConfigError(f"picture is {rgb.shape}; the model codes ({size}, {size}, 3)")
        with torch.inference_mode():
            return self.model.generator.detect(image_from_rgb(rgb).to(self.model.device)).to("cpu")

    def align(self, keypoints: Keypoints, rgb: Rgb) -> tuple[Keypoints, int]:
        """Choose a reference for a picture, and move the keypoints that ``detect`` found so that it meets the picture.

        Pictures should come in order: keypoints of one that keeps still are steadied by those of the one before.

        Returns:
            The keypoints, and the reference's tag; without references the keypoints as they are, and 0.
        """
        if self._aligner is None:
            return keypoints, 0
        with torch.inference_mode():
            image_BCHW = image_from_rgb(rgb).to(self.model.device)
            found = keypoints.to(self.model.device)
            self._before = self._aligner.align(found, image_BCHW, self._before)
            self._used = self._before.reference
            return self._before.keypoints.to("cpu"), self._tags[self._used]

    def choose(self, rgb: Rgb) -> int:
        """Choose a reference for a picture whose keypoints there is no time to align.

        Returns:
            The tag of the one that is nearest to the picture as it is; without references 0.
        """
        self._before = None
        if self._aligner is None:
            return 0
        self._used = self._aligner.nearest(image_from_rgb(rgb).to(self.model.device), self._used)
        return self._tags[self._used]
