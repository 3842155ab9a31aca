"""The levers on the wire, over real peer connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from codec import Model
from codec.rtc import Plugin, ReceivedFrame, register, unregister

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack


@pytest.mark.parametrize(("header_extensions", "header_bytes"), [(True, 12), (False, 0)])
async def test_header_extensions_can_be_left_out(
    tiny_model: Model, loopback: Loopback, video: MovingSquareTrack, header_extensions: bool, header_bytes: int
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
    assert set(sizes[1:]) == {header_bytes}


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
