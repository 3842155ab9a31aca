"""The sending half of the pipe: image to bytes (stages 2 to 5)."""

from __future__ import annotations

import torch

from codec.bitstream.quantise import quantise
from codec.bitstream.stream import StreamWriter
from codec.errors import ConfigError
from codec.frames import Rgb, image_from_rgb
from codec.loading import Model
from codec.structs import EncodedFrame, Keypoints


class Encoder:
    """Code pictures as keypoints, one message a picture.

    Args:
        model: the networks.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.writer = StreamWriter(model.config, model.sha256)

    def encode(self, rgb: Rgb, force_keyframe: bool = False) -> EncodedFrame:
        """Code one picture.

        Args:
            rgb: uint8 (S, S, 3), S the config's ``image_size``.
            force_keyframe: code it so that it can be decoded on its own.

        Raises:
            ConfigError: the picture has another size.
        """
        return self.writer.write(quantise(self.detect(rgb), self.model.config), force_keyframe=force_keyframe)

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
