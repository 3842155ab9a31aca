"""Stage 8 of 8 at the receiver: the newest coded frame to a picture, in one worker thread.

    received frame -> [slot of one, newest wins] -> worker thread: Decoder.generate -> on the event loop: the picture

There is no queue: with one, a generator slower than the stream falls behind without end (a 50 ms generator reached
3.5 s of latency). What a newer frame replaces is counted as dropped.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from codec.structs import CodedFrame

if TYPE_CHECKING:
    from codec.rtc import ReceivedFrame

logger = logging.getLogger(__name__)

Rgb = npt.NDArray[np.uint8]

TIMES_REMEMBERED = 256


class PictureDecoder(Protocol):
    """The part of ``codec.Decoder`` that makes pictures."""

    @property
    def num_references(self) -> int:
        """Reference pictures set."""

    def set_references(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        """Take the reference pictures, each uint8 (S, S, 3), and what frames call each."""

    def generate(self, frame: CodedFrame) -> Rgb:
        """Return the picture of a frame, uint8 (S, S, 3)."""


class PictureGenerator:
    """Makes pictures of the newest frames for one call.

    An async context manager: the worker runs inside it, and leaving waits for the picture at hand (not for more).

    Attributes:
        num_made: pictures made.
        num_dropped: frames replaced by a newer one before their turn.
        num_waiting_for_references: frames that came while no reference picture was there.
    """

    def __init__(self, decoder: PictureDecoder, on_picture: Callable[[ReceivedFrame, Rgb], None]) -> None:
        """Set up a generator.

        Args:
            decoder: used by the worker thread alone.
            on_picture: called on the event loop with each frame and its picture.
        """
        self.num_made = 0
        self.num_dropped = 0
        self.num_waiting_for_references = 0
        self._decoder = decoder
        self._on_picture = on_picture
        self._newest: ReceivedFrame | None = None
        self._news = asyncio.Event()
        self._has_references = decoder.num_references > 0
        self._times_s: collections.deque[float] = collections.deque(maxlen=TIMES_REMEMBERED)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generator")

    async def __aenter__(self) -> PictureGenerator:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.num_dropped += self._newest is not None
        self._newest = None
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    @property
    def decoder_fps(self) -> float | None:
        """Pictures a second that the generator could make, by its last times; None before the first."""
        return len(self._times_s) / max(1e-6, sum(self._times_s)) if self._times_s else None

    def put(self, frame: ReceivedFrame) -> None:
        """Leave a frame in the slot."""
        if not self._has_references:
            self.num_waiting_for_references += 1
            return
        self.num_dropped += self._newest is not None
        self._newest = frame
        self._news.set()

    async def set_references(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        """Give the decoder its reference pictures, in the worker thread (the networks run over each of them once)."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._decoder.set_references, rgbs, tags)
        self._has_references = len(rgbs) > 0

    async def run(self) -> None:
        """Make pictures until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            frame, self._newest = self._newest, None
            if frame is None:
                continue
            try:
                rgb = await loop.run_in_executor(self._pool, self._generate, frame.coded)
            except asyncio.CancelledError:
                self.num_dropped += 1
                raise
            self.num_made += 1
            self._on_picture(frame, rgb)

    def _generate(self, frame: CodedFrame) -> Rgb:
        start_s = time.perf_counter()
        rgb = self._decoder.generate(frame)
        self._times_s.append(time.perf_counter() - start_s)
        return rgb
