"""Stage 7 of 8, receiving end: how many bits a second the link carries, from when its packets come.

    send time, arrival time, size of each packet -> BandwidthEstimator -> now and then an estimate, for REMB

Delay-based, after the idea of Carlucci, De Cicco, Holmer and Mascolo, "Analysis and Design of the Google Congestion
Control for WebRTC", 2016, made for a stream of 10 to 300 kbit/s, where aiortc's own estimator needs seconds: the time
that packets spend in the queue before the bottleneck is how much longer they were under way than the quickest of the
last half minute. A queue of an eighth of a second makes the estimate fall to less than what arrives, so that it
empties; without one it rises, as far as what has arrived lately can vouch for it. Rates count packets with their
headers, as long as they usually are.
"""

from __future__ import annotations

import statistics
from collections import deque

from codec.rtc.overhead import HEADER_BYTES

START_BPS = 30_000.0
LEAST_BPS = 4_000.0
RATE_WINDOW_S, SHORT_WINDOW_S = 1.0, 0.4
QUEUE_S, QUEUE_BYTES = 0.125, 300
"""A queue is one from so many seconds on, or so many bytes: on 8 kbit/s, one part of a reference takes 0.3 s."""
FULL, GROWING, LOW = 2.4, 2.0, 0.5
"""Times that: a queue that has to empty fast, one that has to if the next packet waited longer still, and none."""
BASE_BUCKET_S, BASE_BUCKETS = 5.0, 6
WARY_FACTOR, WARY_BPS = 1.4, 5_000.0
GROWTH_PER_S, LEAST_GROWTH_BPS = 0.15, 1_500.0
BOLDER_AFTER_S, BOLDEST = 4.0, 4.0
"""Growth is so many times bolder the longer the estimate has not fallen: one more for each so many seconds."""
VOUCHED_FACTOR, VOUCHED_BPS, VOUCHED_S = 1.5, 10_000.0, 10.0
FALL_INTERVAL_S, GROWN = 0.3, 1.5
"""Between two falls, unless the queue is full and has grown by half since: the link is far thinner than was thought."""
THIN_BPS, GENTLE_FALL = 40_000.0, 0.65
STUCK_S = 4.0
DRAIN_S, DRAIN_SHARE = 2.0, 0.1
LOSSY = 0.1
LOSS_FLOOR_BPS = 30_000.0
REPORT_S, FAST_REPORT_S, FAST_BPS = 0.25, 0.1, 50_000.0


class BandwidthEstimator:
    """Estimates the bandwidth of one received stream's link."""

    def __init__(self) -> None:
        self.estimate_bps = START_BPS
        """Bits per second that the link carries, headers counted."""
        self.queue_s = 0.0
        """Seconds that packets wait before the bottleneck."""
        self._sizes: deque[tuple[float, int]] = deque()
        self._bases: deque[tuple[float, float]] = deque(maxlen=BASE_BUCKETS)
        self._delays: deque[float] = deque(maxlen=3)
        self._peaks: deque[tuple[float, float]] = deque()
        self._sequence: deque[tuple[float, int]] = deque()
        self._grown_s: float | None = None
        self._begun_s = 0.0
        self._fallen_s = float("-inf")
        self._fallen_queue_s = 0.0
        self._stuck: tuple[float, float] | None = None
        self._reported_s = float("-inf")

    def add(self, arrival_s: float, size_bytes: int, *, sent_s: float | None = None, number: int | None = None) -> bool:
        """Take a packet; return whether it is time to report the estimate.

        Args:
            arrival_s: when it came, seconds on this machine's clock.
            size_bytes: of its payload and padding.
            sent_s: when it was sent, seconds on the sender's clock, whatever its origin; None where that is not known.
            number: running number of the packet, to count losses by; None for padding.
        """
        self._sizes.append((arrival_s, size_bytes + HEADER_BYTES))
        if number is not None:
            self._sequence.append((arrival_s, number))
        if sent_s is not None:
            self._note_delay(arrival_s, arrival_s - sent_s)
        self._forget(arrival_s)
        self._forget_base_if_stuck(arrival_s)
        has_fallen = self._fall(arrival_s)
        if not has_fallen:
            self._rise(arrival_s)
        interval_s = FAST_REPORT_S if self.delivered_bps > FAST_BPS else REPORT_S
        if has_fallen or arrival_s - self._reported_s >= interval_s:
            self._reported_s = arrival_s
            return True
        return False

    @property
    def delivered_bps(self) -> float:
        """Bits per second that came over the last second."""
        return self._rate(RATE_WINDOW_S)

    @property
    def _queue_limit_s(self) -> float:
        return max(QUEUE_S, 8 * QUEUE_BYTES / self.estimate_bps)

    def _rate(self, window_s: float) -> float:
        """Return the rate of the last packets: what came after the first of them, over the time since it came."""
        if not self._sizes:
            return 0.0
        since_s = self._sizes[-1][0] - window_s
        inside = [entry for entry in self._sizes if entry[0] >= since_s]
        if len(inside) < 2:
            return 8 * inside[0][1] / window_s
        return 8 * sum(size for _, size in inside[1:]) / max(inside[-1][0] - inside[0][0], 0.6 * window_s)

    @property
    def loss(self) -> float:
        """Share of packets of the last second that did not come."""
        numbers = {number for _, number in self._sequence}
        expected = max(numbers) - min(numbers) + 1 if numbers else 0
        return 1 - len(numbers) / expected if expected >= 10 else 0.0

    def _note_delay(self, arrival_s: float, delay_s: float) -> None:
        if not self._bases or arrival_s - self._bases[-1][0] >= BASE_BUCKET_S:
            self._bases.append((arrival_s, delay_s))
        elif delay_s < self._bases[-1][1]:
            self._bases[-1] = self._bases[-1][0], delay_s
        self._delays.append(delay_s)
        # The median of three: one packet that waited for a busy processor is no queue.
        self.queue_s = statistics.median_low(self._delays) - min(base for _, base in self._bases)

    def _forget(self, now_s: float) -> None:
        while self._sizes and now_s - self._sizes[0][0] > RATE_WINDOW_S:
            self._sizes.popleft()
        while self._sequence and now_s - self._sequence[0][0] > RATE_WINDOW_S:
            self._sequence.popleft()
        while self._peaks and now_s - self._peaks[0][0] > VOUCHED_S:
            self._peaks.popleft()
        delivered_bps = self.delivered_bps
        while self._peaks and self._peaks[-1][1] <= delivered_bps:
            self._peaks.pop()
        self._peaks.append((now_s, delivered_bps))

    def _fall(self, now_s: float) -> bool:
        is_queueing = self.queue_s > self._queue_limit_s
        is_losing = self.loss > LOSSY and self.estimate_bps > LOSS_FLOOR_BPS
        is_full = self.queue_s > FULL * self._queue_limit_s or self._is_growing
        is_worse = is_full and self.queue_s > GROWN * self._fallen_queue_s
        is_soon = now_s - self._fallen_s < FALL_INTERVAL_S and not is_worse
        if not (is_queueing or is_losing) or is_soon or self._is_draining(now_s):
            return False
        if is_queueing:
            # After a step downwards, the last second is half of another link.
            delivered_bps = min(self.delivered_bps, self._rate(SHORT_WINDOW_S))
            bound_bps = (0.6 if is_full else 0.85) * delivered_bps
            if self.estimate_bps < THIN_BPS or not is_full:
                # The queue may be of what is not counted here, a reference or sound, or little was sent just now.
                bound_bps = max(bound_bps, GENTLE_FALL * self.estimate_bps)
        else:
            bound_bps = max(self.delivered_bps, LOSS_FLOOR_BPS)
        self._fallen_s = self._grown_s = now_s
        self._fallen_queue_s = self.queue_s
        self.estimate_bps = max(LEAST_BPS, min(self.estimate_bps, bound_bps))
        if is_queueing:
            self._peaks.clear()
        return True

    def _forget_base_if_stuck(self, now_s: float) -> None:
        """Take the present delay for the base when next to nothing is sent and the queue still does not empty.

        A clock was set, or packets go another way.
        """
        if self.estimate_bps > LEAST_BPS or self.queue_s < self._queue_limit_s:
            self._stuck = None
        elif self._stuck is None or self.queue_s < 0.9 * self._stuck[1]:
            self._stuck = now_s, self.queue_s
        elif now_s - self._stuck[0] > STUCK_S:
            self._bases.clear()
            self._delays.clear()
            self.queue_s, self._stuck = 0.0, None

    @property
    def _is_growing(self) -> bool:
        """Whether the last two packets waited long, the last one longer: behind a busy processor it would be less."""
        if len(self._delays) < 2:
            return False
        *_, before_s, last_s = self._delays
        return last_s > before_s > min(base for _, base in self._bases) + GROWING * self._queue_limit_s

    def _is_draining(self, now_s: float) -> bool:
        """Whether the last fall is doing its work: the queue is shorter than it was then."""
        if now_s - self._fallen_s > DRAIN_S:
            return False
        drained_s = DRAIN_SHARE * (now_s - self._fallen_s - FALL_INTERVAL_S)
        return self.queue_s < self._fallen_queue_s - drained_s

    def _rise(self, now_s: float) -> None:
        if self._grown_s is None:
            self._begun_s = self._grown_s = now_s
        elapsed_s = now_s - self._grown_s
        self._grown_s = now_s
        if self.queue_s < LOW * self._queue_limit_s:
            boldness = min(1 + (now_s - max(self._fallen_s, self._begun_s)) / BOLDER_AFTER_S, BOLDEST)
            growth_bps = boldness * max(GROWTH_PER_S * self.estimate_bps, LEAST_GROWTH_BPS)
            grown_bps = self.estimate_bps + elapsed_s * growth_bps
            self.estimate_bps = max(grown_bps, self._rate(SHORT_WINDOW_S) if self._is_long_enough(now_s) else 0.0)
        peak_bps = max((peak for _, peak in self._peaks), default=self.delivered_bps)
        if self._fallen_s == float("-inf"):
            vouched_bps = max(START_BPS, VOUCHED_FACTOR * peak_bps + VOUCHED_BPS)
        else:  # a link that was full once is taken for no more than it has shown since
            vouched_bps = WARY_FACTOR * peak_bps + WARY_BPS
        self.estimate_bps = max(LEAST_BPS, min(self.estimate_bps, vouched_bps))

    def _is_long_enough(self, now_s: float) -> bool:
        """Whether packets came over most of the window: a burst at its end says nothing of a rate."""
        return bool(self._sizes) and now_s - self._sizes[0][0] > 0.8 * RATE_WINDOW_S
