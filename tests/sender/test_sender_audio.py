from __future__ import annotations

import av
import numpy as np
import pytest

from sender.audio import OpusPacket, OpusStream


def tone(start: int, samples: int, rate: int, layout: str = "mono") -> av.AudioFrame:
    channels = 1 if layout == "mono" else 2
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(start, start + samples) / rate)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None], format="s16", layout=layout)
    frame.sample_rate = rate
    return frame


def code(stream: OpusStream, rate: int, samples: int, count: int, *, gap_us: int = 0) -> list[OpusPacket]:
    packets: list[OpusPacket] = []
    for index in range(count):
        moment_us = 1_000_000 + index * samples * 1_000_000 // rate + (gap_us if index >= count // 2 else 0)
        packets += stream.encode(tone(index * samples, samples, rate), moment_us)
    return packets


@pytest.mark.parametrize(("rate", "samples"), [(48_000, 960), (44_100, 1024), (16_000, 333), (8_000, 4000)])
@pytest.mark.parametrize("packet_ms", [20, 40, 60])
def test_packets_are_even_in_time(rate: int, samples: int, packet_ms: int) -> None:
    packets = code(OpusStream(16_000, packet_ms), rate, samples, 2 * rate // samples)
    pts = [packet.packet.pts for packet in packets]
    assert pts == [48 * packet_ms * index for index in range(len(packets))]
    assert 2000 / packet_ms - 3 <= len(packets) <= 2000 / packet_ms
    times_us = np.array([packet.capture_time_us for packet in packets])
    assert times_us - 1_000_000 == pytest.approx(1000 * packet_ms * np.arange(len(packets)), abs=3000)


def test_the_bitrate_is_kept() -> None:
    packets = code(OpusStream(16_000, 40), 48_000, 960, 250)
    bits_per_s = 8 * sum(packet.packet.size for packet in packets) / 5
    assert bits_per_s == pytest.approx(16_000, rel=0.35)


def test_the_packets_are_opus_of_the_same_tone() -> None:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    sound = []
    for packet in code(OpusStream(24_000, 20), 48_000, 960, 50):
        sound += [frame.to_ndarray().ravel() for frame in decoder.decode(av.Packet(bytes(packet.packet)))]
    wave = np.concatenate(sound).astype(float)[-16_384:]
    peak_hz = np.abs(np.fft.rfft(wave)).argmax() * 48_000 / len(wave)
    assert peak_hz == pytest.approx(440, abs=5)


def test_stereo_sound_is_mixed_to_mono() -> None:
    packets = list(OpusStream(16_000, 20).encode(tone(0, 4800, 48_000, "stereo"), 0))
    assert len(packets) == 5


def test_timestamps_jump_over_a_gap() -> None:
    packets = code(OpusStream(16_000, 20), 48_000, 960, 100, gap_us=500_000)
    steps = np.diff([packet.packet.pts or 0 for packet in packets])
    assert sorted(set(steps.tolist())) == [960, 960 + 24_000]
