"""Evaluation, the codec under test: what a receiver makes of a clip that a sender sends.

    Clip, references -> Encoder -> payloads -> Decoder.parse -> CodedFrames -> Decoder.generate -> pictures

Frames are encoded and parsed whole and in order, for each set of references, for the sender aligns keypoints to what
the receiver holds; the generator runs for the frames that are asked for. The frozen picture is the codec of zero bits
beside it: for each frame the reference that is nearest to it in mean squared error, repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codec import Decoder, Encoder, Model
from codec.bitstream.picture import decode_picture, encode_picture
from codec.memory import ReferencePictures
from codec.model.generator import Generated
from codec.structs import CodedFrame
from training.evaluate.clips import Clip, Frames, Picture
from training.evaluate.metrics.pixels import mean_squared_error

PACKET_OVERHEAD_BYTES = 68


class Transmission:
    """One clip through the shipped encoder and decoder.

    Args:
        clip: to send.
        model: the networks of both ends.
        references: pictures that both ends hold.
        align: whether the sender aligns keypoints to them.
    """

    def __init__(self, clip: Clip, model: Model, references: Sequence[Picture], *, align: bool = True) -> None:
        pictures = ReferencePictures(model)
        encoder, self._decoder = Encoder(model, pictures=pictures), Decoder(model, pictures)
        self._decoder.set_references(references)
        if align:
            encoder.set_references(references)
        self.payload_bytes: list[int] = []
        self._coded: list[CodedFrame] = []
        for rgb in clip.frames_NSS3:
            payload = encoder.encode(rgb).payload
            self.payload_bytes.append(len(payload))
            self._coded.append(self._decoder.parse(payload))

    @property
    def bits_per_frame(self) -> float:
        """Mean bits of payload a frame, the keyframe counted."""
        return 8 * float(np.mean(self.payload_bytes))

    def payload_bits_per_s(self, fps: float) -> float:
        """Return bits of payload a second."""
        return self.bits_per_frame * fps

    def wire_bits_per_s(self, fps: float) -> float:
        """Return bits a second with each frame's 68 bytes of headers (IPv4, UDP, RTP, extensions, GCM tag)."""
        return (self.bits_per_frame + 8 * PACKET_OVERHEAD_BYTES) * fps

    def pictures(self, positions: Sequence[int]) -> Frames:
        """Return the pictures of some frames, (N, S, S, 3)."""
        return np.stack([self._decoder.generate(self._coded[position]) for position in positions])

    def generated(self, position: int) -> Generated:
        """Return all that the generator makes of one frame."""
        return self._decoder.generate_all(self._coded[position])


def as_sent(picture: Picture) -> tuple[Picture, int]:
    """Return a reference picture as it arrives over the control channel, and its size in bytes."""
    data = encode_picture(picture)
    return decode_picture(data, picture.shape[0]), len(data)


def nearest_references(frames_NSS3: Frames, references_RSS3: Frames) -> list[int]:
    """Return for each frame the index of the reference with the least mean squared error."""
    errors_RN = np.stack([mean_squared_error(frames_NSS3, reference[None]) for reference in references_RSS3])
    return [int(index) for index in errors_RN.argmin(axis=0)]
