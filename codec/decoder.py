"""The receiving half of the pipe: bytes to image (stages 5 to 2, then 8)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codec.bitstream.quantise import dequantise
from codec.bitstream.stream import StreamReader
from codec.errors import ReferenceImageError
from codec.frames import Rgb, rgb_from_image
from codec.loading import Model
from codec.memory import ReferencePictures
from codec.model.generator import Generated, ReferenceMemory
from codec.structs import CodedFrame, Keypoints


class Decoder:
    """Rebuild pictures from messages and reference pictures.

    ``parse`` is cheap and keeps the stream's prediction state; ``generate`` runs the network. They may be called from
    different threads.

    Args:
        model: the networks.
        pictures: where references are computed, for a decoder that shares them with an encoder.
    """

    def __init__(self, model: Model, pictures: ReferencePictures | None = None) -> None:
        self.model = model
        self.reader = StreamReader(model.config, model.sha256, model.priors)
        self._memories: dict[int, ReferenceMemory] = {}
        self._num_references = 0
        self._pictures = ReferencePictures(model) if pictures is None else pictures

    @property
    def num_references(self) -> int:
        """How many reference pictures it rebuilds from."""
        return self._num_references

    def set_references(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        """Use these reference pictures from now on; only those that are new are computed.

        Args:
            rgbs: each uint8 (S, S, 3).
            tags: what frames call each (``codec.references.reference_tags``); None counts them from 1 on.

        Raises:
            ConfigError: a picture has another size than the model's.
        """
        self._pictures.set(rgbs, tags)
        self._memories = self._pictures.memories()
        self._num_references = len(self._pictures.entries)

    def parse(self, payload: bytes) -> CodedFrame:
        """Read the newest frame of one message, the one after that which was given before; see ``parse_all``.

        Raises:
            CodecError: it cannot be decoded; see the tree in ``codec.errors``.
        """
        return self.reader.read(payload)

    def parse_all(self, payload: bytes, packets_since_last: int = 1) -> list[CodedFrame]:
        """Read all frames of one message that did not come before; see ``StreamReader.read_all``.

        Args:
            payload: of one packet.
            packets_since_last: 1, and one more for each packet in between that was lost: messages mostly do not tell
                their number.

        Raises:
            CodecError: it cannot be decoded; see the tree in ``codec.errors``.
        """
        return self.reader.read_all(payload, packets_since_last)

    def generate(self, frame: CodedFrame) -> Rgb:
        """Rebuild the picture of a frame, uint8 (S, S, 3).

        Raises:
            ReferenceImageError: there is no reference picture yet.
        """
        return rgb_from_image(self.generate_all(frame).image_BCHW)

    def generate_all(self, frame: CodedFrame) -> Generated:
        """Rebuild a frame and return all that the network made on the way.

        All but the face is taken from the reference that it names; from any, if it names none, or one that is not here.

        Raises:
            ReferenceImageError: there is no reference picture yet.
        """
        return self.generate_from(dequantise(frame.keypoints, self.model.config), frame.reference)

    def generate_from(self, keypoints: Keypoints, reference: int = 0) -> Generated:
        """Rebuild the picture of keypoints and return all that the network made on the way.

        Args:
            keypoints: a batch of one.
            reference: see ``CodedFrame``.

        Raises:
            ReferenceImageError: there is no reference picture yet.
        """
        memories = self._memories
        if not memories:
            raise ReferenceImageError("no reference picture yet")
        memory = memories.get(reference, memories[0])
        with torch.inference_mode():
            generated: Generated = self.model.generator(keypoints.to(self.model.device), memory)
        return generated

    def decode(self, payload: bytes) -> Rgb:
        """Read one message and rebuild its picture: ``generate(parse(payload))``."""
        return self.generate(self.parse(payload))
