"""Bytes from the network: truncated, flipped, oversized, random. ``CodecError`` or a valid object, and nothing else."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.fields import MAX_CONTROL_BYTES
from codec.bitstream.message import ControlAssembler
from codec.bitstream.pack import PLAIN, ZSTD_MAGIC, envelope, unpack
from codec.bitstream.priors import generic_priors
from codec.bitstream.quantise import check_values
from codec.bitstream.stream import MAX_FRAME_BYTES, StreamReader, StreamWriter
from codec.config import CodecConfig
from codec.errors import BitstreamError, CodecError, VersionError
from codec.structs import CodedFrame, Keypoints

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures" / "wire").glob("*.bin"))
CONFIG = CodecConfig(name="golden")
MODEL_SHA256 = hashlib.sha256(b"golden model").hexdigest()
PRIORS = generic_priors(20)


def keypoints(values_K3: npt.NDArray[np.float64]) -> Keypoints:
    values_BK3 = torch.from_numpy(values_K3)[None]
    return Keypoints(values_BK3[..., :2], values_BK3[..., 2])


def stream(num_frames: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    writer = StreamWriter(CONFIG, MODEL_SHA256, PRIORS, repeats=1)
    values_K3 = rng.uniform(0.2, 0.6, (20, 3))
    payloads = []
    for index in range(num_frames):
        values_K3 = np.clip(values_K3 + rng.normal(0, 0.01, (20, 3)), 0, 1)
        payloads.append(writer.write(keypoints(values_K3), force_keyframe=index % 10 == 0).payload)
    return payloads


def primed_reader() -> StreamReader:
    reader = StreamReader(CONFIG, MODEL_SHA256, PRIORS)
    for path in FIXTURES:
        if path.stem.startswith("frame_alone"):
            reader.read(path.read_bytes())
    return reader


def read_everywhere(data: bytes, reader: StreamReader, assembler: ControlAssembler) -> None:
    """Feed bytes to every reader there is; any error but a ``CodecError`` fails the test."""
    try:
        check_frame(reader.read(data))
    except CodecError as error:
        check_message(error)
    try:
        assembler.feed(data)
    except CodecError as error:
        check_message(error)


def check_frame(frame: CodedFrame) -> None:
    check_values(frame.keypoints.values_K3, CONFIG)
    assert frame.keypoints.values_K3.dtype == np.int32
    assert 0 <= frame.number < 65_536


def check_message(error: CodecError) -> None:
    assert str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_truncated_at_every_byte(path: Path) -> None:
    data, reader, assembler = path.read_bytes(), primed_reader(), ControlAssembler()
    for length in range(len(data)) if len(data) < 1000 else range(0, len(data), 101):
        read_everywhere(data[:length], reader, assembler)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_flipped_at_every_bit(path: Path) -> None:
    data, reader, assembler = path.read_bytes(), primed_reader(), ControlAssembler()
    last = 8 * len(data)
    # Every bit of the fields; in a picture's own bytes, which only the hash looks at, every 997th.
    for bit in range(last) if last < 8000 else [*range(8 * 60), *range(480, last, 997)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        read_everywhere(bytes(flipped), reader, assembler)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    reader, assembler = primed_reader(), ControlAssembler()
    read_everywhere(data, reader, assembler)
    for form in (b"\x00", b"\x01", b"\x10", b"\x80", b"\xff"):
        read_everywhere(form + data, reader, assembler)


def test_a_mutated_stream_never_breaks_the_reader() -> None:
    rng = random.Random(1)
    payloads = stream(60)
    for _ in range(60):
        reader, assembler = StreamReader(CONFIG, MODEL_SHA256, PRIORS), ControlAssembler()
        for payload in payloads:
            read_everywhere(mutated(payload, payloads, rng), reader, assembler)
        # Whatever it was fed, a keyframe puts it right.
        restarted = StreamWriter(CONFIG, MODEL_SHA256, PRIORS, first_number=rng.randrange(65_536))
        for index in range(3):
            encoded = restarted.write(keypoints(np.full((20, 3), 0.1 * index)))
            frame = reader.read(encoded.payload)
            np.testing.assert_array_equal(frame.keypoints.values_K3, encoded.keypoints.values_K3)


def mutated(payload: bytes, others: list[bytes], rng: random.Random) -> bytes:
    data = bytearray(payload)
    match rng.randrange(7):
        case 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del data[rng.randrange(len(data)) :]
        case 2:
            data += rng.randbytes(rng.randrange(1, 20))
        case 3:
            data = data[: len(data) // 2] + rng.choice(others)[len(data) // 2 :]
        case 4:
            data = bytearray(rng.choice(others))
    return bytes(data)


@pytest.mark.parametrize("version", [6, 7, 12])
def test_another_version_is_refused_by_name(version: int) -> None:
    bumped = envelope(PLAIN, version) + FIXTURES[0].read_bytes()[1:]
    for read in (StreamReader(CONFIG, MODEL_SHA256, PRIORS).read, ControlAssembler().feed):
        with pytest.raises(VersionError, match=f"payload has wire version {version}; this build speaks 5"):
            read(bumped)


@pytest.mark.parametrize("version", [1, 4, 15])
def test_an_envelope_of_before_is_refused_by_name(version: int) -> None:
    old = bytes([version << 4]) + FIXTURES[0].read_bytes()[1:]
    with pytest.raises(VersionError, match=f"payload has wire version {version}; this build speaks 5"):
        ControlAssembler().feed(old)
    with pytest.raises(CodecError):  # there it could be a frame, and the session description told the version
        StreamReader(CONFIG, MODEL_SHA256, PRIORS).read(old)


def test_an_empty_payload_is_refused_by_name() -> None:
    with pytest.raises(BitstreamError, match="payload is empty"):
        primed_reader().read(b"")


def test_oversized_payloads_are_refused() -> None:
    with pytest.raises(BitstreamError, match=f"at most {MAX_FRAME_BYTES + 1} are valid"):
        primed_reader().read(b"\x00" + bytes(MAX_FRAME_BYTES + 1))
    with pytest.raises(BitstreamError, match=f"at most {MAX_CONTROL_BYTES} are valid"):
        ControlAssembler().feed(b"\x00" + bytes(MAX_CONTROL_BYTES))


def bomb(num_bytes: int) -> bytes:
    return b"\x01" + zstandard.ZstdCompressor(level=1).compress(bytes(num_bytes)).removeprefix(ZSTD_MAGIC)


def test_a_zstd_bomb_is_refused_before_it_is_unpacked() -> None:
    data = bomb(64 << 20)
    assert len(data) < MAX_CONTROL_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(BitstreamError, match=f"claims {64 << 20} bytes; at most {MAX_CONTROL_BYTES} are valid"):
            unpack(data, MAX_CONTROL_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_zstd_body_that_hides_its_size_is_refused() -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    body = compressor.compress(bytes(1 << 20)).removeprefix(ZSTD_MAGIC)
    with pytest.raises(BitstreamError, match="zstd body does not state its size"):
        unpack(b"\x01" + body, MAX_CONTROL_BYTES)


def test_a_zstd_body_that_lies_about_its_size_is_refused() -> None:
    # Single-segment frames of 256 to 65,791 bytes state their size less 256 in the two bytes after the descriptor.
    data = bytearray(bomb(10_000))
    assert data[1] >> 6 == 1
    data[2:4] = (300 - 256).to_bytes(2, "little")
    with pytest.raises(BitstreamError, match="zstd body is corrupt"):
        unpack(bytes(data), MAX_CONTROL_BYTES)


def test_a_zstd_body_with_bytes_behind_it_is_refused() -> None:
    with pytest.raises(BitstreamError, match="zstd body is corrupt"):
        unpack(bomb(1000) + b"x", MAX_CONTROL_BYTES)


def test_a_zstd_body_that_names_a_dictionary_is_refused() -> None:
    samples = [f"sample {index} of {index * 7} words".encode() for index in range(2000)]
    dictionary = zstandard.train_dictionary(2048, [*samples], dict_id=77)
    body = zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[5] * 4).removeprefix(ZSTD_MAGIC)
    with pytest.raises(BitstreamError, match="zstd body needs dictionary 77"):
        unpack(b"\x01" + body, MAX_CONTROL_BYTES)


@given(st.binary(max_size=64))
def test_a_coded_frame_of_random_bytes(coded: bytes) -> None:
    reader = primed_reader()
    try:
        check_frame(reader.read(b"\x80" + coded))
    except CodecError as error:
        check_message(error)


def test_a_bare_body_is_no_larger_than_others() -> None:
    for size in (MAX_FRAME_BYTES - 1, MAX_FRAME_BYTES, 20_000):
        with pytest.raises(BitstreamError):
            primed_reader().read(b"\x80" + bytes(size - 1) + b"\x01")
    with pytest.raises(BitstreamError, match=f"at most {MAX_CONTROL_BYTES - 1} are valid"):
        unpack(b"\x80" + bytes(1 << 14), MAX_CONTROL_BYTES, may_be_bare=True)
