"""One RTP stream that changes between keypoints and conventional video."""

from __future__ import annotations

import fractions
import itertools
import re
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from aiortc.codecs.h264 import H264Decoder, h264_depayload
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from codec.rtc import Plugin, ReceivedFrame
from codec.rtc.payload import RtpPayload
from codec.rtc.stats import PluginStats
from codec.rtc.switching import SwitchingJitterBuffer, stream_codec_of
from codec.rtc.video import LEAST_BPS, RateH264Encoder

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack

CHANGES = (6, 22, 30, 46)
"""Indices of the frames before which the codec changes, from keypoints to video first."""


def is_video_frame(index: object) -> bool:
    assert isinstance(index, int)
    return sum(index >= change for change in CHANGES) % 2 == 1


def index_of(frame: av.VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts // 3000


@pytest.fixture
def switching(deferred: Plugin) -> Plugin:
    deferred.choose_codec = lambda index: 200_000 if is_video_frame(index) else None
    return deferred


async def read_to(loopback: Loopback, last: int) -> list[av.VideoFrame]:
    frames = await loopback.read(1)
    while index_of(frames[-1]) < last:
        frames += await loopback.read(1)
    return frames


async def test_the_codec_changes_while_the_stream_runs(
    switching: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    encoded: list[tuple[int, bool, int, object]] = []
    switching.on_video_encoded = lambda *report: encoded.append(report)
    loopback.caller.addTrack(video)
    await loopback.connect()
    frames = await read_to(loopback, 58)

    kinds = [not isinstance(frame.opaque, ReceivedFrame) for frame in frames]
    assert [kind for kind, _ in itertools.groupby(kinds)] == [False, True, False, True, False]
    indices = [index_of(frame) for frame in frames]
    assert indices == sorted(set(indices))
    # The last frame of video before a change is the only one that does not come: nothing followed it.
    assert set(range(indices[0], indices[-1])) - set(indices) <= {change - 1 for change in CHANGES}
    assert {(frame.width, frame.height) for frame, kind in zip(frames, kinds, strict=True) if kind} == {(96, 64)}
    keyframes = [opaque for _, is_keyframe, _, opaque in encoded if is_keyframe]
    assert keyframes == [6, 30]
    after = next(frame.opaque for frame in frames if index_of(frame) == 22)
    assert isinstance(after, ReceivedFrame)
    assert after.coded.is_keyframe
    counts = switching.stats.snapshot()
    assert counts.undecodable_dropped == counts.encode_failures == 0
    assert counts.video_frames_sent >= 14 + 14
    assert counts.video_bytes_sent == pytest.approx(sum(size for size, *_ in encoded), rel=0.2)


async def test_lost_video_packets_come_again(switching: Plugin, loopback: Loopback, video: MovingSquareTrack) -> None:
    rng = np.random.default_rng(3)
    types: set[int] = set()

    def lose(packet: bytes) -> bytes | None:
        types.add(RtpPacket.parse(packet, HeaderExtensionsMap()).payload_type)
        return None if rng.random() < 0.05 else packet

    loopback.caller.addTrack(video)
    await loopback.connect()
    loopback.change_packets(lose)
    frames = await read_to(loopback, 58)
    indices = [index_of(frame) for frame in frames]
    assert indices == sorted(set(indices))
    assert len(types) == 2
    assert sum(not isinstance(frame.opaque, ReceivedFrame) for frame in frames) > 8


async def test_a_peer_that_takes_no_h264_gets_keypoints(
    switching: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    def without_h264(sdp: str) -> str:
        sdp = re.sub(r"a=(rtpmap|fmtp|rtcp-fb):(99|100|101|102) [^\r]*\r\n", "", sdp)
        return sdp.replace("SAVPF 103 97 98 99 100 101 102", "SAVPF 103 97 98")

    loopback.caller.addTrack(video)
    await loopback.connect(change_answer=without_h264)
    frames = await read_to(loopback, 30)
    assert all(isinstance(frame.opaque, ReceivedFrame) for frame in frames)


def packet(number: int, *, is_ours: bool, timestamp: int | None = None) -> RtpPacket:
    made = RtpPacket(
        sequence_number=number & 0xFFFF, ssrc=7, timestamp=3000 * number if timestamp is None else timestamp
    )
    made.__dict__["_data"] = RtpPayload.arrived(b"x") if is_ours else f"{number} ".encode()
    return made


def released(buffer: SwitchingJitterBuffer, *packets: RtpPacket) -> list[bytes]:
    frames = [buffer.add(each)[1] for each in packets]
    return [frame.data for frame in frames if frame is not None]


def test_the_other_codec_s_buffer_begins_anew_at_each_change() -> None:
    buffer = SwitchingJitterBuffer(512, is_video=True, stats=PluginStats())
    assert released(buffer, *(packet(number, is_ours=False) for number in (1, 2, 3))) == [b"1 ", b"2 "]
    assert released(buffer, *(packet(number, is_ours=True) for number in range(4, 204))) == [b"x"] * 200
    assert released(buffer, *(packet(number, is_ours=False) for number in (204, 205))) == [b"204 "]


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_comes_late_from_before_a_change_is_dropped(is_ours: bool) -> None:
    buffer = SwitchingJitterBuffer(512, is_video=True, stats=PluginStats())
    released(buffer, packet(1, is_ours=is_ours), packet(2, is_ours=is_ours))
    released(buffer, packet(4, is_ours=not is_ours))
    assert released(buffer, packet(3, is_ours=is_ours)) == []
    rest = released(buffer, *(packet(number, is_ours=not is_ours) for number in (5, 6)))
    assert rest == ([b"x"] * 2 if not is_ours else [b"4 ", b"5 "])


def test_video_packets_out_of_order_are_put_in_order() -> None:
    buffer = SwitchingJitterBuffer(512, is_video=True, stats=PluginStats())
    numbers = (1, 3, 2, 4, 5)
    assert released(buffer, *(packet(number, is_ours=False) for number in numbers)) == [b"1 ", b"2 ", b"3 "]


def picture(index: int) -> av.VideoFrame:
    rng = np.random.default_rng(index // 2)
    frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
    frame.pts, frame.time_base = 3600 * index, fractions.Fraction(1, 90_000)
    return frame


def test_the_bitrate_follows_without_a_keyframe() -> None:
    encoder = RateH264Encoder()
    sizes = []
    for index in range(150):
        encoder.target_bitrate = 200_000 if index < 75 else 130_000
        payloads, timestamp = encoder.encode(picture(index))
        assert timestamp == 3600 * index
        types = {payload[0] & 31 if payload[0] & 31 != 28 else payload[1] & 31 for payload in payloads}
        if index == 0:
            assert 24 in types or 7 in types  # the stream's parameters
        else:
            assert types == {1}
        sizes.append(sum(map(len, payloads)))
    assert sum(sizes[100:]) < 0.8 * sum(sizes[25:75])
    encoder.target_bitrate = 1
    assert encoder.target_bitrate == LEAST_BPS


def test_a_far_change_of_the_bitrate_begins_anew() -> None:
    encoder = RateH264Encoder()
    sizes = []
    for index in range(120):
        encoder.target_bitrate = 40_000 if index < 60 else 300_000
        sizes.append(sum(map(len, encoder.encode(picture(index))[0])))
    assert sum(sizes[70:]) > 3 * sum(sizes[10:60])


def test_an_odd_picture_is_made_even() -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((65, 63, 3), dtype=np.uint8), format="rgb24")
    frame.pts, frame.time_base = 0, fractions.Fraction(1, 90_000)
    payloads, _ = RateH264Encoder().encode(frame)
    decoded = H264Decoder().decode(JitterFrame(b"".join(map(h264_depayload, payloads)), 0))
    decoded += H264Decoder().decode(JitterFrame(b"".join(map(h264_depayload, payloads)), 0))
    assert {(picture.width, picture.height) for picture in decoded if isinstance(picture, av.VideoFrame)} == {(62, 64)}


def test_without_the_encoder_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    codecs = [
        RTCRtpCodecParameters("video/X-WARPCALL", 90_000, payloadType=103),
        RTCRtpCodecParameters("video/H264", 90_000, payloadType=99),
        RTCRtpCodecParameters("video/rtx", 90_000, payloadType=100, parameters={"apt": 99}),
    ]
    codec = stream_codec_of(RTCRtpSendParameters(codecs=codecs))
    assert (codec.own_type, codec.video_type, codec.padding_type) == (103, 99, 100)
    codec.choose(is_video=True)
    assert (codec.payloadType, codec.is_video) == (99, True)
    assert codecs[0].payloadType == 103
    monkeypatch.setattr(av, "codecs_available", set())
    codec = stream_codec_of(RTCRtpSendParameters(codecs=codecs))
    assert (codec.video_type, codec.padding_type) == (None, None)


@pytest.mark.parametrize("fps", [25, 12])
def test_the_bitrate_holds_at_any_rate_of_pictures(fps: int) -> None:
    encoder = RateH264Encoder()
    encoder.target_bitrate = 120_000
    size = 0
    for index in range(5 * fps):
        frame = picture(index)
        frame.pts = 90_000 * index // fps
        payloads, _ = encoder.encode(frame)
        size += sum(map(len, payloads)) if index >= fps else 0
    assert 8 * size / 4 == pytest.approx(120_000, rel=0.35)
