"""A link of a given rate between two real peers, inside the sending process.

    aioice.Connection.send -> queue -> one packet after the other at the link's rate -> delay -> the socket

Everything that goes out is shaped, sound, control channel and RTCP included; STUN alone passes by. The queue drops what
would wait longer than ``queue_s`` (as ``tc tbf latency`` does), but takes one packet of any size when it is empty.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any

from aioice.ice import Connection

IP_UDP_BYTES = 28


class Shaper:
    """The link.

    Args:
        bps: rate, bits per second, IP and UDP headers counted; may be changed at any time.
        queue_s: longest wait in the queue, seconds.
        delay_s: of every packet behind the queue, seconds.
        loss: share of packets lost at random.
        seed: of the losses.
    """

    def __init__(
        self, bps: float, *, queue_s: float = 0.4, delay_s: float = 0.02, loss: float = 0.0, seed: int = 0
    ) -> None:
        self.bps = bps
        self.num_sent_bytes = self.num_passed_bytes = self.num_dropped = 0
        self._queue_s, self._delay_s, self._loss = queue_s, delay_s, loss
        self._random = random.Random(seed)
        self._queue: deque[tuple[Any, Connection, bytes]] = deque()
        self._news = asyncio.Event()
        self._original = Connection.send
        self._task: asyncio.Task[None] | None = None
        self._passing: set[asyncio.Future[None]] = set()

    def __enter__(self) -> Shaper:
        shaper = self

        async def send(self: Connection, data: bytes) -> None:
            shaper._take(self, data)

        Connection.send = send  # type: ignore[method-assign]
        self._task = asyncio.create_task(self._run())
        return self

    def __exit__(self, *_: object) -> None:
        Connection.send = self._original  # type: ignore[method-assign]
        if self._task is not None:
            self._task.cancel()

    @property
    def queued_s(self) -> float:
        """Seconds that a packet would wait now."""
        return 8 * sum(len(data) + IP_UDP_BYTES for _, _, data in self._queue) / self.bps

    def _take(self, transport: Connection, data: bytes) -> None:
        self.num_sent_bytes += len(data) + IP_UDP_BYTES
        if self._random.random() < self._loss or (self._queue and self.queued_s > self._queue_s):
            self.num_dropped += 1
            return
        self._queue.append((self._original, transport, data))
        self._news.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        free_s = loop.time()
        while True:
            while not self._queue:
                self._news.clear()
                await self._news.wait()
                free_s = max(free_s, loop.time())
            size_bytes = len(self._queue[0][2]) + IP_UDP_BYTES
            free_s += 8 * size_bytes / self.bps
            await asyncio.sleep(max(0.0, free_s - loop.time()))
            send, transport, data = self._queue.popleft()
            self.num_passed_bytes += size_bytes
            loop.call_later(self._delay_s, self._pass, send, transport, data)

    def _pass(self, send: Any, transport: Connection, data: bytes) -> None:
        task = asyncio.ensure_future(self._pass_quietly(send, transport, data))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass_quietly(self, send: Any, transport: Connection, data: bytes) -> None:
        try:
            await send(transport, data)
        except ConnectionError:
            return  # the call has ended meanwhile
