from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import BitstreamError
from codec.rtc.acknowledge import LOSSY_S, Acknowledger, pack_acknowledgement, unpack_acknowledgement


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(st.integers(0, 65_535))
def test_an_acknowledgement_comes_back(number: int) -> None:
    assert unpack_acknowledgement(pack_acknowledgement(number)) == number


@given(st.binary(max_size=12))
def test_other_bytes_are_refused_or_a_number(fci: bytes) -> None:
    if len(fci) == 4 and fci[0] == 0:
        assert 0 <= unpack_acknowledgement(fci) < 65_536
    else:
        with pytest.raises(BitstreamError, match="it must have 4, and no padding"):
            unpack_acknowledgement(fci)


def test_nothing_is_said_while_nothing_is_lost() -> None:
    sent: list[int] = []
    acknowledger = Acknowledger(sent.append, Clock())
    for number in range(100):
        acknowledger.note_packet(number, 1)
    assert sent == []


def test_after_a_loss_every_third_packet_is_answered_for_a_while() -> None:
    sent: list[int] = []
    clock = Clock()
    acknowledger = Acknowledger(sent.append, clock)
    acknowledger.note_packet(5, 2)
    for number in range(6, 16):
        acknowledger.note_packet(number, 1)
    assert sent == [5, 8, 11, 14]
    clock.now_s += LOSSY_S
    for number in range(16, 30):
        acknowledger.note_packet(number, 1)
    assert sent == [5, 8, 11, 14]


def test_a_missing_base_is_answered_at_once_but_not_too_often() -> None:
    sent: list[int] = []
    clock = Clock()
    acknowledger = Acknowledger(sent.append, clock)
    for _ in range(3):
        acknowledger.note_missing_base(7)
    clock.now_s += 0.05
    acknowledger.note_missing_base(7)
    assert sent == [7, 7]
