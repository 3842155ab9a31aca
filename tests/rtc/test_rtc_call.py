"""Loopback: two real peer connections in one event loop."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.rtp import AnyRtcpPacket, HeaderExtensionsMap, RtcpRtpfbPacket, RtpPacket

from codec.rtc import Plugin, ReceivedFrame, is_negotiated, prefer_ordinary, prefer_warpcall, registered, unregister
from codec.structs import EncodedFrame

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack


def received(frame: object) -> ReceivedFrame:
    opaque = getattr(frame, "opaque", None)
    assert isinstance(opaque, ReceivedFrame)
    return opaque


async def test_coded_frames_arrive(deferred: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    sent: dict[int, EncodedFrame] = {}
    opaques: list[object] = []

    def on_encoded(encoded: EncodedFrame, pts: int, opaque: object) -> None:
        sent[encoded.number] = encoded
        opaques.append(opaque)

    deferred.on_encoded = on_encoded
    loopback.caller.addTrack(video)
    await loopback.connect()
    assert is_negotiated(loopback.caller)
    assert is_negotiated(loopback.callee)
    assert is_negotiated(loopback.callee.localDescription.sdp)
    assert not is_negotiated(loopback.caller.localDescription.sdp)
    frames = [received(frame) for frame in await loopback.read(20)]
    for before, after in itertools.pairwise(frames):
        assert after.coded.number > before.coded.number
        assert after.pts - before.pts == 3000 * (after.coded.number - before.coded.number)
    for frame in frames:
        np.testing.assert_array_equal(frame.coded.keypoints.values_K3, sent[frame.coded.number].keypoints.values_K3)
        assert 0 <= time.time() - frame.arrival_time_s < 60
    assert opaques[:5] == [0, 1, 2, 3, 4]


async def test_pictures_arrive(inline: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect()
    pictures = await loopback.read(5)
    assert {(picture.width, picture.height) for picture in pictures} == {(64, 64)}
    numbers = [received(picture).coded.number for picture in pictures]
    assert numbers == sorted(set(numbers))
    assert inline.stats.snapshot().pictures_generated >= 5


async def test_both_ends_can_send(deferred: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    back: list[MediaStreamTrack] = []
    loopback.caller.on("track", back.append)
    loopback.caller.addTrack(video)
    loopback.callee.addTrack(type(video)())
    await loopback.connect()
    await loopback.read(3)
    received(await back[0].recv())


async def test_a_keyframe_comes_on_request(deferred: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect()
    frames = await loopback.read(3)
    assert [received(frame).coded.is_keyframe for frame in frames] == [True, False, False]
    await loopback.callee.getReceivers()[0]._send_rtcp_pli(loopback.caller.getSenders()[0]._ssrc)
    while not received((await loopback.read(1))[0]).coded.is_keyframe:
        assert deferred.stats.snapshot().frames_received < 300
    assert deferred.stats.snapshot().keyframes_sent == 2


async def test_a_tenth_of_the_packets_may_be_lost(
    inline: Plugin, loopback: Loopback, video: MovingSquareTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    nacks: list[object] = []
    rng = np.random.default_rng(4)
    num_lost = 0

    def lose(packet: bytes) -> bytes | None:
        nonlocal num_lost
        is_lost = rng.random() < 0.1
        num_lost += is_lost
        return None if is_lost else packet

    loopback.caller.addTrack(video)
    await loopback.connect()
    receiver = loopback.callee.getReceivers()[0]
    send_rtcp = receiver._send_rtcp

    async def watched(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpRtpfbPacket):
            nacks.append(packet)
        await send_rtcp(packet)

    monkeypatch.setattr(receiver, "_send_rtcp", watched)
    loopback.change_packets(lose)
    numbers = [received(picture).coded.number for picture in await loopback.read(40)]
    counts = inline.stats.snapshot()
    assert numbers == sorted(set(numbers))
    assert num_lost > 0
    assert counts.frames_recovered > 0
    assert counts.keyframes_sent == 1
    assert counts.frames_received > 0.95 * counts.frames_sent - 3
    assert nacks == []


async def test_a_keyframe_is_asked_for_without_waiting_for_another_packet(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    num_packets = 0

    def pass_the_fourth(packet: bytes) -> bytes | None:
        nonlocal num_packets
        num_packets += 1
        return packet if num_packets == 4 else None  # it repeats the two frames before it, not the keyframe

    loopback.caller.addTrack(video)
    await loopback.connect()
    loopback.change_packets(pass_the_fourth)
    await loopback.until(lambda: deferred.stats.snapshot().keyframes_sent == 2, "the keyframe was sent")
    counts = deferred.stats.snapshot()
    assert (counts.frames_received, counts.undecodable_dropped, counts.keyframes_requested) == (0, 1, 1)


async def test_corrupted_payloads_are_dropped_and_the_call_goes_on(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    rng = np.random.default_rng(5)
    num_packets = 0

    def corrupt(packet: bytes) -> bytes:
        nonlocal num_packets
        num_packets += 1
        size = len(RtpPacket.parse(packet, HeaderExtensionsMap()).payload)
        return packet[:-size] + rng.bytes(int(rng.integers(1, 1300))) if num_packets % 4 == 0 else packet

    loopback.caller.addTrack(video)
    await loopback.connect()
    loopback.change_packets(corrupt)
    await loopback.until(lambda: deferred.stats.snapshot().undecodable_dropped >= 10, "ten payloads were refused")
    num_frames = deferred.stats.snapshot().frames_received
    await loopback.until(lambda: deferred.stats.snapshot().frames_received >= num_frames + 10, "ten more frames came")
    await loopback.read(3)
    counts = deferred.stats.snapshot()
    assert counts.keyframes_requested > 0
    assert counts.keyframes_sent > 1


async def test_a_stuck_generator_does_not_hold_up_the_end_of_the_call(
    inline: Plugin, loopback: Loopback, video: MovingSquareTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    generated: list[int] = []

    def slow(*_: object) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
        generated.append(1)
        assert may_go_on.wait(20)
        return np.zeros((64, 64, 3), np.uint8)

    monkeypatch.setattr("codec.decoder.Decoder.generate", slow)
    loopback.caller.addTrack(video)
    await loopback.connect()
    await loopback.until(lambda: inline.stats.snapshot().pictures_superseded >= 5, "newer frames won")
    assert len(generated) == 1
    begin_s = time.monotonic()
    await loopback.callee.close()
    assert time.monotonic() - begin_s < 5
    may_go_on.set()


async def test_a_program_that_does_not_read_gets_the_newest_frames(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect()
    await loopback.until(lambda: deferred.stats.snapshot().unread_dropped >= 10, "unread frames were dropped")
    numbers = [received(frame).coded.number for frame in await loopback.read(4)]
    assert numbers[0] >= 10
    assert numbers == list(range(numbers[0], numbers[0] + 4))


async def test_a_failing_encoder_does_not_stop_the_track(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect()
    await loopback.read(2)
    with monkeypatch.context() as patch:
        patch.setattr("codec.encoder.Encoder.detect", lambda *_: 1 // 0)
        await loopback.until(lambda: deferred.stats.snapshot().encode_failures >= 3, "three frames failed")
    num_frames = deferred.stats.snapshot().frames_received
    await loopback.until(lambda: deferred.stats.snapshot().frames_received >= num_frames + 5, "frames came again")
    assert deferred.stats.snapshot().keyframes_sent == 2


@pytest.mark.parametrize("is_reversed", [False, True], ids=["by the caller", "by the callee"])
async def test_renegotiation_keeps_the_codec(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack, is_reversed: bool
) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect()
    await loopback.read(3)
    loopback.caller.createDataChannel("more")
    if is_reversed:
        loopback.callee.createDataChannel("more")
    await loopback.connect(is_reversed=is_reversed)
    assert is_negotiated(loopback.caller)
    assert is_negotiated(loopback.callee)
    num_frames = deferred.stats.snapshot().frames_received
    await loopback.until(lambda: deferred.stats.snapshot().frames_received >= num_frames + 10, "frames go on")
    received((await loopback.read(1))[0])


async def test_the_callee_may_prefer_it_against_the_offer(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    loopback.caller.addTrack(video)
    loopback.callee.addTransceiver("video", direction="recvonly")
    prefer_warpcall(loopback.callee.getTransceivers()[0])

    def vp8_first(sdp: str) -> str:
        assert "SAVPF 103 97 98 99 100 101 102" in sdp
        return sdp.replace("SAVPF 103 97 98 99", "SAVPF 97 98 103 99")

    await loopback.connect(change_offer=vp8_first)
    assert is_negotiated(loopback.callee)
    received((await loopback.read(1))[0])


async def test_an_ordinary_call_is_preferred(deferred: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    loopback.caller.addTrack(video)
    prefer_ordinary(loopback.caller.getTransceivers()[0])
    await loopback.connect()
    assert not is_negotiated(loopback.caller)
    assert "X-WARPCALL" not in loopback.caller.localDescription.sdp
    [frame] = await loopback.read(1)
    assert (frame.width, frame.height, frame.opaque) == (96, 64, None)
    assert registered() is deferred
    unregister()
    with pytest.raises(Exception, match="X-WARPCALL is not registered"):
        prefer_warpcall(loopback.caller.getTransceivers()[0])
