"""The bandwidth estimator on a simulated link: a queue that drains at a given rate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import RtpPacket, unpack_remb_fci

from codec.rtc import HEADER_BYTES, seams
from codec.rtc.bandwidth import LEAST_BPS, START_BPS, BandwidthEstimator
from codec.rtc.feedback import LinkMonitor, Unwrapped
from codec.rtc.stats import PluginStats


class Simulation:
    """Sends packets over a link and gives them to an estimator, on a clock of its own."""

    def __init__(self, bps: float) -> None:
        self.bps = bps
        self.estimator = BandwidthEstimator()
        self.now_s = 100.0
        self.reports: list[tuple[float, float]] = []
        self.number = 0
        self._free_s = 0.0

    def send(self, size_bytes: int) -> None:
        self._free_s = max(self._free_s, self.now_s) + 8 * (size_bytes + HEADER_BYTES) / self.bps
        arrival_s = self._free_s + 0.02
        self.number += 1
        # The sender's clock has another origin.
        if self.estimator.add(arrival_s, size_bytes, sent_s=self.now_s - 77.0, number=self.number):
            self.reports.append((arrival_s, self.estimator.estimate_bps))

    def run(self, seconds: float, rate: Callable[[], float], fps: float = 25.0) -> None:
        """Send frames of the size that a rate with headers allows."""
        for _ in range(round(seconds * fps)):
            self.send(max(1, round(rate() / fps / 8) - HEADER_BYTES))
            self.now_s += 1 / fps

    @property
    def waiting_s(self) -> float:
        return max(0.0, self._free_s - self.now_s)


def test_keypoints_alone_do_not_vouch_for_more_than_they_need() -> None:
    link = Simulation(500_000)
    link.run(20, lambda: 17_000)
    assert 1.5 * 17_000 <= link.estimator.estimate_bps <= 1.5 * 17_000 + 11_000
    assert link.estimator.queue_s < 0.01
    times = [time_s for time_s, _ in link.reports]
    assert 60 <= len(times) <= 85  # four a second


def test_a_sender_that_follows_finds_what_the_link_carries() -> None:
    link = Simulation(120_000)
    waits: list[float] = []

    def follow() -> float:
        waits.append(link.waiting_s)
        return 0.9 * link.estimator.estimate_bps

    link.run(60, follow)
    assert 70_000 < link.estimator.estimate_bps < 1.35 * 120_000
    assert max(waits) < 0.4


@pytest.mark.parametrize("bps", [20_000, 8_000])
def test_a_step_downwards_is_told_at_once(bps: float) -> None:
    link = Simulation(500_000)
    link.run(30, lambda: 0.9 * min(link.estimator.estimate_bps, 200_000))
    assert link.estimator.estimate_bps > 150_000
    step_s, link.bps = link.now_s, bps
    link.run(0.3, lambda: 150_000)
    link.run(20, lambda: 0.8 * link.estimator.estimate_bps, fps=10)
    first = next(time_s for time_s, estimate in link.reports if time_s > step_s and estimate < 100_000)
    assert first - step_s < 2.5 * 8 * 900 / bps + 0.2
    assert LEAST_BPS <= link.estimator.estimate_bps < 1.5 * bps
    assert link.waiting_s < 0.2


def test_it_rises_again_after_a_step_upwards() -> None:
    link = Simulation(8_000)
    link.run(20, lambda: 0.8 * link.estimator.estimate_bps, fps=8)
    assert link.estimator.estimate_bps < 1.5 * 8_000
    link.bps = 500_000
    link.run(15, lambda: 1.2 * link.estimator.estimate_bps)
    assert link.estimator.estimate_bps > 100_000


def test_a_packet_that_waited_for_a_processor_is_no_queue() -> None:
    link = Simulation(500_000)
    link.run(10, lambda: 17_000)
    before = link.estimator.estimate_bps
    link.number += 1
    link.estimator.add(link.now_s + 0.4, 20, sent_s=link.now_s - 77.0, number=link.number)
    link.now_s += 0.4
    link.run(1, lambda: 17_000)
    assert link.estimator.estimate_bps >= 0.99 * before


def test_a_clock_that_is_set_is_believed_in_the_end() -> None:
    link = Simulation(500_000)
    link.run(10, lambda: 17_000)
    for _ in range(1_000):
        link.number += 1
        link.estimator.add(link.now_s, 20, sent_s=link.now_s - 78.5, number=link.number)
        link.now_s += 0.04
    assert link.estimator.queue_s < 0.01
    assert link.estimator.estimate_bps > START_BPS / 2


def test_losses_lower_the_estimate_but_leave_keypoints_alone() -> None:
    link = Simulation(1_000_000)
    link.run(20, lambda: 100_000)
    before = link.estimator.estimate_bps
    for index in range(250):
        if index % 5 == 0:
            link.number += 1  # lost
            link.now_s += 0.04
        link.run(0.04, lambda: 100_000)
    assert link.estimator.loss == pytest.approx(1 / 6, abs=0.05)
    assert START_BPS <= link.estimator.estimate_bps < before


def test_padding_counts_for_the_rate_alone() -> None:
    estimator = BandwidthEstimator()
    for index in range(100):
        estimator.add(0.04 * index, 20, sent_s=0.04 * index, number=index)
        for part in range(3):
            estimator.add(0.04 * index + 0.001 * part, 200)
    assert estimator.delivered_bps == pytest.approx(8 * 25 * (88 + 3 * 268), rel=0.1)
    assert estimator.loss == 0
    assert estimator.estimate_bps > 150_000


@pytest.mark.parametrize(("bits", "start"), [(16, 65_530), (24, (1 << 24) - 3), (32, (1 << 32) - 2)])
def test_counters_are_unwrapped(bits: int, start: int) -> None:
    unwrapped = Unwrapped(bits)
    values = [unwrapped((start + step) % (1 << bits)) for step in (0, 1, 3, 2, 10)]
    assert [value - values[0] for value in values] == [0, 1, 3, 2, 10]


class FakeReceiver:
    def __init__(self) -> None:
        self.sent: list[tuple[int, list[int]]] = []
        setattr(self, seams.RTCP_SSRC_ATTRIBUTE, 5)

    async def _send_rtcp(self, packet: object) -> None:
        self.sent.append(unpack_remb_fci(packet.fci))  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_send_time", [True, False])
async def test_estimates_are_reported_as_remb(has_send_time: bool) -> None:
    codecs = [
        RTCRtpCodecParameters("video/X-WARPCALL", 90_000, payloadType=103),
        RTCRtpCodecParameters("video/H264", 90_000, payloadType=99),
        RTCRtpCodecParameters("video/rtx", 90_000, payloadType=100, parameters={"apt": 99}),
    ]
    stats, receiver = PluginStats(), FakeReceiver()
    link = LinkMonitor(RTCRtpReceiveParameters(codecs=codecs), stats)
    for index in range(100):
        packet = RtpPacket(103, 1, (65_500 + index) & 0xFFFF, (index * 3600 - 7) & 0xFFFFFFFF, 9, b"x" * 20)
        packet.extensions.abs_send_time = ((index * 40 << 18) // 1000 - 5) & 0xFFFFFF if has_send_time else None
        if index > 50:
            packet.payload_type = 99
        padding = RtpPacket(100, 0, index, 0, 10)
        padding.padding_size = 200
        await link.note(receiver, packet, 40 * index)  # type: ignore[arg-type]
        await link.note(receiver, padding, 40 * index + 1)  # type: ignore[arg-type]
    assert link.estimator.queue_s == pytest.approx(0, abs=0.001)
    assert {tuple(ssrcs) for _, ssrcs in receiver.sent} == {(9,)}
    assert 12 <= len(receiver.sent) <= 60
    assert receiver.sent[-1][0] == pytest.approx(link.estimator.estimate_bps, rel=0.1)
    assert stats.snapshot().video_bytes_received == 49 * 20


@pytest.mark.parametrize(("delays_s", "falls_far"), [((0.28, 0.5), True), ((0.5, 0.28), False), ((0.2, 0.5), False)])
def test_two_packets_that_waited_ever_longer_are_a_full_queue(delays_s: tuple[float, float], falls_far: bool) -> None:
    estimator = BandwidthEstimator()
    estimator.estimate_bps = 200_000.0
    now_s = 0.0
    for number in range(40):
        now_s = 0.04 * number
        estimator.add(now_s, 1000, sent_s=now_s, number=number)
    estimator.estimate_bps = 200_000.0
    for number, delay_s in enumerate(delays_s, start=40):
        estimator.add(now_s + 0.3 * (number - 39), 1000, sent_s=now_s + 0.3 * (number - 39) - delay_s, number=number)
    assert (estimator.estimate_bps < 60_000) == falls_far
