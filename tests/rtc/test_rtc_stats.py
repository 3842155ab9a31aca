from __future__ import annotations

import logging
import threading

import pytest

from codec.rtc.stats import MIN_KEYFRAME_REQUEST_INTERVAL_S, FailureLog, KeyframeRequests, PluginStats


def test_counters_of_many_threads_add_up() -> None:
    stats = PluginStats()

    def count() -> None:
        for _ in range(1000):
            stats.add(frames_sent=1, payload_bytes_sent=17)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = stats.snapshot()
    assert (counts.frames_sent, counts.payload_bytes_sent, counts.late_dropped) == (4000, 68_000, 0)


def test_an_unknown_counter_is_our_fault() -> None:
    with pytest.raises(KeyError):
        PluginStats().add(frames_lost=1)


def test_failures_are_logged_once_per_kind(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog(logging.getLogger("codec.rtc.test"), "a frame was dropped")
    with caplog.at_level(logging.DEBUG, logger="codec.rtc.test"):
        for error in (ValueError("first"), ValueError("second"), KeyError("third")):
            failures.note(error)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
    assert caplog.messages[0] == "a frame was dropped: ValueError: first"


def test_keyframe_requests_are_spaced_out_until_answered() -> None:
    sent: list[float] = []
    now_s = 100.0
    requests = KeyframeRequests(lambda: sent.append(now_s), clock=lambda: now_s)
    assert requests.ask()
    assert not requests.ask()
    now_s += MIN_KEYFRAME_REQUEST_INTERVAL_S
    assert requests.ask()
    assert not requests.ask()
    requests.answered()
    assert requests.ask()
    assert len(sent) == 3
