from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.pack import MIN_COMPRESSIBLE_BYTES, PLAIN, ZSTD, pack, unpack
from codec.config import WIRE_VERSION
from codec.errors import BitstreamError


@given(st.one_of(st.binary(max_size=300), st.text(max_size=8).map(lambda text: text.encode() * 90)))
def test_messages_come_back(message: bytes) -> None:
    payload = pack(message)
    assert len(payload) <= len(message) + 1
    assert unpack(payload, 4096) == message


def test_the_smaller_form_is_sent() -> None:
    noise = random.Random(0).randbytes(500)
    assert pack(noise) == bytes([WIRE_VERSION << 4 | PLAIN]) + noise
    words = b"again and again " * 30
    assert pack(words)[0] == WIRE_VERSION << 4 | ZSTD
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
