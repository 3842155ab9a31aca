"""The levers on the wire, over real peer connections."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from aiortc import RTCDtlsTransport
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from benchmarks.wire.link import Link
from codec import Model
from codec.rtc import (
    HEADER_BYTES,
    Plugin,
    ReceivedFrame,
    TagBytes,
    header_bytes,
    header_bytes_of,
    overhead,
    register,
    unregister,
)
from codec.rtc.overhead import SEND_TIME

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack


@pytest.mark.parametrize(("header_extensions", "num_bytes"), [(True, 8), (False, 0)])
async def test_header_extensions_tell_the_time_of_sending_or_are_left_out(
    tiny_model: Model, loopback: Loopback, video: MovingSquareTrack, header_extensions: bool, num_bytes: int
) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", header_extensions=header_extensions)
    register(plugin)
    sizes = []

    def note(packet: bytes) -> bytes:
        sizes.append(len(packet) - 12 - len(RtpPacket.parse(packet, HeaderExtensionsMap()).payload))
        return packet

    try:
        loopback.caller.addTrack(video)
        await loopback.connect()
        loopback.change_packets(note)
        await loopback.read(5)
    finally:
        unregister()
    assert set(sizes[1:]) == {num_bytes}


@pytest.mark.parametrize("auth_tag_bytes", [4, 10, 16])
@pytest.mark.parametrize("header_extensions", [True, False])
async def test_what_a_packet_costs_is_what_was_agreed(
    tiny_model: Model, loopback: Loopback, video: MovingSquareTrack, header_extensions: bool, auth_tag_bytes: TagBytes
) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", header_extensions=header_extensions, auth_tag_bytes=auth_tag_bytes)
    register(plugin)
    link, payload_bytes = Link(0.0, lambda: False), 0

    def note(packet: bytes) -> bytes:
        nonlocal payload_bytes
        payload_bytes += len(RtpPacket.parse(packet, HeaderExtensionsMap()).payload)
        return packet

    try:
        loopback.caller.addTrack(video)
        await loopback.connect()
        assert header_bytes_of(loopback.caller) == HEADER_BYTES
        link.attach(loopback.caller.getSenders()[0].transport)
        loopback.change_packets(note)
        await loopback.read(5)
        agreed = header_bytes_of(loopback.caller), header_bytes_of(loopback.callee)
        assert link.rtp.wire_bytes - payload_bytes == agreed[0] * link.rtp.packets
    finally:
        unregister()
    assert agreed[0] == agreed[1] == header_bytes((SEND_TIME,) if header_extensions else (), auth_tag_bytes)


async def test_a_peer_without_the_shortest_tag_has_the_next(
    tiny_model: Model, loopback: Loopback, video: MovingSquareTrack
) -> None:
    register(Plugin(tiny_model, pictures="deferred", auth_tag_bytes=4))
    try:
        loopback.caller.addTrack(video)
        transport = loopback.callee.addTransceiver("video", direction="recvonly").receiver.transport
        aiortcs_own = vars(RTCDtlsTransport)["start"].__wrapped__
        transport.__dict__["start"] = functools.partial(aiortcs_own, transport)
        await loopback.connect()
        await loopback.read(2)
        assert overhead.tag_bytes_of(loopback.caller.getSenders()[0].transport) == 10
    finally:
        unregister()


async def test_three_pictures_share_a_packet_and_come_one_after_the_other(
    tiny_model: Model, loopback: Loopback, video: MovingSquareTrack
) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", frames_per_packet=3)
    register(plugin)
    try:
        loopback.caller.addTrack(video)
        await loopback.connect()
        received = [frame.opaque for frame in await loopback.read(13)]
    finally:
        unregister()
    found = [each for each in received if isinstance(each, ReceivedFrame)]
    assert [each.coded.number for each in found] == list(range(13))
    assert [round(each.wait_s * 30) for each in found[1:]] == [0, 1, 2] * 4
    counts = plugin.stats.snapshot()
    assert counts.frames_recovered == 0
