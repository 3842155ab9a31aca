"""The values that pass between the stages of the pipe.

Shape legend: B batch, K keypoints, C channels or coordinates (x, y), H height, W width, R references.
Coordinates are in [-1, 1], x to the right and y downwards (see ``codec.model.grid``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Keypoints of a batch of images.

    Attributes:
        locations_BKC: (x, y) in [-1, 1], float.
        strengths_BK: in [0, 1], float.
    """

    locations_BKC: Tensor
    strengths_BK: Tensor

    def to(self, device: torch.device | str) -> Keypoints:
        """Return the same keypoints on another device."""
        return Keypoints(self.locations_BKC.to(device), self.strengths_BK.to(device))

    def __getitem__(self, index: slice) -> Keypoints:
        """Return a slice of the batch."""
        return Keypoints(self.locations_BKC[index], self.strengths_BK[index])


@dataclass(frozen=True, slots=True)
class QuantisedKeypoints:
    """Keypoints of one image as integers: the only thing that the bitstream codes.

    Attributes:
        values_K3: int32 of (x, y, strength); x and y in [0, 2**location_bits), strength in
            [0, 2**strength_bits).
    """

    values_K3: Integers


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """One frame of the stream, as its message carries it.

    Attributes:
        number: frame counter modulo 2**16.
        base: number of the frame that this one is predicted from, or None for a keyframe.
        keypoints: the frame's quantised keypoints (already reconstructed, never differences).
        reference: tag of the nearest reference (``codec.references.reference_tags``), which gives all but the face; 0
            for none: all are alike.
        is_repeated: whether its message repeats it because its own may have been lost.
        is_concealed: whether the receiver guessed it, because it did not come in time.
        is_interpolated: whether its message leaves it to the frames around it.
    """

    number: int
    base: int | None
    keypoints: QuantisedKeypoints
    reference: int = 0
    is_repeated: bool = False
    is_concealed: bool = False
    is_interpolated: bool = False

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame can be decoded on its own."""
        return self.base is None


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """What the encoder gives for one picture.

    Attributes:
        payload: bytes of the message, one RTP payload.
        number: frame counter modulo 2**16.
        is_keyframe: whether the payload can be decoded on its own.
        keypoints: the quantised keypoints that the payload carries; without payload those that it may carry.
        reference: tag of the reference that they were aligned to; 0 for none.
        is_aligned: whether they were aligned to the receiver's references.
    """

    payload: bytes
    number: int
    is_keyframe: bool
    keypoints: QuantisedKeypoints
    reference: int = 0
    is_aligned: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    """First message each way on the control channel: who speaks, and what it holds.

    Attributes:
        wire_version: bitstream version spoken.
        model_sha256: SHA-256 of the weights, 64 hex digits.
        config_name: name of the codec config, for people.
        role: "sender" or "receiver".
        reference_sha256s: SHA-256 of each reference picture held (of its coded bytes).
        max_references: how many references the speaker can hold.
        priors_sha256: SHA-256 of the bitstream's priors, 64 hex digits.
    """

    wire_version: int
    model_sha256: str
    config_name: str
    role: str
    reference_sha256s: tuple[str, ...]
    max_references: int
    priors_sha256: str


@dataclass(frozen=True, slots=True)
class ReferencePicture:
    """A coded reference picture on its way to the receiver.

    Attributes:
        sha256: SHA-256 of ``data``, 64 hex digits.
        data: the picture's file bytes (AVIF, WebP, JPEG or PNG).
    """

    sha256: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ReferenceStatus:
    """The receiver's word on one reference picture.

    Attributes:
        sha256: the picture's hash.
        accepted: whether it is now in the receiver's set.
        reason: why not, for people; empty when accepted.
    """

    sha256: str
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Clock:
    """Ties a media timeline to the sender's capture clock.

    Attributes:
        media: "video" or "audio".
        frame_number: the video frame it speaks of (modulo 2**16); 0 for audio.
        pts: the frame's timestamp in units of 1 / ``clock_rate_hz`` seconds.
        clock_rate_hz: 90000 for video, 48000 for audio.
        capture_time_us: microseconds since the epoch at which the frame was captured.
    """

    media: str
    frame_number: int
    pts: int
    clock_rate_hz: int
    capture_time_us: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The speaker leaves or refuses the call.

    Attributes:
        reason: one line for people.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ReferenceSelection:
    """The sender's pictures that are in use from now on; those not named are forgotten.

    Attributes:
        sha256s: hash of each.
    """

    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """No picture can be sent for now: the last one stays on screen, and people are told.

    Attributes:
        reason: one line for people; empty when pictures go on.
    """

    reason: str


ControlMessage = Hello | ReferencePicture | ReferenceStatus | Clock | Bye | ReferenceSelection | Hold
