from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import load_model
from codec.bitstream.choose import choose_frame, choose_keyframe
from codec.bitstream.entropy import SymbolWriter
from codec.bitstream.fields import WINDOW
from codec.bitstream.group import (
    _COUNTS_ROW,
    _FORM_ROW,
    _NUMBER_ROW,
    _REACH_ROW,
    _SETTING_ROW,
    Counts,
    GroupWriter,
    Head,
)
from codec.bitstream.predict import FrameCode, mean_state
from codec.bitstream.priors import COARSE, FINE, USUAL, Priors, generic_priors
from codec.bitstream.quantise import check_values, dequantise, from_grid, to_grid
from codec.bitstream.stream import MAX_FRAME_BYTES, MAX_LOST_PACKETS, StreamReader, StreamWriter, stream_identity
from codec.config import CodecConfig
from codec.errors import BitstreamError, CodecError, ConfigError, MissingBaseError, ModelMismatchError
from codec.structs import CodedFrame, EncodedFrame, Keypoints

Walk = Callable[..., list[Keypoints]]
KeypointsOf = Callable[..., Keypoints]
CONFIG = CodecConfig(name="test", location_bits=12, strength_bits=8)
MODEL_SHA256 = "0123456789abcdef" * 4
PRIORS = generic_priors(20)


def ends(first_number: int = 0, *, repeats: int = 0, frames_per_packet: int = 1) -> tuple[StreamWriter, StreamReader]:
    writer = StreamWriter(
        CONFIG,
        MODEL_SHA256,
        PRIORS,
        first_number=first_number,
        repeats=repeats,
        frames_per_packet=frames_per_packet,
    )
    return writer, StreamReader(CONFIG, MODEL_SHA256, PRIORS)


def assert_same(frame: CodedFrame, encoded: EncodedFrame) -> None:
    assert (frame.number, frame.reference) == (encoded.number, encoded.reference)
    np.testing.assert_array_equal(frame.keypoints.values_K3, encoded.keypoints.values_K3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 65_535),
    st.sampled_from([0.0, 0.002, 0.05, 0.8]),
    st.integers(0, 3),
    st.lists(st.tuples(st.booleans(), st.integers(1, WINDOW)), min_size=1, max_size=30),
)
def test_what_is_written_is_read(
    walk: Walk, first: int, step: float, repeats: int, choices: list[tuple[bool, int]]
) -> None:
    writer, reader = ends(first, repeats=repeats)
    for index, (keypoints, choice) in enumerate(zip(walk(len(choices), index_seed(first), step), choices, strict=True)):
        force_keyframe, back = choice[0] and choice[1] > 12, choice[1]
        base = (first + index - back) % 65_536 if back % 3 == 0 and index >= back and not force_keyframe else None
        encoded = writer.write(
            keypoints, reference=(first + index // 3) % 64, force_keyframe=force_keyframe, base_number=base
        )
        assert encoded.number == (first + index) % 65_536
        assert encoded.is_keyframe == (force_keyframe or index == 0)
        assert_same(reader.read(encoded.payload), encoded)
        assert reader.newest == encoded.number


def index_seed(first: int) -> int:
    return first % 7


@pytest.mark.parametrize("num_keypoints", [1, 20, 64])
@pytest.mark.parametrize(("location_bits", "strength_bits"), [(4, 1), (9, 5), (12, 12)])
def test_every_config_has_its_frames_in_bounds(
    keypoints_of: KeypointsOf, num_keypoints: int, location_bits: int, strength_bits: int
) -> None:
    config = CodecConfig(
        name="test", num_keypoints=num_keypoints, location_bits=location_bits, strength_bits=strength_bits
    )
    priors = generic_priors(num_keypoints)
    writer = StreamWriter(config, MODEL_SHA256, priors, repeats=2)
    reader = StreamReader(config, MODEL_SHA256, priors)
    for corner in (-1.0, 1.0, -1.0, 0.0):
        encoded = writer.write(keypoints_of(np.full((num_keypoints, 3), corner)))
        assert len(encoded.payload) <= MAX_FRAME_BYTES
        assert_same(reader.read(encoded.payload), encoded)
        check_values(encoded.keypoints.values_K3, config)


def test_what_is_received_is_close_to_what_was_detected(walk: Walk) -> None:
    writer, _ = ends()
    for keypoints in walk(50, step=0.02):
        values_K3 = writer.write(keypoints).keypoints.values_K3
        locations = (values_K3[:, :2] + 0.5) / 2048 - 1
        assert np.abs(locations - keypoints.locations_BKC[0].numpy()).max() < 1 / 256


def test_first_frame_is_a_keyframe_and_the_next_are_not(walk: Walk) -> None:
    writer, _ = ends()
    assert [writer.write(keypoints).is_keyframe for keypoints in walk(4)] == [True, False, False, False]


def test_an_unchanged_frame_is_tiny(walk: Walk) -> None:
    writer, reader = ends()
    keypoints = walk(1)[0]
    payloads = [writer.write(keypoints).payload for _ in range(100)]
    assert max(len(payload) for payload in payloads[3:]) <= 4
    for payload in payloads:
        reader.read(payload)


def test_a_lost_frame_breaks_its_descendants_until_the_keyframe(walk: Walk) -> None:
    writer, reader = ends()
    payloads = [writer.write(keypoints, force_keyframe=index == 7).payload for index, keypoints in enumerate(walk(10))]
    for index, payload in enumerate(payloads):
        if index == 3:
            continue
        if 3 < index < 7:
            with pytest.raises(MissingBaseError, match=f"frame {index} is predicted from frame {index - 1}"):
                reader.read(payload, 2 if index == 4 else 1)
        else:
            assert reader.read(payload).number == index


@pytest.mark.parametrize("lost", [(3,), (3, 4), (0,), (0, 1), (2, 3, 5, 6, 8)])
def test_repeated_frames_make_up_for_two_lost_packets_in_a_row(walk: Walk, lost: tuple[int, ...]) -> None:
    writer, reader = ends(65_533, repeats=2)
    encoded = [writer.write(keypoints) for keypoints in walk(10)]
    found: dict[int, CodedFrame] = {}
    since_last = 1
    for index, each in enumerate(encoded):
        if index in lost:
            since_last += 1
            continue
        for frame in reader.read_all(each.payload, since_last):
            assert frame.number not in found
            found[frame.number] = frame
        since_last = 1
    for each in encoded:
        assert_same(found[each.number], each)
    assert len(found) == 10


def test_three_lost_packets_are_too_many_for_two_repeats(walk: Walk) -> None:
    writer, reader = ends(repeats=2)
    payloads = [writer.write(keypoints).payload for keypoints in walk(8)]
    reader.read(payloads[0])
    with pytest.raises(MissingBaseError, match="frame 4 is predicted from frame 1, which never came"):
        reader.read(payloads[4], 4)


@pytest.mark.parametrize("repeats", [0, 2])
def test_prediction_from_a_confirmed_frame_survives_the_loss_of_the_others(walk: Walk, repeats: int) -> None:
    writer, reader = ends(65_530, repeats=repeats)
    frames = walk(WINDOW + 2)
    reader.read(writer.write(frames[0]).payload)
    for keypoints in frames[1:WINDOW]:
        writer.write(keypoints)  # all lost
    assert writer.holds(65_530)
    encoded = writer.write(frames[WINDOW], base_number=65_530)
    found = reader.read_all(encoded.payload, WINDOW)
    assert_same(found[-1], encoded)
    assert len(found) == 1 + repeats
    following = writer.write(frames[WINDOW + 1])
    assert_same(reader.read(following.payload), following)
    with pytest.raises(ConfigError, match="base_number is 65530; it must be one of the last 16"):
        writer.write(frames[WINDOW], base_number=65_530)


def test_a_forced_keyframe_needs_no_base_whatever_was_confirmed(walk: Walk) -> None:
    writer, _ = ends(repeats=2)
    frames = walk(4)
    for keypoints in frames[:3]:
        writer.write(keypoints)
    encoded = writer.write(frames[3], force_keyframe=True, base_number=1)
    assert_same(ends()[1].read(encoded.payload), encoded)


def test_frames_coded_anew_are_no_base_for_others(walk: Walk) -> None:
    writer, reader = ends(repeats=1)
    frames = walk(6)
    reader.read(writer.write(frames[0]).payload)
    writer.write(frames[1])  # lost
    assert len(reader.read_all(writer.write(frames[2], base_number=0).payload, 2)) == 2
    with pytest.raises(MissingBaseError, match="frame 3 is predicted from frame 1"):
        reader.read(writer.write(frames[3], base_number=1).payload)


@pytest.mark.parametrize("frames_per_packet", [2, 3, 4])
def test_frames_that_share_a_packet(walk: Walk, frames_per_packet: int) -> None:
    writer, reader = ends(60_000, frames_per_packet=frames_per_packet, repeats=1)
    encoded = [writer.write(keypoints) for keypoints in walk(1 + 5 * frames_per_packet)]
    assert encoded[0].payload
    sizes = [len(each.payload) for each in encoded[1:]]
    assert [bool(size) for size in sizes] == ([False] * (frames_per_packet - 1) + [True]) * 5
    found = [frame for each in encoded if each.payload for frame in reader.read_all(each.payload)]
    assert [frame.number for frame in found] == [each.number for each in encoded]
    for frame, each in zip(found[::frames_per_packet], encoded[::frames_per_packet], strict=True):
        assert not frame.is_interpolated
        assert_same(frame, each)


def straight(count: int, step: float = 0.004) -> list[Keypoints]:
    """Return frames of a face that moves evenly to the right and down."""
    line_K = torch.linspace(-0.5, 0.5, 20)
    places = [torch.stack((line_K + step * index, line_K.flip(0) + step * index), dim=-1) for index in range(count)]
    return [Keypoints(place_KC[None], torch.full((1, 20), 0.5)) for place_KC in places]


@pytest.mark.parametrize("frames_per_packet", [2, 3])
@pytest.mark.parametrize("repeats", [0, 2])
def test_frames_on_the_way_to_the_next_are_interpolated(frames_per_packet: int, repeats: int) -> None:
    writer, reader = ends(60_000, frames_per_packet=frames_per_packet, repeats=repeats)
    plain, _ = ends(60_000)
    frames = straight(1 + 6 * frames_per_packet)
    found, sizes = [], []
    for keypoints in frames:
        payload = writer.write(keypoints).payload
        sizes.append(len(payload))
        found += reader.read_all(payload) if payload else []
    assert [frame.number for frame in found] == [60_000 + index for index in range(len(frames))]
    assert [frame.is_interpolated for frame in found[1:]] == ([True] * (frames_per_packet - 1) + [False]) * 6
    for frame, keypoints in zip(found[1:], frames[1:], strict=True):
        locations = (frame.keypoints.values_K3[:, :2] + 0.5) / 2048 - 1
        assert np.abs(locations - keypoints.locations_BKC[0].numpy()).max() < 1 / 256
        assert frame.base == frame.number - 1 - (frame.number - 60_001) % frames_per_packet
    if not repeats:
        assert sum(sizes[1:]) < 0.9 * sum([len(plain.write(keypoints).payload) for keypoints in frames][1:])


def test_a_frame_off_the_way_to_the_next_is_coded() -> None:
    writer, reader = ends(frames_per_packet=2)
    frames = straight(5)
    frames[3].locations_BKC[0, 7] += 0.2
    found = [frame for each in frames if (data := writer.write(each).payload) for frame in reader.read_all(data)]
    assert [frame.is_interpolated for frame in found] == [False, True, False, False, False]
    locations = (found[3].keypoints.values_K3[:, :2] + 0.5) / 2048 - 1
    assert np.abs(locations - frames[3].locations_BKC[0].numpy()).max() < 1 / 256


@pytest.mark.parametrize("lost", [(2,), (2, 3), (5, 6)])
def test_interpolated_frames_come_again_with_the_repeated_ones(lost: tuple[int, ...]) -> None:
    writer, reader = ends(65_530, frames_per_packet=2, repeats=4)
    payloads = [payload for keypoints in straight(17) if (payload := writer.write(keypoints).payload)]
    numbers, since_last = [], 1
    for index, payload in enumerate(payloads):
        if index in lost:
            since_last += 1
            continue
        found = reader.read_all(payload, since_last)
        numbers += [frame.number for frame in found]
        assert [frame.is_repeated for frame in found] == [True] * (len(found) - 2) + [False] * 2 or index == 0
        since_last = 1
    assert numbers == [(65_530 + index) % 65_536 for index in range(17)]


def test_a_message_from_a_confirmed_frame_interpolates_too() -> None:
    writer, reader = ends(65_530, frames_per_packet=2)
    frames = straight(13)
    reader.read(writer.write(frames[0]).payload)
    for keypoints in frames[1:9]:
        writer.write(keypoints)  # all lost
    writer.write(frames[9], base_number=65_530)
    encoded = writer.write(frames[10], base_number=65_530)
    found = reader.read_all(encoded.payload, 5)
    assert [(frame.number, frame.is_interpolated) for frame in found] == [(3, True), (4, False)]
    assert_same(found[-1], encoded)
    writer.write(frames[11])
    following = writer.write(frames[12])
    assert_same(reader.read(following.payload), following)


def test_a_confirmed_frame_that_is_too_far_back_is_no_base() -> None:
    writer, _ = ends(frames_per_packet=4)
    for keypoints in straight(WINDOW + 1):
        writer.write(keypoints)
    assert writer.holds(4)
    assert not writer.holds(0)  # still kept, for few frames were coded


def test_numbers_are_told_by_the_packets_that_were_lost(walk: Walk) -> None:
    writer, reader = ends(500, frames_per_packet=3, repeats=2)
    reader.read(writer.write(walk(1)[0]).payload)
    packets = [writer.write(keypoints) for keypoints in walk(3 * (MAX_LOST_PACKETS + 1), step=0)][2::3]
    last = packets[MAX_LOST_PACKETS]
    with pytest.raises(MissingBaseError, match=f"frame {last.number} is predicted from frame {last.number - 6}"):
        reader.read(last.payload, MAX_LOST_PACKETS + 1)
    with pytest.raises(MissingBaseError, match=f"{MAX_LOST_PACKETS + 1} packets before"):
        reader.read(last.payload)


def test_a_predicted_frame_before_any_keyframe(walk: Walk) -> None:
    writer, reader = ends()
    writer.write(walk(2)[0])
    with pytest.raises(MissingBaseError, match="before any keyframe"):
        reader.read(writer.write(walk(2)[1]).payload)
    assert reader.newest is None


def test_frames_out_of_order_are_read_when_their_base_is_there(walk: Walk) -> None:
    writer, reader = ends()
    encoded = [writer.write(keypoints) for keypoints in walk(6)]
    for number in (0, 1, 2):
        reader.read(encoded[number].payload)
    with pytest.raises(MissingBaseError, match="frame 4 is predicted from frame 3"):
        reader.read(encoded[4].payload, 2)
    for number, since_last in ((3, -1), (4, 1), (5, 1)):
        assert_same(reader.read(encoded[number].payload, since_last), encoded[number])


def test_a_duplicate_gives_the_same_frame_again(walk: Walk) -> None:
    writer, reader = ends()
    encoded = [writer.write(keypoints) for keypoints in walk(3)]
    last = 0
    for index in (0, 0, 1, 1, 0, 1, 2):
        assert_same(reader.read(encoded[index].payload, index - last), encoded[index])
        last = index


def test_a_new_stream_with_the_same_numbers_empties_the_window(walk: Walk) -> None:
    writer, reader = ends()
    old = [writer.write(keypoints) for keypoints in walk(5)]
    for each in old:
        reader.read(each.payload)
    restarted, _ = ends()
    new = [restarted.write(keypoints) for keypoints in walk(4, seed=9)]
    for each in new[:2]:
        assert_same(reader.read(each.payload), each)
    with pytest.raises(MissingBaseError):
        reader.read(old[4].payload, 3)


def test_another_model_and_other_priors_are_refused(walk: Walk) -> None:
    writer, _ = ends()
    payload = writer.write(walk(1)[0]).payload
    with pytest.raises(ModelMismatchError, match=r"frame was coded for model and priors \w{4}; those loaded are \w{4}"):
        StreamReader(CONFIG, "ab" * 32, PRIORS).read(payload)
    others = Priors(**{field: getattr(PRIORS, field) for field in PRIORS.__dataclass_fields__} | {"sha256": "cd" * 32})
    with pytest.raises(ModelMismatchError, match="those loaded are"):
        StreamReader(CONFIG, MODEL_SHA256, others).read(payload)
    with pytest.raises(ConfigError, match="priors are for 3 keypoints; the model has 20"):
        StreamReader(CONFIG, MODEL_SHA256, generic_priors(3))


@pytest.mark.parametrize("model_sha256", ["", "ab", "xy" * 32])
def test_a_model_s_hash_is_checked(model_sha256: str) -> None:
    with pytest.raises(ConfigError, match="it must be 64 hex digits"):
        StreamWriter(CONFIG, model_sha256, PRIORS)


@pytest.mark.parametrize(("repeats", "frames_per_packet"), [(-1, 1), (0, 0), (0, 5), (7, 2)])
def test_a_packet_holds_so_many_frames(repeats: int, frames_per_packet: int) -> None:
    with pytest.raises(ConfigError, match="a packet holds 1 to 4 new frames, and 8 in all"):
        ends(repeats=repeats, frames_per_packet=frames_per_packet)


def test_messages_that_contradict_themselves_are_refused(walk: Walk) -> None:
    writer, reader = ends()
    base = mean_state(PRIORS)
    zeros = FrameCode(np.zeros(60, dtype=np.int32), 0, reference=3)
    usual = Counts(1, 1)

    def refused(match: str, head: Head, frame: FrameCode = zeros, usual: Counts = usual, end: bytes = b"") -> None:
        group = GroupWriter(head, dataclasses.replace(base, reference=3), usual, PRIORS)
        with pytest.raises(BitstreamError, match=match):
            reader.read(group.bytes_with(frame) + end, 0)

    reader.read(writer.write(walk(1)[0], reference=3).payload)
    reader._packets_since_newest = 1  # of all that follow
    chained = Head("c", 1, 1, True, None)
    refused("does not end where its last symbol does", chained, end=b"\x00")
    refused("does not end where its last symbol does", chained, end=b"\x01")
    refused("usual counts of a message are told the long way", chained, usual=Counts(2, 2))
    refused("a message of 1 frames claims 2 fresh ones", Head("c", 2, 1, True, None))
    key = dataclasses.replace(zeros, activity=-1)
    identity = stream_identity(MODEL_SHA256, PRIORS)
    refused("begins with an interpolated frame", Head("ic", 2, 0, True, 1, identity), key)
    escaped = dataclasses.replace(zeros, coefficients_N=np.full(60, 1 << 14, dtype=np.int32))
    refused("a coefficient is out of range", chained, escaped)


def test_a_setting_that_is_none_is_refused(walk: Walk) -> None:
    writer, reader = ends()
    reader.read(writer.write(walk(1)[0], reference=3).payload)
    since_last = 1
    for tag, scale, match in ((3, USUAL, "are told the long way"), (3, 3, "has scale 3 of the quantiser; there are 3")):
        symbols = SymbolWriter()
        for symbol, row in ((1, _FORM_ROW), (0, _REACH_ROW), (0, _NUMBER_ROW), (0, _COUNTS_ROW), (1, _SETTING_ROW)):
            symbols.symbol(symbol, row)
        symbols.bits(tag, 6)
        symbols.bits(scale, 2)
        with pytest.raises(BitstreamError, match=match):
            reader.read(symbols.to_bytes() + b"\x55" * 9, since_last)
        since_last = 0


def test_the_scale_may_change_from_frame_to_frame(walk: Walk) -> None:
    writer, reader = ends(repeats=1)
    sizes: dict[int, list[int]] = {FINE: [], USUAL: [], COARSE: []}
    errors: dict[int, list[float]] = {FINE: [], USUAL: [], COARSE: []}
    for index, keypoints in enumerate(walk(90, step=0.02)):
        writer.scale = index // 3 % 3
        encoded = writer.write(keypoints, force_keyframe=index == 40)
        assert_same(reader.read(encoded.payload), encoded)
        locations = (encoded.keypoints.values_K3[:, :2] + 0.5) / 2048 - 1
        if index % 3 == 2 and index > 2:
            sizes[writer.scale].append(len(encoded.payload))
            errors[writer.scale].append(float(np.square(locations - keypoints.locations_BKC[0].numpy()).mean()))
    fine, usual, coarse = (np.mean(sizes[scale]) for scale in (FINE, USUAL, COARSE))
    assert fine > usual > coarse
    fine, usual, coarse = (np.mean(errors[scale]) for scale in (FINE, USUAL, COARSE))
    assert fine < usual < coarse
    for scale in (-1, 3):
        with pytest.raises(ConfigError, match=rf"scale is {scale}; it must lie in \[0, 2\]"):
            writer.scale = scale


@pytest.mark.parametrize("frames_per_packet", [1, 2, 3, 4])
def test_a_jump_does_not_echo(frames_per_packet: int) -> None:
    # A face that jumps and rests: were all of the jump taken for the motion of one frame, each packet would overshoot
    # the other way, by more than the one before.
    priors = load_model().priors
    writer = StreamWriter(CONFIG, MODEL_SHA256, priors, frames_per_packet=frames_per_packet)
    reader = StreamReader(CONFIG, MODEL_SHA256, priors)
    rest = dequantise(from_grid(priors.mean_N, CONFIG), CONFIG)
    moved = Keypoints(rest.locations_BKC + 0.05, rest.strengths_BK)
    sizes = []
    for index in range(40 * frames_per_packet):
        encoded = writer.write(rest if index <= 4 * frames_per_packet else moved)
        if encoded.payload:
            assert_same(reader.read(encoded.payload), encoded)
            sizes.append(len(encoded.payload))
    assert max(sizes[5:8]) > 10
    assert max(sizes[20:]) < 4


def test_whole_bytes_are_filled(walk: Walk) -> None:
    # The same frames by one trade alone take more bytes than by the best of several, at about the same error.
    frames = walk(200, step=0.01)
    writer, _ = ends()
    filled, chosen_error = 0, 0.0
    alone, error, state = 0, 0.0, None
    for keypoints in frames:
        encoded = writer.write(keypoints)
        grid_N = to_grid(keypoints, CONFIG)
        if state is None:
            _, state = choose_keyframe(grid_N, PRIORS)
            continue
        filled += len(encoded.payload)
        chosen_error += float(np.square(grid_N - writer._sent[-1].known.values_N).sum())
        group = GroupWriter(Head("c", 1, 1, True, None), state, Counts(1, 1), PRIORS)
        code, state = choose_frame(grid_N, state, 1, PRIORS)
        alone += len(group.bytes_with(code))
        error += float(np.square(grid_N - state.values_N).sum())
    assert filled < alone - 0.15 * len(frames)
    assert chosen_error < 1.06 * error


def test_a_change_of_what_shares_a_packet_keeps_the_numbers_whatever_is_lost(walk: Walk) -> None:
    rng = np.random.default_rng(11)
    for trial in range(80):
        writer, reader = ends(65_000, repeats=2)
        since_last, read, is_asked, burst = 1, 0, False, 0
        for index, keypoints in enumerate(walk(160, seed=trial, step=0.003)):
            if index % 23 == 22:
                writer.frames_per_packet = int(rng.integers(1, 5))
            acknowledged = reader.newest if reader.newest is not None and rng.random() < 0.15 else None
            base = acknowledged if acknowledged is not None and writer.holds(acknowledged) else None
            encoded = writer.write(keypoints, base_number=base, force_keyframe=is_asked and rng.random() < 0.2)
            if not encoded.payload:
                continue
            burst = int(rng.integers(1, MAX_LOST_PACKETS)) if rng.random() < 0.1 else burst - 1
            if burst > 0 and reader.newest is not None:
                since_last += 1
                continue
            try:
                assert_same(reader.read(encoded.payload, since_last), encoded)
                read, is_asked = read + 1, False
            except MissingBaseError:
                is_asked = True
            since_last = 1
        assert read > 5


def test_after_an_error_the_state_is_as_before(walk: Walk) -> None:
    writer, reader = ends(repeats=1)
    for keypoints in walk(30):
        each = writer.write(keypoints)
        payload = each.payload
        since_last = 1
        for damaged in (b"", payload + b"\x00", b"\x02" + payload[1:], payload[:1] + b"\xff" * 200, payload * 90):
            before = reader.newest
            with pytest.raises(CodecError):
                reader.read(damaged, since_last)
            assert reader.newest == before
            since_last = 0  # the same packet again
        assert_same(reader.read(payload, since_last), each)
