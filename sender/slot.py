"""Between threads and the event loop: the newest picture wins, the oldest sound goes.

reader thread -> put -> bounded, drops the oldest -> await get -> track
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class SlotClosedError(Exception):
    """Nothing more will come."""


class Slot(Generic[Item]):
    """A queue from a thread to the event loop that drops its oldest item when it is full.

    Args:
        capacity: how many items it holds; 1 keeps the newest alone.
        loop: where ``get`` is awaited.
    """

    def __init__(self, capacity: int, loop: asyncio.AbstractEventLoop) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._loop = loop
        self._lock = threading.Lock()
        self._ready = asyncio.Event()
        self._closed = False
        self.num_dropped = 0
        """Items that were displaced before anyone took them."""

    def put(self, item: Item) -> None:
        """Add an item, from any thread; nothing happens once the slot is closed."""
        with self._lock:
            if self._closed:
                return
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.num_dropped += 1
            self._items.append(item)
        self._wake()

    def close(self) -> None:
        """Say that nothing more will come, from any thread; what is in the slot can still be taken."""
        with self._lock:
            self._closed = True
        self._wake()

    async def get(self) -> Item:
        """Take the oldest item, waiting for one.

        Raises:
            SlotClosedError: the slot is empty and closed.
        """
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._closed:
                    raise SlotClosedError
                self._ready.clear()
            await self._ready.wait()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)
