"""A link that loses and delays datagrams, between two real peer connections on this machine, and counts their bytes.

    RTCPeerConnection --SRTP, SRTCP--> Link: counted, lost by a seeded model, late --> loopback

The seam is aiortc's DTLS transport, where one call is one datagram; a datagram on the wire has the IPv4 and UDP headers
besides. DTLS and STUN, which do not carry pictures, pass untouched.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiortc.rtp import is_rtcp

IP_UDP_BYTES = 28
FIRST_MEDIA_BYTE, LAST_MEDIA_BYTE = 128, 191


@dataclass(slots=True)
class Counted:
    """What went onto a link.

    Attributes:
        packets: datagrams of one kind.
        wire_bytes: their bytes with IPv4 and UDP headers.
    """

    packets: int = 0
    wire_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count a datagram."""
        self.packets += 1
        self.wire_bytes += size_bytes + IP_UDP_BYTES


def random_loss(share: float, seed: int) -> Callable[[], bool]:
    """Return a model that loses each datagram with the same probability."""
    rng = random.Random(seed)
    return lambda: rng.random() < share


def burst_loss(share: float, length: int, seed: int) -> Callable[[], bool]:
    """Return a model that loses runs of datagrams, this share of all in the long run."""
    rng = random.Random(seed)
    left = 0
    start = share / (length - share * (length - 1)) if share else 0.0

    def is_lost() -> bool:
        nonlocal left
        if left:
            left -= 1
            return True
        if rng.random() < start:
            left = length - 1
            return True
        return False

    return is_lost


class Link:
    """One direction of a connection's media.

    Args:
        delay_s: of each datagram.
        is_lost: asked about each datagram, in order.
    """

    def __init__(self, delay_s: float, is_lost: Callable[[], bool]) -> None:
        self.rtp, self.rtcp, self.lost = Counted(), Counted(), Counted()
        self._delay_s = delay_s
        self._is_lost = is_lost

    def attach(self, transport: Any) -> None:
        """Stand between a connection's ``RTCDtlsTransport`` and its socket."""
        ice = transport.transport
        send = ice._send

        async def through(data: bytes) -> None:
            if not data or not FIRST_MEDIA_BYTE <= data[0] <= LAST_MEDIA_BYTE:
                await send(data)
                return
            (self.rtcp if is_rtcp(data) else self.rtp).add(len(data))
            if self._is_lost():
                self.lost.add(len(data))
                return
            asyncio.get_running_loop().call_later(self._delay_s, lambda: asyncio.ensure_future(_quietly(send, data)))

        ice._send = through


async def _quietly(send: Callable[[bytes], Any], data: bytes) -> None:
    try:
        await send(data)
    except ConnectionError:
        return  # the call ended while the datagram was under way
