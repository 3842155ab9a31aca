"""Stage 7 of 8, sending end: sender reports as often as RFC 3550 has them, not as often as aiortc.

aiortc reports once a second, 1 kbit/s with all headers: an eighth of a stream of two pictures a packet. RFC 3550
(section 6.2) gives reports a twentieth of the stream's bits, and five seconds between two of them at least. What our
receivers need to know of time comes as ``Clock`` messages; the round trip is measured by the reports that are sent.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RtcpSrPacket

from codec.rtc import feedback
from codec.rtc.seams import LAST_REPORT_ATTRIBUTES, PACKETS_SENT_ATTRIBUTE

LEAST_INTERVAL_S = 4.5
NUM_AT_ONCE = 3
"""The first reports go at aiortc's pace: people want to see the round trip."""

SendRtcp = Callable[[RTCRtpSender, Any], Awaitable[None]]


@dataclass(slots=True)
class _Reported:
    """What one stream has reported."""

    number: int = 0
    time_s: float = float("-inf")
    packets: int = 0
    last: tuple[Any, ...] = (None, None)


_reported: weakref.WeakKeyDictionary[RTCRtpSender, _Reported] = weakref.WeakKeyDictionary()


def with_pauses(original: SendRtcp, now: Callable[[], float] = time.monotonic) -> SendRtcp:
    """Return aiortc's way to send RTCP with most sender reports of this codec's streams left out.

    A stream that sends nothing reports as often as before: somebody may take its silence for its end.
    """

    @functools.wraps(original)
    async def send_rtcp(self: RTCRtpSender, packets: list[Any]) -> None:
        if feedback.stream_codec(self) is None or not any(isinstance(packet, RtcpSrPacket) for packet in packets):
            await original(self, packets)
            return
        reported = _reported.setdefault(self, _Reported())
        before, reported.packets = reported.packets, getattr(self, PACKETS_SENT_ATTRIBUTE)
        if reported.packets != before and reported.number >= NUM_AT_ONCE and now() - reported.time_s < LEAST_INTERVAL_S:
            for attribute, value in zip(LAST_REPORT_ATTRIBUTES, reported.last, strict=True):
                setattr(self, attribute, value)
            return
        reported.number, reported.time_s = reported.number + 1, now()
        reported.last = tuple(getattr(self, attribute) for attribute in LAST_REPORT_ATTRIBUTES)
        await original(self, packets)

    return send_rtcp
