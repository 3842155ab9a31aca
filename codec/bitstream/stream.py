"""Stage 4 and 5 of 8, frame by frame: the state that sender and receiver keep alike.

    QuantisedKeypoints --StreamWriter.write--> EncodedFrame.payload --StreamReader.read--> CodedFrame

A keyframe stands alone. A predicted frame names its base, one of the ``WINDOW`` frames before it. Both ends keep the
last ``WINDOW`` frames, and a keyframe drops none of them, so that frames in flight around it can still be read. Shape
legend: K keypoints; 3 = (x, y, strength).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.entropy import choose_scales, code_differences, pack_values, read_differences, unpack_values
from codec.bitstream.fields import MODEL_BYTES, NUM_NUMBERS, WINDOW
from codec.bitstream.message import FrameFields, frame_from_bytes, frame_to_bytes
from codec.bitstream.pack import pack, unpack
from codec.bitstream.predict import differences, reconstruct
from codec.bitstream.quantise import check_values, num_levels, value_bits
from codec.config import CodecConfig
from codec.errors import ConfigError, MissingBaseError, ModelMismatchError
from codec.structs import CodedFrame, EncodedFrame, Integers, QuantisedKeypoints

MAX_FRAME_BYTES = 1024


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What a payload says of itself without any state.

    Attributes:
        number: frame counter modulo 2**16.
        base: number of the frame that it is predicted from, or None for a keyframe.
    """

    number: int
    base: int | None

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame can be decoded on its own."""
        return self.base is None


class FrameWindow:
    """The last ``WINDOW`` frames that came, by number."""

    def __init__(self) -> None:
        self._frames: dict[int, Integers] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._frames

    def __getitem__(self, number: int) -> Integers:
        return self._frames[number]

    def add(self, number: int, values_K3: Integers) -> None:
        """Keep a frame and drop the one that came first of more than ``WINDOW``.

        Another frame of the same number comes from a sender that began anew: its stream shares no frame with what is
        kept.
        """
        if number in self._frames and not np.array_equal(self._frames[number], values_K3):
            self._frames.clear()
        self._frames[number] = values_K3.copy()
        if len(self._frames) > WINDOW:
            del self._frames[next(iter(self._frames))]


class StreamWriter:
    """Codes frames one after the other.

    Args:
        config: of the model.
        model_sha256: of its weights, 64 hex digits.
        first_number: number of the first frame.
    """

    def __init__(self, config: CodecConfig, model_sha256: str, *, first_number: int = 0) -> None:
        self._config = config
        self._model = _model_identity(model_sha256)
        self._next_number = first_number % NUM_NUMBERS
        self._window = FrameWindow()

    def write(
        self, quantised: QuantisedKeypoints, *, force_keyframe: bool = False, base_number: int | None = None
    ) -> EncodedFrame:
        """Code one frame: predicted where that is shorter, else as a keyframe.

        Args:
            quantised: the frame's keypoints.
            force_keyframe: write a keyframe whatever it costs.
            base_number: predict from this frame (say, one that the receiver has confirmed) instead of the one before.

        Raises:
            ConfigError: values out of range, or ``base_number`` is not one of the last ``WINDOW`` frames.
        """
        values_K3 = quantised.values_K3
        check_values(values_K3, self._config)
        number = self._next_number
        if base_number is None:
            base_number = (number - 1) % NUM_NUMBERS
        elif base_number not in self._window:
            raise ConfigError(f"base_number is {base_number}; it must be one of the last {WINDOW} frames' numbers")
        payload = self._keyframe(number, values_K3)
        is_keyframe = True
        if base_number in self._window and not force_keyframe:
            predicted = self._predicted(number, values_K3, base_number)
            if len(predicted) < len(payload):
                payload, is_keyframe = predicted, False
        self._window.add(number, values_K3.astype(np.int32))
        self._next_number = (number + 1) % NUM_NUMBERS
        return EncodedFrame(payload, number, is_keyframe, quantised)

    def holds(self, number: int) -> bool:
        """Return whether a frame is still in the window, so that ``base_number`` may name it."""
        return number in self._window

    def _keyframe(self, number: int, values_K3: Integers) -> bytes:
        bits = value_bits(self._config) * self._config.num_keypoints
        coded = pack_values(values_K3.ravel().tolist(), bits)
        return pack(frame_to_bytes(FrameFields(number, self._model, None, coded)))

    def _predicted(self, number: int, values_K3: Integers, base_number: int) -> bytes:
        zigzag_3K = differences(values_K3, self._window[base_number])
        coded = code_differences(zigzag_3K, choose_scales(zigzag_3K))
        return pack(frame_to_bytes(FrameFields(number, b"", base_number, coded)))


class StreamReader:
    """Reads frames in any order, as long as their bases came before them.

    Args:
        config: of the model.
        model_sha256: of its weights, 64 hex digits.
    """

    def __init__(self, config: CodecConfig, model_sha256: str) -> None:
        self._config = config
        self._model = _model_identity(model_sha256)
        self._window = FrameWindow()

    def read(self, payload: bytes) -> CodedFrame:
        """Read one frame; a duplicate gives the same frame again. After an error the state is as before.

        Raises:
            BitstreamError: truncated, corrupt or oversized.
            VersionError: another wire version.
            ModelMismatchError: a keyframe of another model.
            MissingBaseError: the base did not come; ask for a keyframe.
        """
        fields = _read_fields(payload)
        values_K3 = self._keyframe(fields) if fields.base is None else self._predicted(fields, fields.base)
        self._window.add(fields.number, values_K3)
        return CodedFrame(fields.number, fields.base, QuantisedKeypoints(values_K3))

    def _keyframe(self, fields: FrameFields) -> Integers:
        if fields.model != self._model:
            raise ModelMismatchError(
                f"frame was coded for model {fields.model.hex()}; the one loaded is {self._model.hex()}"
            )
        num_keypoints = self._config.num_keypoints
        values = unpack_values(fields.coded, value_bits(self._config) * num_keypoints)
        return np.array(values, dtype=np.int32).reshape(num_keypoints, 3)

    def _predicted(self, fields: FrameFields, base: int) -> Integers:
        if base not in self._window:
            if fields.number in self._window:  # a late duplicate
                return self._window[fields.number].copy()
            raise MissingBaseError(f"frame {fields.number} is predicted from frame {base}, which never came")
        zigzag_3K = read_differences(fields.coded, self._config.num_keypoints)
        return reconstruct(zigzag_3K, self._window[base], num_levels(self._config))


def peek(payload: bytes) -> FrameHead:
    """Return number and base of a frame without decoding it.

    Raises:
        BitstreamError: truncated, corrupt or oversized.
        VersionError: another wire version.
    """
    fields = _read_fields(payload)
    return FrameHead(fields.number, fields.base)


def _read_fields(payload: bytes) -> FrameFields:
    return frame_from_bytes(unpack(payload, MAX_FRAME_BYTES))


def _model_identity(model_sha256: str) -> bytes:
    try:
        digest = bytes.fromhex(model_sha256)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ConfigError(f"model_sha256 is {model_sha256!r}; it must be 64 hex digits")
    return digest[:MODEL_BYTES]
