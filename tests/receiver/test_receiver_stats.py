from __future__ import annotations

import json

import pytest

from codec.rtc import HEADER_BYTES
from receiver.display import plain_line
from receiver.stats import CallStats, Traffic, percentiles


class FakeTime:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def traffic(frames: int, payload_bytes: int | None = None) -> Traffic:
    return Traffic(
        frames=frames, payload_bytes=payload_bytes, packets=frames, lost=1, all_bytes=50 * frames, all_packets=frames
    )


def test_rates_of_the_last_seconds_and_of_the_whole_call() -> None:
    now = FakeTime()
    stats = CallStats(now)
    stats.codec = "X-WARPCALL"
    frames = 1
    stats.sample(traffic(frames, 10 * frames))
    for second in range(20):
        now.s += 1.0
        frames += 10 if second < 10 else 30
        for _ in range(5):
            stats.note_shown(40.0 if second < 10 else 80.0)
        stats.sample(traffic(frames, 10 * frames))
    recent, total = stats.recent(), stats.total()
    assert recent.received_fps == pytest.approx(30)
    assert recent.payload_bits_per_s == pytest.approx(30 * 10 * 8)
    assert recent.wire_bits_per_s == pytest.approx(30 * (10 + HEADER_BYTES) * 8)
    assert recent.total_wire_bits_per_s == pytest.approx(30 * (50 + 28) * 8)
    assert recent.latency_ms is not None
    assert recent.latency_ms.p50 == 80
    assert total.received_fps == pytest.approx(20)
    assert total.shown_fps == pytest.approx(5)
    assert total.duration_s == 20
    assert total.frames_shown == 100
    assert total.latency_ms is not None
    assert (total.latency_ms.p50, total.latency_ms.p99) == (60, 80)
    assert json.loads(json.dumps(total.to_dict()))["latency_ms"]["p95"] == 80


def test_an_ordinary_call_has_no_payload_figure() -> None:
    now = FakeTime()
    stats = CallStats(now)
    stats.codec = "VP8"
    stats.sample(traffic(1))
    now.s += 1
    stats.sample(traffic(31))
    report = stats.recent()
    assert report.received_fps == 30
    assert report.payload_bits_per_s is None
    assert report.latency_ms is None
    assert "payload -" in plain_line("live", report)


def test_a_call_without_a_frame_has_figures_too() -> None:
    report = CallStats(FakeTime()).total()
    assert (report.duration_s, report.received_fps, report.frames_shown) == (0.0, 0.0, 0)
    assert "\n" not in plain_line("connecting", report)


def test_percentiles() -> None:
    assert percentiles([]) is None
    values = percentiles([float(value) for value in range(101)])
    assert values is not None
    assert (values.p50, values.p95, values.p99) == (50, 95, 99)
