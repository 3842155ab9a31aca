"""Golden bytes of every message kind; ``python tests/bitstream/test_wire_golden.py`` rewrites the fixtures."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from codec.bitstream.message import ControlAssembler, pack_control
from codec.bitstream.stream import StreamReader, StreamWriter, peek
from codec.config import CodecConfig
from codec.structs import (
    Bye,
    Clock,
    ControlMessage,
    Hello,
    QuantisedKeypoints,
    ReferencePicture,
    ReferenceStatus,
)

FIXTURES = Path(__file__).parent.parent / "fixtures" / "wire"
CONFIG = CodecConfig(name="golden", num_keypoints=20, location_bits=9, strength_bits=5)
MODEL_SHA256 = hashlib.sha256(b"golden model").hexdigest()
PICTURE = b"".join(hashlib.sha256(index.to_bytes(2, "big")).digest() for index in range(510))
OTHER_SHA256 = hashlib.sha256(b"another picture").hexdigest()
PICTURE_SHA256 = hashlib.sha256(PICTURE).hexdigest()


def motion(index: int) -> QuantisedKeypoints:
    """Return frame ``index`` of a face made of integers alone, so that no rounding enters the golden bytes."""
    k = np.arange(20)
    x = 60 + 20 * k + (k * index) % 3
    y = 450 - 19 * k + (k + index) % 2
    strength = 9 + (k % 5) + (k + index) % 7 // 6
    return QuantisedKeypoints(np.stack([x, y, strength], axis=1).astype(np.int32))


def jump() -> QuantisedKeypoints:
    """Return a frame with one keypoint far from where ``motion`` has it."""
    values_K3 = motion(4).values_K3.copy()
    values_K3[7] = 511, 0, 31
    return QuantisedKeypoints(values_K3)


def golden_frames() -> dict[str, bytes]:
    writer = StreamWriter(CONFIG, MODEL_SHA256, first_number=65_534)
    return {
        "frame_1_keyframe": writer.write(motion(0)).payload,
        "frame_2_predicted": writer.write(motion(1)).payload,
        "frame_3_wrapped": writer.write(motion(2)).payload,
        "frame_4_unchanged": writer.write(motion(2)).payload,
        "frame_5_predicted_from_confirmed": writer.write(motion(4), base_number=65_535).payload,
        "frame_6_jump": writer.write(jump()).payload,
        "frame_7_forced_keyframe": writer.write(motion(6), force_keyframe=True).payload,
    }


GOLDEN_KEYPOINTS = [motion(0), motion(1), motion(2), motion(2), motion(4), jump(), motion(6)]

CONTROL: dict[str, ControlMessage] = {
    "control_hello_sender": Hello(1, MODEL_SHA256, "golden", "sender", (), 4),
    "control_hello_receiver": Hello(1, MODEL_SHA256, "golden", "receiver", (PICTURE_SHA256, OTHER_SHA256), 4),
    "control_reference_accepted": ReferenceStatus(PICTURE_SHA256, True, ""),
    "control_reference_refused": ReferenceStatus(PICTURE_SHA256, False, "no face in the picture"),
    "control_clock_video": Clock("video", 65_535, 2_700_000, 90_000, 1_767_225_600_123_456),
    "control_clock_audio": Clock("audio", 0, 1_440_000, 48_000, 1_767_225_600_123_456),
    "control_bye": Bye("the camera was closed, à bientôt"),
}


def golden_control() -> dict[str, bytes]:
    messages = {name: pack_control(message)[0] for name, message in CONTROL.items()}
    parts = pack_control(ReferencePicture(PICTURE_SHA256, PICTURE))
    return messages | {f"control_picture_part_{index}": part for index, part in enumerate(parts, 1)}


def golden() -> dict[str, bytes]:
    return golden_frames() | golden_control()


@pytest.mark.parametrize("name", golden())
def test_writing_gives_the_golden_bytes(name: str) -> None:
    data = golden()[name]
    assert data == (FIXTURES / f"{name}.bin").read_bytes()
    assert data[0] == 0x10  # plain: the bytes do not depend on the version of zstd


def test_every_fixture_is_tested() -> None:
    names = {path.stem for path in FIXTURES.glob("*.bin")}
    assert names == set(golden()) | {"control_bye_zstd"}


def test_reading_the_golden_frames() -> None:
    reader = StreamReader(CONFIG, MODEL_SHA256)
    numbers, bases = [], []
    for name, keypoints in zip(golden_frames(), GOLDEN_KEYPOINTS, strict=True):
        payload = (FIXTURES / f"{name}.bin").read_bytes()
        frame = reader.read(payload)
        np.testing.assert_array_equal(frame.keypoints.values_K3, keypoints.values_K3)
        assert (peek(payload).number, peek(payload).base) == (frame.number, frame.base)
        numbers.append(frame.number)
        bases.append(frame.base)
    assert numbers == [65_534, 65_535, 0, 1, 2, 3, 4]
    assert bases == [None, 65_534, 65_535, 0, 65_535, 2, None]


@pytest.mark.parametrize("name", CONTROL)
def test_reading_the_golden_messages(name: str) -> None:
    assert ControlAssembler().feed((FIXTURES / f"{name}.bin").read_bytes()) == CONTROL[name]


def test_reading_the_golden_picture() -> None:
    assembler = ControlAssembler()
    messages = [assembler.feed((FIXTURES / f"control_picture_part_{i}.bin").read_bytes()) for i in (1, 2)]
    assert messages == [None, ReferencePicture(PICTURE_SHA256, PICTURE)]


def test_reading_a_compressed_message() -> None:
    # Not rewritten: another zstd may find another form, but each must read this one.
    payload = (FIXTURES / "control_bye_zstd.bin").read_bytes()
    assert payload[0] == 0x11
    assert ControlAssembler().feed(payload) == Bye("again and " * 40)


def rewrite() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, data in golden().items():
        (FIXTURES / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    rewrite()
    sys.stdout.write(f"{len(golden())} fixtures\n")
