from __future__ import annotations

import dataclasses
import hashlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.fields import FRAGMENT_BYTES, MAX_CONTROL_BYTES, MAX_PENDING_PICTURES, MAX_REFERENCES
from codec.bitstream.message import ControlAssembler, pack_control
from codec.bitstream.pack import pack
from codec.bitstream.picture import MAX_PICTURE_BYTES
from codec.errors import BitstreamError, ConfigError
from codec.structs import (
    Bye,
    Clock,
    ControlMessage,
    Hello,
    Hold,
    ReferencePicture,
    ReferenceSelection,
    ReferenceStatus,
)
from proto.control_pb2 import Control

HASH = "0123456789abcdef" * 4
HELLO = Hello(1, HASH, "compact-256", "sender", (HASH,), 4, HASH)
CLOCK = Clock("video", 7, 90_000, 90_000, 1_700_000_000_000_000)

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
lines = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs")), max_size=16)
times = st.integers(0, (1 << 63) - 1)
messages = st.one_of(
    st.builds(
        Hello,
        wire_version=st.integers(0, 100),
        model_sha256=hashes,
        config_name=lines,
        role=st.sampled_from(["sender", "receiver"]),
        reference_sha256s=st.lists(hashes, max_size=8).map(tuple),
        max_references=st.integers(0, MAX_REFERENCES),
        priors_sha256=hashes,
    ),
    st.binary(min_size=1, max_size=40_000).map(lambda data: ReferencePicture(hashlib.sha256(data).hexdigest(), data)),
    st.builds(ReferenceStatus, sha256=hashes, accepted=st.booleans(), reason=lines),
    st.builds(
        Clock,
        media=st.sampled_from(["video", "audio"]),
        frame_number=st.integers(0, 65_535),
        pts=times,
        clock_rate_hz=st.sampled_from([8_000, 48_000, 90_000]),
        capture_time_us=times,
    ),
    st.builds(Bye, reason=lines),
    st.builds(ReferenceSelection, sha256s=st.lists(hashes, min_size=1, max_size=8).map(tuple)),
    st.builds(Hold, reason=lines),
)


def picture(num_bytes: int, seed: int = 0) -> ReferencePicture:
    data = random.Random(seed).randbytes(num_bytes)
    return ReferencePicture(hashlib.sha256(data).hexdigest(), data)


def transfer(message: ControlMessage) -> ControlMessage | None:
    assembler = ControlAssembler()
    received = [assembler.feed(part) for part in pack_control(message)]
    assert received[:-1] == [None] * (len(received) - 1)
    return received[-1]


def fragment(sha256: str, total: int, offset: int, data: bytes) -> bytes:
    control = Control()
    part = control.reference_fragment
    part.sha256, part.total_bytes, part.offset, part.data = bytes.fromhex(sha256), total, offset, data
    return pack(control.SerializeToString())


@given(messages)
def test_messages_come_back(message: ControlMessage) -> None:
    assert transfer(message) == message


@pytest.mark.parametrize("num_bytes", [1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, MAX_PICTURE_BYTES])
def test_pictures_travel_in_parts(num_bytes: int) -> None:
    message = picture(num_bytes)
    parts = pack_control(message)
    assert len(parts) == -(-num_bytes // FRAGMENT_BYTES)
    assert max(len(part) for part in parts) <= MAX_CONTROL_BYTES
    assert transfer(message) == message


@pytest.mark.parametrize("part_bytes", [1, 160, 999])
def test_parts_may_be_small(part_bytes: int) -> None:
    message = picture(1_000)
    parts = pack_control(message, part_bytes=part_bytes)
    assert len(parts) == -(-1_000 // part_bytes)
    assembler = ControlAssembler()
    assert [assembler.feed(part) for part in parts][-1] == message


@pytest.mark.parametrize("part_bytes", [0, FRAGMENT_BYTES + 1])
def test_parts_of_another_size_are_refused(part_bytes: int) -> None:
    with pytest.raises(ConfigError, match=f"part_bytes is {part_bytes}; it must lie in"):
        pack_control(picture(10), part_bytes=part_bytes)


def test_a_selection_names_at_least_one_picture() -> None:
    with pytest.raises(ConfigError, match="ReferenceSelection cannot be sent: number of references is 0"):
        pack_control(ReferenceSelection(()))
    control = Control()
    control.reference_selection.SetInParent()
    with pytest.raises(BitstreamError, match="number of references is 0"):
        ControlAssembler().feed(pack(control.SerializeToString()))
    control.reference_selection.sha256s.append(b"short")
    with pytest.raises(BitstreamError, match="a SHA-256 has 5 bytes"):
        ControlAssembler().feed(pack(control.SerializeToString()))


def test_other_messages_may_come_between_the_parts() -> None:
    assembler = ControlAssembler()
    first, second = picture(40_000, 1), picture(40_000, 2)
    received = []
    for one, other in zip(pack_control(first), pack_control(second), strict=True):
        received += [assembler.feed(one), assembler.feed(pack_control(CLOCK)[0]), assembler.feed(other)]
    assert received == [None, CLOCK, None] * 2 + [first, CLOCK, second]


def test_unfinished_pictures_are_bounded() -> None:
    assembler = ControlAssembler()
    pictures = [picture(20_000, seed) for seed in range(MAX_PENDING_PICTURES + 1)]
    for each in pictures:
        assert assembler.feed(pack_control(each)[0]) is None
    assert assembler.feed(pack_control(pictures[-1])[1]) == pictures[-1]
    with pytest.raises(BitstreamError, match="picture part begins at 16000; 0 bytes came before"):
        assembler.feed(pack_control(pictures[0])[1])  # the oldest was dropped


def test_a_picture_may_begin_anew() -> None:
    assembler = ControlAssembler()
    message = picture(40_000)
    parts = pack_control(message)
    received = [assembler.feed(part) for part in (*parts[:2], *parts)]
    assert received == [None] * 4 + [message]


def test_parts_out_of_order_are_refused_and_end_their_picture() -> None:
    assembler = ControlAssembler()
    parts = pack_control(picture(60_000))
    assembler.feed(parts[0])
    with pytest.raises(BitstreamError, match="picture part begins at 32000; 16000 bytes came before"):
        assembler.feed(parts[2])
    with pytest.raises(BitstreamError, match="picture part begins at 16000; 0 bytes came before"):
        assembler.feed(parts[1])


def test_a_picture_of_another_hash_is_refused() -> None:
    with pytest.raises(BitstreamError, match="picture does not match its SHA-256"):
        ControlAssembler().feed(fragment(HASH, 3, 0, b"abc"))


def test_parts_beyond_the_stated_size_are_refused() -> None:
    assembler = ControlAssembler()
    assembler.feed(fragment(HASH, 5, 0, b"abc"))
    with pytest.raises(BitstreamError, match="picture parts exceed the picture's 5 bytes"):
        assembler.feed(fragment(HASH, 5, 3, b"abc"))


def test_the_size_may_not_change_on_the_way() -> None:
    assembler = ControlAssembler()
    assembler.feed(fragment(HASH, 10, 0, b"abc"))
    with pytest.raises(BitstreamError, match="picture's size was 10 bytes and is now 500000"):
        assembler.feed(fragment(HASH, 500_000, 3, b"abc"))


@pytest.mark.parametrize("total", [0, MAX_PICTURE_BYTES + 1, (1 << 32) - 1])
def test_picture_sizes_out_of_range_are_refused(total: int) -> None:
    with pytest.raises(BitstreamError, match=f"picture size is {total}; it must lie in"):
        ControlAssembler().feed(fragment(HASH, total, 0, b"abc"))


def test_empty_parts_are_refused() -> None:
    with pytest.raises(BitstreamError, match="picture part is empty"):
        ControlAssembler().feed(fragment(HASH, 3, 0, b""))


def test_kinds_from_the_future_are_ignored() -> None:
    assert ControlAssembler().feed(b"\x00" + bytes([15 << 3 | 2, 3]) + b"abc") is None
    assert ControlAssembler().feed(b"\x00") is None


def test_fields_from_the_future_are_ignored() -> None:
    control = Control()
    control.bye.reason = "so long"
    inner = control.bye.SerializeToString() + bytes([15 << 3, 1])
    assert ControlAssembler().feed(b"\x00" + bytes([5 << 3 | 2, len(inner)]) + inner) == Bye("so long")


def hello_proto(**fields: Any) -> bytes:
    valid: dict[str, Any] = {
        "wire_version": 1,
        "model_sha256": bytes(32),
        "config_name": "x",
        "role": 1,
        "max_references": 1,
    }
    control = Control()
    for name, value in (valid | fields).items():
        if name == "reference_sha256s":
            control.hello.reference_sha256s.extend(value)
        else:
            setattr(control.hello, name, value)
    return pack(control.SerializeToString())


def clock_proto(**fields: Any) -> bytes:
    control = Control()
    for name, value in ({"media": 1, "frame_number": 1, "pts": 1, "clock_rate_hz": 90_000} | fields).items():
        setattr(control.clock, name, value)
    return pack(control.SerializeToString())


REFUSED = {
    "role is 0; it must be one of sender, receiver": hello_proto(role=0),
    "role is 9; it must be one of": hello_proto(role=9),
    "a SHA-256 has 31 bytes; it must have 32": hello_proto(model_sha256=bytes(31)),
    "a SHA-256 has 33 bytes": hello_proto(reference_sha256s=[bytes(33)]),
    "number of references is 257": hello_proto(reference_sha256s=[bytes(32)] * 257),
    "most references is 257": hello_proto(max_references=257),
    "a text has more than 64 bytes": hello_proto(config_name="é" * 33),
    "media is 0; it must be one of video, audio": clock_proto(media=0),
    "frame number is 65536": clock_proto(frame_number=65_536),
    "clock rate is 0": clock_proto(clock_rate_hz=0),
    "pts is 18446744073709551615": clock_proto(pts=(1 << 64) - 1),
    "capture time is 9223372036854775808": clock_proto(capture_time_us=1 << 63),
    "control message is not a protobuf message": b"\x00\x2a\x03\x0a\x01\xff",  # a reason that is not UTF-8
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_fields_out_of_range_are_refused(sentence: str) -> None:
    with pytest.raises(BitstreamError, match=sentence):
        ControlAssembler().feed(REFUSED[sentence])


def test_text_cannot_move_the_cursor() -> None:
    control = Control()
    control.bye.reason = "\x1b[2J\r\nall \u202egood"
    assert ControlAssembler().feed(pack(control.SerializeToString())) == Bye(" [2J  all  good")
    assert transfer(Bye("two\nlines")) == Bye("two lines")


def test_long_reasons_are_cut_at_a_letter() -> None:
    message = transfer(Bye("é" * 400 + "!"))
    assert message == Bye("é" * 250)
    status = transfer(ReferenceStatus(HASH, False, "x" * 600))
    assert status == ReferenceStatus(HASH, False, "x" * 500)


def test_a_reason_that_is_too_long_is_refused() -> None:
    control = Control()
    control.bye.reason = "x" * 501
    with pytest.raises(BitstreamError, match="a text has more than 500 bytes"):
        ControlAssembler().feed(pack(control.SerializeToString()))


UNSENDABLE: list[ControlMessage] = [
    dataclasses.replace(HELLO, role="viewer"),
    dataclasses.replace(HELLO, model_sha256="no hash"),
    dataclasses.replace(HELLO, config_name="x" * 65),
    dataclasses.replace(HELLO, wire_version=-1),
    dataclasses.replace(HELLO, max_references=1000),
    dataclasses.replace(CLOCK, media="smell"),
    dataclasses.replace(CLOCK, pts=-1),
    dataclasses.replace(CLOCK, capture_time_us=1 << 70),
    dataclasses.replace(CLOCK, frame_number=65_536),
    ReferenceStatus("", True, ""),
    ReferencePicture(HASH, b"abc"),
    ReferencePicture(hashlib.sha256(b"").hexdigest(), b""),
    picture(MAX_PICTURE_BYTES + 1),
]


@pytest.mark.parametrize("message", UNSENDABLE, ids=lambda message: type(message).__name__)
def test_what_no_reader_accepts_is_not_sent(message: ControlMessage) -> None:
    with pytest.raises(ConfigError):
        pack_control(message)
