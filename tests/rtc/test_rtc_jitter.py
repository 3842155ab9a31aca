from __future__ import annotations

import pytest
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from codec.rtc.jitter import PromptJitterBuffer
from codec.rtc.payload import RtpPayload
from codec.rtc.stats import PluginStats


@pytest.fixture
def stats() -> PluginStats:
    return PluginStats()


@pytest.fixture
def buffer(stats: PluginStats) -> PromptJitterBuffer:
    return PromptJitterBuffer(capacity=16, is_video=True, stats=stats)


def packet(sequence_number: int, data: bytes, ssrc: int = 1) -> RtpPacket:
    rtp = RtpPacket(sequence_number=sequence_number % 65_536, timestamp=3000 * sequence_number % 2**32)
    rtp.ssrc = ssrc
    rtp.__dict__["_data"] = data
    return rtp


def ours(sequence_number: int, ssrc: int = 1) -> RtpPacket:
    return packet(sequence_number, RtpPayload.arrived(b"%d" % sequence_number), ssrc)


def released(buffer: JitterBuffer, rtp: RtpPacket) -> bytes | None:
    _, frame = buffer.add(rtp)
    assert frame is None or isinstance(frame, JitterFrame)
    return None if frame is None else frame.data


def test_each_packet_is_released_at_once(buffer: PromptJitterBuffer) -> None:
    assert [released(buffer, ours(number)) for number in (7, 8, 9)] == [b"7", b"8", b"9"]


def test_a_gap_holds_nothing_back(buffer: PromptJitterBuffer) -> None:
    assert [released(buffer, ours(number)) for number in (7, 19, 700)] == [b"7", b"19", b"700"]


def test_late_and_repeated_packets_are_dropped_and_counted(buffer: PromptJitterBuffer, stats: PluginStats) -> None:
    assert [released(buffer, ours(number)) for number in (7, 9, 8, 9, 10)] == [b"7", b"9", None, None, b"10"]
    assert stats.snapshot().late_dropped == 2


def test_sequence_numbers_wrap(buffer: PromptJitterBuffer, stats: PluginStats) -> None:
    numbers = (65_534, 65_535, 65_536, 65_537, 65_535)
    assert [released(buffer, ours(number)) for number in numbers] == [b"65534", b"65535", b"65536", b"65537", None]
    assert stats.snapshot().late_dropped == 1


@pytest.mark.parametrize("jump", [-30_000, -1000, -102, 3001, 30_000])
def test_a_restarted_sender_is_followed_from_its_second_packet(buffer: PromptJitterBuffer, jump: int) -> None:
    numbers = (40_000, 40_000 + jump, 40_001 + jump, 40_002 + jump)
    assert [released(buffer, ours(number)) for number in numbers] == [
        b"40000",
        None,
        b"%d" % numbers[2],
        b"%d" % numbers[3],
    ]


def test_a_stray_packet_does_not_turn_the_clock_back(buffer: PromptJitterBuffer, stats: PluginStats) -> None:
    numbers = (40_000, 39_000, 40_001, 39_001, 40_002, 38_000, 37_000, 40_003)
    wanted = [b"40000", None, b"40001", None, b"40002", None, None, b"40003"]
    assert [released(buffer, ours(number)) for number in numbers] == wanted
    assert stats.snapshot().late_dropped == 4


def test_another_source_is_followed_at_once(buffer: PromptJitterBuffer) -> None:
    assert released(buffer, ours(40_000)) == b"40000"
    assert released(buffer, ours(38_999, ssrc=2)) == b"38999"
    assert buffer.ssrc == 2


def test_other_codecs_keep_the_stock_behaviour(buffer: PromptJitterBuffer) -> None:
    stock = JitterBuffer(capacity=16, is_video=True)
    for number in (3, 4, 6, 5, 7, 300, 301, 299, 20, 21, 22):
        theirs, reference = buffer.add(packet(number, b"vp8")), stock.add(packet(number, b"vp8"))
        assert theirs[0] == reference[0]
        assert (theirs[1] is None) == (reference[1] is None)
        assert not buffer.is_prompt


def test_codecs_may_change_within_a_stream(buffer: PromptJitterBuffer) -> None:
    assert released(buffer, ours(1)) == b"1"
    assert released(buffer, packet(2, b"")) is None
    assert buffer.is_prompt
    assert released(buffer, packet(3, b"vp8")) is None
    assert not buffer.is_prompt
    assert released(buffer, packet(4, b"vp8")) == b"vp8"
    assert released(buffer, ours(2)) == b"2"
