from __future__ import annotations

import time

import pytest

from codec.errors import BitstreamError
from codec.rtc.payload import MAX_PAYLOAD_BYTES, RtpPayload, pack_payload, unpack_payload


@pytest.mark.parametrize("size", [1, 17, MAX_PAYLOAD_BYTES])
def test_one_message_is_one_payload(size: int) -> None:
    message = bytes(range(256)) * 5
    [payload] = pack_payload(message[:size])
    assert unpack_payload(RtpPayload.arrived(payload)) == message[:size]


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD_BYTES + 1, 65_000])
def test_other_sizes_are_refused_at_both_ends(size: int) -> None:
    sentence = f"an RTP payload of {size} bytes; it must have 1 to {MAX_PAYLOAD_BYTES}"
    with pytest.raises(BitstreamError, match=sentence):
        pack_payload(bytes(size))
    with pytest.raises(BitstreamError, match=sentence):
        unpack_payload(RtpPayload.arrived(bytes(size)))


def test_a_payload_knows_when_it_came() -> None:
    before_s = time.time()
    payload = RtpPayload.arrived(b"frame")
    assert payload == b"frame"
    assert before_s <= payload.arrival_time_s <= time.time()
