"""The sending half of the pipe: image to bytes (stages 2 to 5)."""

from __future__ import annotations

import torch

from codec.bitstream.stream import StreamWriter
from codec.errors import ConfigError
from codec.frames import Rgb, image_from_rgb
from codec.loading import Model
from codec.structs import EncodedFrame, Keypoints


class Encoder:
    """Code pictures as keypoints, one message a picture.

    Args:
        model: the networks.
        repeats: frames before it that each message sends once more, against loss.
        frames_per_packet: pictures that share a message: fewer headers, more delay.

    Raises:
        ConfigError: a message would have too many frames.
    """

    def __init__(self, model: Model, *, repeats: int = 0, frames_per_packet: int = 1) -> None:
        self.model = model
        self.writer = StreamWriter(
            model.config, model.sha256, model.priors, repeats=repeats, frames_per_packet=frames_per_packet
        )

    def encode(self, rgb: Rgb, force_keyframe: bool = False, base_number: int | None = None) -> EncodedFrame:
        """Code one picture.

        Args:
            rgb: uint8 (S, S, 3), S the config's ``image_size``.
            force_keyframe: code it so that it can be decoded on its own.
            base_number: code it from this frame, which the receiver has said to have, if it is still kept.

        Raises:
            ConfigError: the picture has another size.
        """
        return self.write(self.detect(rgb), force_keyframe=force_keyframe, base_number=base_number)

    def write(
        self, keypoints: Keypoints, *, force_keyframe: bool = False, base_number: int | None = None
    ) -> EncodedFrame:
        """Code the keypoints that ``detect`` found; see ``encode``."""
        if base_number is not None and not self.writer.holds(base_number):
            base_number = None
        return self.writer.write(keypoints, force_keyframe=force_keyframe, base_number=base_number)

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
