from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.fields import WINDOW
from codec.bitstream.message import FrameFields, frame_to_bytes
from codec.bitstream.pack import pack
from codec.bitstream.stream import MAX_FRAME_BYTES, StreamReader, StreamWriter, peek
from codec.config import CodecConfig
from codec.errors import BitstreamError, ConfigError, MissingBaseError, ModelMismatchError
from codec.structs import CodedFrame, EncodedFrame, QuantisedKeypoints

CONFIG = CodecConfig(name="test")
MODEL_SHA256 = "0123456789abcdef" * 4


def walk(num_frames: int, seed: int = 0, step: int = 2) -> list[QuantisedKeypoints]:
    """A random walk of keypoints, far from the ends of the range."""
    rng = np.random.default_rng(seed)
    steps_NK3 = rng.integers(-step, step + 1, (num_frames, 20, 3), dtype=np.int32)
    steps_NK3[..., 2] = np.clip(steps_NK3[..., 2], -1, 1)
    values_NK3 = np.array([250, 250, 15], dtype=np.int32) + steps_NK3.cumsum(axis=0, dtype=np.int32)
    values_NK3[..., 2] = np.clip(values_NK3[..., 2], 0, 31)
    return [QuantisedKeypoints(values_K3) for values_K3 in values_NK3]


def ends(first_number: int = 0) -> tuple[StreamWriter, StreamReader]:
    return StreamWriter(CONFIG, MODEL_SHA256, first_number=first_number), StreamReader(CONFIG, MODEL_SHA256)


def assert_same(frame: CodedFrame, encoded: EncodedFrame) -> None:
    assert frame.number == encoded.number
    assert frame.is_keyframe == encoded.is_keyframe
    np.testing.assert_array_equal(frame.keypoints.values_K3, encoded.keypoints.values_K3)


@given(
    st.integers(0, 65_535),
    st.integers(0, 400),
    st.lists(st.tuples(st.booleans(), st.integers(1, WINDOW)), min_size=1, max_size=40),
)
def test_what_is_written_is_read(first_number: int, step: int, choices: list[tuple[bool, int]]) -> None:
    writer, reader = ends(first_number)
    rng = np.random.default_rng(step)
    values_K3 = np.full((20, 3), 16, dtype=np.int32)
    for index, (force_keyframe, back) in enumerate(choices):
        changes_K3 = rng.integers(-step, step + 1, (20, 3), dtype=np.int32)
        values_K3 = np.clip(values_K3 + changes_K3, 0, [511, 511, 31]).astype(np.int32)
        base = (first_number + index - back) % 65_536 if index >= back else None
        quantised = QuantisedKeypoints(values_K3)
        encoded = writer.write(quantised, force_keyframe=force_keyframe, base_number=base)
        assert encoded.number == (first_number + index) % 65_536
        assert encoded.is_keyframe or not force_keyframe
        assert_same(reader.read(encoded.payload), encoded)
        assert peek(encoded.payload).is_keyframe == encoded.is_keyframe


@given(st.integers(1, 64), st.integers(4, 12), st.integers(1, 12))
def test_every_config_has_its_frames_in_bounds(num_keypoints: int, location_bits: int, strength_bits: int) -> None:
    config = CodecConfig(
        name="test", num_keypoints=num_keypoints, location_bits=location_bits, strength_bits=strength_bits
    )
    writer, reader = StreamWriter(config, MODEL_SHA256), StreamReader(config, MODEL_SHA256)
    highest = np.array([(1 << location_bits) - 1, (1 << location_bits) - 1, (1 << strength_bits) - 1], dtype=np.int32)
    for corner in (0, 1, 0):
        quantised = QuantisedKeypoints(np.tile(highest * corner, (num_keypoints, 1)))
        encoded = writer.write(quantised)
        assert len(encoded.payload) <= MAX_FRAME_BYTES
        assert_same(reader.read(encoded.payload), encoded)


def test_first_frame_is_a_keyframe_and_the_next_are_not() -> None:
    writer, _ = ends()
    assert [writer.write(quantised).is_keyframe for quantised in walk(4)] == [True, False, False, False]


def test_an_unchanged_frame_is_tiny() -> None:
    writer, reader = ends()
    quantised = walk(1)[0]
    payloads = [writer.write(quantised).payload for _ in range(300)]
    assert max(len(payload) for payload in payloads[1:128]) == 3
    assert max(len(payload) for payload in payloads[1:]) == 4
    for payload in payloads:
        np.testing.assert_array_equal(reader.read(payload).keypoints.values_K3, quantised.values_K3)


def test_smooth_motion_is_small() -> None:
    # A nodding, turning head at 25 frames a second, with a tenth of a pixel of jitter at 256x256.
    rng = np.random.default_rng(5)
    rest = rng.uniform(100, 400, (20, 2))
    writer, _ = ends()
    sizes = []
    for index in range(250):
        sway = [8 * np.sin(index / 14), 5 * np.sin(index / 9)]
        locations = rest + sway + rng.normal(0, 0.2, (20, 2))
        strengths = 15 + np.sin(index / 10 + np.arange(20)) + rng.normal(0, 0.1, 20)
        values_K3 = np.floor(np.column_stack([locations, strengths])).astype(np.int32)
        sizes.append(len(writer.write(QuantisedKeypoints(values_K3)).payload))
    assert sizes[0] < 72
    assert np.mean(sizes[1:]) < 20


def test_a_scene_change_is_sent_as_the_shorter_keyframe() -> None:
    writer, reader = ends()
    rng = np.random.default_rng(6)
    for expected in (True, True):
        values_K3 = np.column_stack([rng.integers(0, 512, (20, 2)), rng.integers(0, 32, 20)]).astype(np.int32)
        encoded = writer.write(QuantisedKeypoints(values_K3))
        assert encoded.is_keyframe is expected
        assert_same(reader.read(encoded.payload), encoded)


def test_a_lost_frame_breaks_its_descendants_until_the_keyframe() -> None:
    writer, reader = ends()
    frames = walk(10)
    payloads = [writer.write(quantised, force_keyframe=index == 7).payload for index, quantised in enumerate(frames)]
    for index, payload in enumerate(payloads):
        if index == 3:
            continue
        if 3 < index < 7:
            with pytest.raises(MissingBaseError, match=f"frame {index} is predicted from frame {index - 1}"):
                reader.read(payload)
        else:
            assert reader.read(payload).number == index


def test_a_lost_keyframe_is_noticed_at_the_first_frame_after_it() -> None:
    writer, reader = ends()
    frames = walk(5)
    reader.read(writer.write(frames[0]).payload)
    writer.write(frames[1], force_keyframe=True)
    with pytest.raises(MissingBaseError):
        reader.read(writer.write(frames[2]).payload)
    with pytest.raises(MissingBaseError):
        StreamReader(CONFIG, MODEL_SHA256).read(writer.write(frames[3]).payload)


def test_prediction_from_a_confirmed_frame_survives_the_loss_of_the_others() -> None:
    writer, reader = ends(65_530)
    frames = walk(WINDOW + 1)
    reader.read(writer.write(frames[0]).payload)
    for quantised in frames[1:WINDOW]:
        writer.write(quantised)  # all lost
    encoded = writer.write(frames[WINDOW], base_number=65_530)
    assert not encoded.is_keyframe
    assert_same(reader.read(encoded.payload), encoded)
    assert peek(encoded.payload).base == 65_530


def test_a_base_outside_the_window_is_refused() -> None:
    writer, _ = ends()
    frames = walk(WINDOW + 2)
    with pytest.raises(ConfigError, match="base_number is 0"):
        writer.write(frames[0], base_number=0)
    for quantised in frames[:-1]:
        writer.write(quantised)
    with pytest.raises(ConfigError, match="base_number is 0; it must be one of the last 16"):
        writer.write(frames[-1], base_number=0)
    assert [number for number in range(100) if writer.holds(number)] == list(range(1, 17))
    writer.write(frames[-1], base_number=1)


def test_a_keyframe_drops_nothing_that_frames_in_flight_need() -> None:
    writer, reader = ends()
    frames = walk(6)
    encoded = [writer.write(quantised, force_keyframe=index == 3) for index, quantised in enumerate(frames)]
    for index in (0, 1, 3, 2, 5 - 1, 5):  # frame 2 is overtaken by the keyframe
        assert_same(reader.read(encoded[index].payload), encoded[index])


def test_late_duplicates_are_harmless() -> None:
    writer, reader = ends(65_500)
    generator = random.Random(2)
    encoded = [writer.write(quantised) for quantised in walk(100)]
    for index, current in enumerate(encoded):
        assert_same(reader.read(current.payload), current)
        late = encoded[max(0, index - generator.randrange(WINDOW))]
        assert_same(reader.read(late.payload), late)


def test_the_counter_wraps_around() -> None:
    writer, reader = ends(65_536 - 40)
    numbers = []
    for quantised in walk(120):
        encoded = writer.write(quantised)
        frame = reader.read(encoded.payload)
        assert_same(frame, encoded)
        assert frame.base in (None, (frame.number - 1) % 65_536)
        numbers.append(frame.number)
    assert numbers == [*range(65_496, 65_536), *range(80)]


def test_frames_of_one_turn_of_the_counter_ago_are_no_bases() -> None:
    frames = walk(WINDOW + 2)
    writer, reader = ends()
    for quantised in frames:
        reader.read(writer.write(quantised).payload)
    # The next 65,536 - 2 frames are lost but for the last 16.
    turned = StreamWriter(CONFIG, MODEL_SHA256, first_number=65_536 - WINDOW)
    for quantised in frames[:WINDOW]:
        reader.read(turned.write(quantised).payload)
    turned.write(frames[0])  # number 0, lost
    with pytest.raises(MissingBaseError):
        reader.read(turned.write(frames[1]).payload)


def test_a_sender_that_begins_anew_is_followed() -> None:
    frames = walk(8)
    _, reader = ends()
    for seed in (0, 1):
        writer, _ = ends()
        for quantised in walk(8, seed):
            encoded = writer.write(quantised)
            assert_same(reader.read(encoded.payload), encoded)
    # Frames of the former stream are gone: number 5 is the new stream's, or nothing.
    writer, _ = ends()
    reader.read(writer.write(frames[0]).payload)
    for quantised in frames[1:6]:
        writer.write(quantised)
    with pytest.raises(MissingBaseError):
        reader.read(writer.write(frames[6]).payload)


def test_an_error_leaves_the_reader_as_it_was() -> None:
    writer, reader = ends()
    frames = walk(3)
    reader.read(writer.write(frames[0]).payload)
    after = writer.write(frames[1])
    with pytest.raises(BitstreamError):
        reader.read(after.payload + b"\xff")
    with pytest.raises(BitstreamError):
        reader.read(pack(frame_to_bytes(FrameFields(0, bytes.fromhex(MODEL_SHA256[:8]), None, b"short"))))
    assert_same(reader.read(after.payload), after)


def test_another_model_is_refused_by_name() -> None:
    writer, _ = ends()
    with pytest.raises(ModelMismatchError, match="coded for model 01234567; the one loaded is abababab"):
        StreamReader(CONFIG, "ab" * 32).read(writer.write(walk(1)[0]).payload)


@pytest.mark.parametrize("model_sha256", ["", "ab", "xy" * 32, "ab" * 31])
def test_a_model_hash_of_another_form_is_refused(model_sha256: str) -> None:
    with pytest.raises(ConfigError, match="64 hex digits"):
        StreamWriter(CONFIG, model_sha256)
    with pytest.raises(ConfigError, match="64 hex digits"):
        StreamReader(CONFIG, model_sha256)


def test_values_out_of_range_are_not_written() -> None:
    writer, _ = ends()
    with pytest.raises(ConfigError, match="outside the range"):
        writer.write(QuantisedKeypoints(np.full((20, 3), 32, dtype=np.int32)))


def test_the_caller_may_change_its_array_afterwards() -> None:
    writer, reader = ends()
    values_K3 = walk(1)[0].values_K3.copy()
    reader.read(writer.write(QuantisedKeypoints(values_K3)).payload)
    values_K3[0, 0] += 3
    frame = reader.read(writer.write(QuantisedKeypoints(values_K3)).payload)
    np.testing.assert_array_equal(frame.keypoints.values_K3, values_K3)
    frame.keypoints.values_K3[:] = 0
    values_K3[0, 0] += 3
    again = reader.read(writer.write(QuantisedKeypoints(values_K3)).payload)
    np.testing.assert_array_equal(again.keypoints.values_K3, values_K3)


FIELDS = {
    "frame number is 65536": b"\x08\x80\x80\x04",
    "base distance is 0": b"\x08\x03\x18\x00",
    "base distance is 17": b"\x08\x03\x18\x11",
    "keyframe has a base": b"\x08\x03\x12\x04abcd\x18\x01",
    "model identity has 3 bytes; it must have 4": b"\x08\x03\x12\x03abc",
    "frame is not a protobuf message": b"\x08",
}


@pytest.mark.parametrize("sentence", FIELDS)
def test_fields_out_of_range_are_refused(sentence: str) -> None:
    with pytest.raises(BitstreamError, match=sentence):
        peek(b"\x10" + FIELDS[sentence])


def test_fields_from_the_future_are_ignored() -> None:
    writer, reader = ends()
    encoded = writer.write(walk(1)[0])
    assert_same(reader.read(encoded.payload + b"\x78\x05"), encoded)
