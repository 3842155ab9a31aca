from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.pack import MAX_ENVELOPE, MIN_COMPRESSIBLE_BYTES, PLAIN, ZSTD, envelope, pack, unpack
from codec.config import WIRE_VERSION
from codec.errors import BitstreamError, VersionError
from proto.frame_pb2 import Frame


def fields_of_4() -> st.SearchStrategy[bytes]:
    """Messages of field 4 alone, and of nothing else."""
    return st.binary(max_size=300).map(lambda content: Frame(coded=content).SerializeToString())


@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=8).map(lambda text: text.encode() * 90), fields_of_4()),
    st.booleans(),
)
def test_messages_come_back(message: bytes, may_be_bare: bool) -> None:
    payload = pack(message, may_be_bare=may_be_bare)
    assert len(payload) <= len(message) + 1
    assert unpack(payload, 4096, may_be_bare=may_be_bare) == message


def test_a_message_of_field_4_alone_goes_bare_where_it_may() -> None:
    for content in (b"\x10", b"\xff" * 127, b"\x80" * 128, b"\x20" * 1000):
        message = Frame(coded=content).SerializeToString()
        assert pack(message, may_be_bare=True) == content
        assert unpack(content, 4096, may_be_bare=True) == message
        assert pack(message)[0] <= MAX_ENVELOPE
    for message in (Frame(coded=b"\x0fabc").SerializeToString(), Frame(coded=b"abc").SerializeToString() + b"\x08\x01"):
        assert pack(message, may_be_bare=True) == envelope(PLAIN) + message


def test_an_envelope_tells_its_version() -> None:
    assert envelope(PLAIN) == b"\x00"
    for version in range(WIRE_VERSION + 1, WIRE_VERSION + 8):
        with pytest.raises(VersionError, match=f"payload has wire version {version}; this build speaks 5"):
            unpack(envelope(PLAIN, version) + b"abc", 4096, may_be_bare=True)
    for version in range(1, 5):  # as it was told up to version 4
        with pytest.raises(VersionError, match=f"payload has wire version {version}; this build speaks 5"):
            unpack(bytes([version << 4]) + b"abc", 4096)


def test_the_smaller_form_is_sent() -> None:
    noise = random.Random(0).randbytes(500)
    assert pack(noise) == envelope(PLAIN) + noise
    words = b"again and again " * 30
    assert pack(words)[:1] == envelope(ZSTD)
    assert len(pack(words)) < 50
    assert len(pack(bytes(MIN_COMPRESSIBLE_BYTES))) < 20


def test_the_limit_is_of_the_message_in_either_form() -> None:
    words = b"again and again " * 30
    assert unpack(pack(words), len(words)) == words
    with pytest.raises(BitstreamError, match=f"claims {len(words)} bytes; at most {len(words) - 1} are valid"):
        unpack(pack(words), len(words) - 1)
    noise = random.Random(0).randbytes(500)
    assert unpack(pack(noise), 500) == noise
    with pytest.raises(BitstreamError, match="payload has 501 bytes; at most 500 are valid"):
        unpack(pack(noise), 499)
