"""Control messages over a real data channel."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiortc import RTCDataChannel

from codec.errors import SignallingError
from codec.rtc import ControlChannel
from codec.rtc.control import LABEL
from codec.structs import Bye, Clock, ControlMessage, Hello, ReferencePicture, ReferenceStatus

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback

TIMEOUT_S = 30.0
HELLO = Hello(
    wire_version=4,
    model_sha256="ab" * 32,
    config_name="tiny",
    role="sender",
    reference_sha256s=("cd" * 32,),
    max_references=4,
    priors_sha256="ef" * 32,
)


class Ends:
    """Both ends of a control channel, and what each received."""

    def __init__(self, loopback: Loopback) -> None:
        self.at_caller: asyncio.Queue[ControlMessage] = asyncio.Queue()
        self.at_callee: asyncio.Queue[ControlMessage] = asyncio.Queue()
        self.caller = ControlChannel.create(loopback.caller, self.at_caller.put_nowait)
        self._accepted: asyncio.Future[ControlChannel] = asyncio.get_running_loop().create_future()
        ControlChannel.accept(loopback.callee, self._on_channel)

    def _on_channel(self, datachannel: RTCDataChannel) -> None:
        self._accepted.set_result(ControlChannel(datachannel, self.at_callee.put))

    async def callee(self) -> ControlChannel:
        async with asyncio.timeout(TIMEOUT_S):
            await self.caller.opened()
            callee = await self._accepted
            await callee.opened()
        return callee


async def take(queue: asyncio.Queue[ControlMessage]) -> ControlMessage:
    async with asyncio.timeout(TIMEOUT_S):
        return await queue.get()


def picture(num_bytes: int) -> ReferencePicture:
    data = np.random.default_rng(6).bytes(num_bytes)
    return ReferencePicture(hashlib.sha256(data).hexdigest(), data)


async def test_hello_and_a_reference_go_both_ways(loopback: Loopback) -> None:
    ends = Ends(loopback)
    with pytest.raises(SignallingError, match="the control channel is connecting, not open"):
        ends.caller.send(HELLO)
    loopback.caller.createDataChannel("another")
    await loopback.connect()
    callee = await ends.callee()
    reference = picture(60_000)
    messages: list[ControlMessage] = [
        HELLO,
        reference,
        ReferenceStatus(reference.sha256, False, "no face"),
        Clock("audio", 0, 48_000, 48_000, 1_700_000_000_000_000),
        Bye("enough"),
    ]
    for channel, received in ((ends.caller, ends.at_callee), (callee, ends.at_caller)):
        for message in messages:
            channel.send(message)
        assert [await take(received) for _ in messages] == messages
        assert channel.num_dropped == channel.num_handler_failures == 0
    assert ends.caller.num_buffered_bytes == 0


async def test_hostile_messages_are_dropped_and_counted(loopback: Loopback) -> None:
    raw = loopback.caller.createDataChannel(LABEL)
    received: asyncio.Queue[ControlMessage] = asyncio.Queue()
    channels: list[ControlChannel] = []
    ControlChannel.accept(
        loopback.callee,
        lambda datachannel: channels.append(ControlChannel(datachannel, received.put_nowait)),
    )
    await loopback.connect()
    await loopback.until(lambda: raw.readyState == "open", "the channel opened")
    hostile: list[bytes | str] = ["text", b"\xff", b"\x00" * 20_000, np.random.default_rng(7).bytes(500)]
    for data in hostile:
        raw.send(data)
    ControlChannel(raw, received.put_nowait).send(HELLO)
    assert await take(received) == HELLO
    assert channels[0].num_dropped == len(hostile)


async def test_a_failing_handler_does_not_end_the_connection(
    loopback: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: ControlMessage) -> None:
        raise RuntimeError(f"cannot handle {type(message).__name__}")

    async def fail_later(message: ControlMessage) -> None:
        fail(message)

    caller = ControlChannel.create(loopback.caller, print)
    callees: list[ControlChannel] = []
    handlers = iter([fail, fail_later])
    ControlChannel.accept(
        loopback.callee, lambda datachannel: callees.append(ControlChannel(datachannel, next(handlers)))
    )
    await loopback.connect()
    async with asyncio.timeout(TIMEOUT_S):
        await caller.opened()
    second = ControlChannel.create(loopback.caller, print)
    async with asyncio.timeout(TIMEOUT_S):
        await second.opened()
    for channel in (caller, second):
        channel.send(HELLO)
        channel.send(Bye("over"))
    await loopback.until(
        lambda: [callee.num_handler_failures for callee in callees] == [2, 2], "all four messages were handled"
    )
    assert loopback.callee.connectionState == "connected"
    assert caplog.messages == ["a control message was dropped: RuntimeError: cannot handle Hello"] * 2


async def test_the_other_end_notices_the_close(loopback: Loopback) -> None:
    ends = Ends(loopback)
    await loopback.connect()
    callee = await ends.callee()
    assert callee.is_open
    ends.caller.close()
    async with asyncio.timeout(TIMEOUT_S):
        await callee.closed()
        await ends.caller.closed()
    with pytest.raises(SignallingError, match="is closed, not open"):
        callee.send(HELLO)
