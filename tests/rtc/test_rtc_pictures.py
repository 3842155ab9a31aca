from __future__ import annotations

import threading

from codec.rtc.pictures import NewestSlot, NewestWorker

TIMEOUT_S = 10.0


def test_the_newest_item_wins() -> None:
    slot: NewestSlot[int] = NewestSlot()
    assert [slot.put(item) for item in (1, 2, 3)] == [False, True, True]
    assert slot.take() == 3
    assert slot.put(4) is False


def test_a_closed_slot_gives_none() -> None:
    slot: NewestSlot[int] = NewestSlot()
    slot.put(1)
    slot.close()
    assert slot.put(2) is False
    assert slot.take() is None


def test_a_slow_worker_skips_to_the_newest_item() -> None:
    done: list[int] = []
    has_begun, may_go_on, is_last_done = threading.Event(), threading.Event(), threading.Event()

    def work(item: int) -> None:
        has_begun.set()
        assert may_go_on.wait(TIMEOUT_S)
        done.append(item)
        if item == 9:
            is_last_done.set()

    worker: NewestWorker[int] = NewestWorker(work, "slow")
    worker.put(0)
    assert has_begun.wait(TIMEOUT_S)
    replaced = [worker.put(item) for item in range(1, 10)]
    may_go_on.set()
    assert is_last_done.wait(TIMEOUT_S)
    worker.close()
    assert replaced == [False] + [True] * 8
    assert done == [0, 9]


def test_closing_does_not_wait_and_ends_the_thread() -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work(_: int) -> None:
        threads.append(threading.current_thread())
        has_begun.set()
        assert may_go_on.wait(TIMEOUT_S)

    worker: NewestWorker[int] = NewestWorker(work, "blocked")
    worker.put(1)
    assert has_begun.wait(TIMEOUT_S)
    worker.put(2)
    worker.close()
    assert threads[0].is_alive()
    may_go_on.set()
    threads[0].join(TIMEOUT_S)
    assert not threads[0].is_alive()
    assert len(threads) == 1


def test_an_unused_worker_has_no_thread() -> None:
    before = threading.active_count()
    NewestWorker(print, "unused").close()
    assert threading.active_count() == before
