"""How often a stream of this codec reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiortc import RTCRtpSender
from aiortc.rtp import RtcpByePacket, RtcpSenderInfo, RtcpSrPacket

from codec.rtc.reports import LEAST_INTERVAL_S, NUM_AT_ONCE, with_pauses
from codec.rtc.seams import LAST_REPORT_ATTRIBUTES, PACKETS_SENT_ATTRIBUTE

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack


class Stage:
    """A sender that reports once a second on a clock of its own."""

    def __init__(self, sender: RTCRtpSender) -> None:
        self.sender, self.now_s = sender, 0.0
        self.sent: list[tuple[float, list[Any]]] = []
        self.send = with_pauses(self._original, lambda: self.now_s)

    async def _original(self, sender: RTCRtpSender, packets: list[Any]) -> None:
        assert sender is self.sender
        self.sent.append((self.now_s, packets))

    async def second(self, num_packets: int) -> None:
        self.now_s += 1.0
        setattr(self.sender, PACKETS_SENT_ATTRIBUTE, getattr(self.sender, PACKETS_SENT_ATTRIBUTE) + num_packets)
        for attribute in LAST_REPORT_ATTRIBUTES:
            setattr(self.sender, attribute, self.now_s)
        await self.send(self.sender, [RtcpSrPacket(1, RtcpSenderInfo(0, 0, 0, 0))])


@pytest.mark.parametrize("is_ours", [True, False])
async def test_reports_come_as_seldom_as_the_standard_has_them(
    loopback: Loopback, video: MovingSquareTrack, monkeypatch: pytest.MonkeyPatch, is_ours: bool
) -> None:
    monkeypatch.setattr("codec.rtc.feedback.stream_codec", lambda sender: object() if is_ours else None)
    stage = Stage(loopback.caller.addTrack(video))
    for _ in range(20):
        await stage.second(25)
    times_s = [time_s for time_s, _ in stage.sent]
    assert times_s == ([1, 2, 3, 8, 13, 18] if is_ours else list(range(1, 21)))
    assert getattr(stage.sender, LAST_REPORT_ATTRIBUTES[0]) == times_s[-1]
    assert len(times_s) > NUM_AT_ONCE
    assert not is_ours or times_s[-1] - times_s[-2] >= LEAST_INTERVAL_S


async def test_a_silent_stream_reports_as_ever_and_every_end_is_told(
    loopback: Loopback, video: MovingSquareTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.rtc.feedback.stream_codec", lambda sender: object())
    stage = Stage(loopback.caller.addTrack(video))
    for _ in range(10):
        await stage.second(0)
    assert len(stage.sent) == 10
    await stage.second(25)
    assert len(stage.sent) == 10
    bye = [RtcpByePacket([1])]
    await stage.send(stage.sender, bye)
    assert stage.sent[-1] == (11, bye)
