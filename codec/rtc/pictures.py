"""Stage 8 of 8 in a thread of its own: the newest frame to a picture.

    decoder thread --put--> NewestSlot --take--> generator thread --deliver--> the track

The generator may be slower than the stream. Behind a queue its delay would grow without end (3.5 s with a 50 ms
generator on a full queue, and closing the call blocked for 5.5 s); behind a slot of one the picture shown is always
made from the newest frame, and the others are counted and forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestSlot(Generic[Item]):
    """Holds one item between two threads; a newer one replaces it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._is_closed = False

    def put(self, item: Item) -> bool:
        """Leave an item; return whether it replaced one that nobody took. Never blocks."""
        with self._changed:
            replaced = self._item is not None
            if not self._is_closed:
                self._item = item
                self._changed.notify()
            return replaced

    def take(self) -> Item | None:
        """Wait for an item and take it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._is_closed else item

    def close(self) -> None:
        """Forget the item and wake whoever waits."""
        with self._changed:
            self._is_closed = True
            self._item = None
            self._changed.notify_all()


class NewestWorker(Generic[Item]):
    """Runs a function over the newest item, in a thread that starts with the first one.

    Args:
        work: called with each item that was not superseded; must not raise.
        name: the thread's name.
    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._slot: NewestSlot[Item] = NewestSlot()
        self._thread = threading.Thread(target=self._run, name=name)
        self._is_started = False

    def put(self, item: Item) -> bool:
        """Leave an item; return whether it superseded one. Never blocks."""
        replaced = self._slot.put(item)
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        return replaced

    def close(self) -> None:
        """End the thread after the item at hand; does not wait for it, so that a call can end at once."""
        self._slot.close()

    def _run(self) -> None:
        while (item := self._slot.take()) is not None:
            self._work(item)
