from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np
import pytest

from codec import Decoder, Model
from codec.rtc import Plugin, register, unregister
from receiver.config import ReceiverConfig
from receiver.output import Screen
from receiver.server import ReceiverServer
from receiver.shelf import ReferenceShelf
from receiver.sources import Reference
from receiver.studio import Studio


class StartReceiver(Protocol):
    """Starts a receiver in this process."""

    async def __call__(self, config: ReceiverConfig = ..., *, num_own: int = ...) -> ReceiverServer: ...


@pytest.fixture
def plugin(tiny_model: Model) -> Iterator[Plugin]:
    plugin = Plugin(tiny_model, pictures="deferred")
    register(plugin)
    yield plugin
    unregister()


@pytest.fixture
def references(tiny_model: Model) -> list[Reference]:
    size = tiny_model.config.image_size
    rng = np.random.default_rng(0)
    return [
        Reference(f"{index:064x}", rng.integers(0, 256, (size, size, 3), dtype=np.uint8), f"{index}.png")
        for index in range(2)
    ]


@pytest.fixture
def studio(tiny_model: Model, plugin: Plugin, references: list[Reference]) -> Callable[[ReceiverConfig, int], Studio]:
    def make(config: ReceiverConfig, num_own: int) -> Studio:
        size = tiny_model.config.image_size
        shelf = ReferenceShelf(size, config.max_references, references[:num_own])
        return Studio(
            config=config,
            model=tiny_model,
            plugin=plugin,
            decoder=Decoder(tiny_model),
            shelf=shelf,
            screen=Screen(size),
        )

    return make


@pytest.fixture
async def start_receiver(studio: Callable[[ReceiverConfig, int], Studio]) -> AsyncIterator[StartReceiver]:
    async with AsyncExitStack() as stack:

        async def start(config: ReceiverConfig = ReceiverConfig(), *, num_own: int = 1) -> ReceiverServer:
            return await stack.enter_async_context(ReceiverServer(studio(replace(config, port=0), num_own)))

        yield start


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition; the test's own time limit bounds it."""

    async def wait(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.01)

    return wait
