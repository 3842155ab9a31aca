from __future__ import annotations

import asyncio
import threading

import pytest

from sender.slot import Slot, SlotClosedError


async def test_the_newest_item_wins() -> None:
    slot: Slot[int] = Slot(1, asyncio.get_running_loop())
    for item in range(5):
        slot.put(item)
    assert await slot.get() == 4
    assert slot.num_dropped == 4


async def test_a_longer_slot_keeps_the_order_and_drops_the_oldest() -> None:
    slot: Slot[int] = Slot(3, asyncio.get_running_loop())
    for item in range(5):
        slot.put(item)
    assert [await slot.get() for _ in range(3)] == [2, 3, 4]


async def test_an_item_of_another_thread_wakes_the_loop() -> None:
    slot: Slot[str] = Slot(1, asyncio.get_running_loop())
    waiting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    thread = threading.Thread(target=slot.put, args=("hello",))
    thread.start()
    assert await asyncio.wait_for(waiting, 10) == "hello"
    thread.join()


async def test_a_closed_slot_gives_what_is_left_and_takes_nothing() -> None:
    slot: Slot[int] = Slot(2, asyncio.get_running_loop())
    slot.put(1)
    slot.close()
    slot.put(2)
    assert await slot.get() == 1
    with pytest.raises(SlotClosedError):
        await slot.get()


async def test_closing_wakes_who_waits() -> None:
    slot: Slot[int] = Slot(1, asyncio.get_running_loop())
    waiting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    slot.close()
    with pytest.raises(SlotClosedError):
        await asyncio.wait_for(waiting, 10)
