from __future__ import annotations

import threading

import numpy as np
import pytest

from codec.rtc import ReceivedFrame
from codec.rtc.conceal import LONGEST_S, MAX_CONCEALED, PATIENCE_S, Concealer
from codec.structs import CodedFrame, QuantisedKeypoints

TIMEOUT_S = 30.0


class Guesses:
    """What a concealer called for, and a way to wait for it."""

    def __init__(self) -> None:
        self.distances: list[int] = []
        self.changed = threading.Condition()

    def __call__(self, distance: int) -> None:
        with self.changed:
            self.distances.append(distance)
            self.changed.notify_all()

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.distances) >= count, TIMEOUT_S)


@pytest.fixture
def guesses() -> Guesses:
    return Guesses()


def test_overdue_frames_are_guessed_in_order_and_not_for_ever(guesses: Guesses) -> None:
    concealer = Concealer(guesses)
    concealer.note_packet(is_due_in_s=0.0, interval_s=0.0)
    assert guesses.wait_for(MAX_CONCEALED)
    assert guesses.distances == list(range(1, MAX_CONCEALED + 1))
    assert concealer.wait_s() is None


def test_a_packet_begins_the_count_anew(guesses: Guesses) -> None:
    concealer = Concealer(guesses, clock=lambda: 100.0)
    for _ in range(2):
        concealer.note_packet(is_due_in_s=-PATIENCE_S, interval_s=LONGEST_S)
        seen = len(guesses.distances)
        assert guesses.wait_for(seen + 1)
    concealer.close()
    assert guesses.distances == [1, 1]


def test_nothing_is_guessed_of_a_stream_that_rests(guesses: Guesses) -> None:
    concealer = Concealer(guesses, clock=lambda: 100.0)
    concealer.note_packet(is_due_in_s=1.0, interval_s=0.04)
    concealer.note_packet(is_due_in_s=-1.0, interval_s=0.5)
    assert concealer.wait_s() is None
    concealer.close()
    assert guesses.distances == []


def test_frames_are_waited_for_until_their_time_and_some_patience() -> None:
    now_s = 100.0
    concealer = Concealer(lambda _: None, clock=lambda: now_s)
    concealer.close()
    assert concealer.wait_s() is None
    concealer.note_packet(is_due_in_s=0.04, interval_s=0.04)
    assert concealer.wait_s() == pytest.approx(0.04 + PATIENCE_S)
    now_s = 101.0
    assert concealer.wait_s() == 0.0


def test_no_thread_outlives_a_closed_concealer(guesses: Guesses) -> None:
    concealer = Concealer(guesses)
    concealer.note_packet(is_due_in_s=60.0, interval_s=0.04)
    own = [thread for thread in threading.enumerate() if thread.name == "warpcall-concealer"]
    concealer.close()
    for thread in own:
        thread.join(TIMEOUT_S)
    assert own
    assert not any(thread.is_alive() for thread in own)
    assert guesses.distances == []


@pytest.mark.parametrize(("is_repeated", "is_concealed"), [(True, False), (False, True), (False, False)])
def test_a_time_is_a_guess_where_its_own_packet_did_not_come(is_repeated: bool, is_concealed: bool) -> None:
    keypoints = QuantisedKeypoints(np.zeros((20, 3), dtype=np.int32))
    coded = CodedFrame(1, 0, keypoints, is_repeated=is_repeated, is_concealed=is_concealed)
    assert ReceivedFrame(coded, 3_600, 0.0).is_time_guessed == (is_repeated or is_concealed)
