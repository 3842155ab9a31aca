from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from codec.rtc import ReceivedFrame
from codec.structs import CodedFrame, QuantisedKeypoints
from receiver.generate import PictureGenerator, Rgb


class SlowDecoder:
    """Makes a picture when it is let; notes in which threads it was used."""

    def __init__(self) -> None:
        self.num_references = 1
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.started = threading.Event()
        self.go = threading.Semaphore(0)

    def set_references(self, rgbs: Sequence[Rgb], tags: Sequence[int] | None = None) -> None:
        self.threads.add(threading.current_thread().name)
        self.num_references = len(rgbs)

    def generate(self, frame: CodedFrame) -> Rgb:
        self.threads.add(threading.current_thread().name)
        self.started.set()
        assert self.go.acquire(timeout=30)
        self.made.append(frame.number)
        return np.zeros((4, 4, 3), dtype=np.uint8)


def received(number: int) -> ReceivedFrame:
    keypoints = QuantisedKeypoints(np.zeros((20, 3), dtype=np.int32))
    return ReceivedFrame(CodedFrame(number, None, keypoints), 3000 * number, 0.0)


async def test_the_newest_frame_wins() -> None:
    decoder, shown = SlowDecoder(), asyncio.Queue[int]()
    async with PictureGenerator(decoder, lambda frame, _: shown.put_nowait(frame.coded.number)) as generator:
        task = asyncio.create_task(generator.run())
        generator.put(received(0))
        await asyncio.to_thread(decoder.started.wait)
        for number in range(1, 6):
            generator.put(received(number))
        decoder.go.release(2)
        assert [await shown.get(), await shown.get()] == [0, 5]
        assert (generator.num_made, generator.num_dropped) == (2, 4)
        assert generator.decoder_fps is not None
        task.cancel()
    assert decoder.made == [0, 5]


async def test_all_work_is_done_by_one_thread() -> None:
    decoder, shown = SlowDecoder(), asyncio.Queue[int]()
    decoder.go.release(10)
    async with PictureGenerator(decoder, lambda frame, _: shown.put_nowait(frame.coded.number)) as generator:
        task = asyncio.create_task(generator.run())
        await generator.set_references([np.zeros((4, 4, 3), dtype=np.uint8)])
        for number in range(3):
            generator.put(received(number))
            await shown.get()
        task.cancel()
    assert len(decoder.threads) == 1
    assert threading.current_thread().name not in decoder.threads


async def test_frames_wait_for_no_references() -> None:
    decoder = SlowDecoder()
    decoder.num_references = 0
    async with PictureGenerator(decoder, lambda frame, _: None) as generator:
        generator.put(received(0))
        assert (generator.num_waiting_for_references, generator.num_dropped) == (1, 0)
        assert generator.decoder_fps is None


async def test_a_failing_decoder_ends_the_run() -> None:
    decoder = SlowDecoder()
    decoder.generate = lambda frame: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    async with PictureGenerator(decoder, lambda frame, _: None) as generator:
        generator.put(received(0))
        with pytest.raises(ZeroDivisionError):
            await generator.run()
