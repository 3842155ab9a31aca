"""A reference goes over the link in small parts, and its pauses leave the rest of the link to the pictures."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from codec import Model
from codec.bitstream.message import pack_control
from codec.config import WIRE_VERSION
from codec.rtc import ControlChannel
from codec.structs import (
    ControlMessage,
    Hello,
    QuantisedKeypoints,
    ReferencePicture,
    ReferenceSelection,
    ReferenceStatus,
)
from sender import delivery
from sender.delivery import (
    FIRST_SHARE,
    LARGEST_PART_BYTES,
    LEAST_SHARE,
    PART_HEADER_BYTES,
    SMALLEST_PART_BYTES,
    LinkUse,
    delivery_bps,
    part_size,
)
from sender.face import FramedPicture
from sender.gain import GainCheck
from sender.held import CodedReference
from sender.references import Candidate
from sender.stats import Book
from sender.supply import ReferenceSupply

DATA = np.random.default_rng(0).bytes(3_000)
RGB = np.zeros((64, 64, 3), dtype=np.uint8)


def hello(model: Model, *held: str) -> Hello:
    return Hello(WIRE_VERSION, model.sha256, "tiny", "receiver", held, 4, model.priors.sha256)


class FakeControl(ControlChannel):
    """An open channel that notes what is said."""

    def __init__(self) -> None:
        self.said: list[ControlMessage] = []
        self.parts: list[int] = []
        self.waiting = 0

    @property
    def is_open(self) -> bool:
        return True

    @property
    def num_buffered_bytes(self) -> int:
        self.waiting = max(0, self.waiting - 1)
        return LARGEST_PART_BYTES + 1 if self.waiting else 0

    def send(self, message: ControlMessage) -> None:
        self.said.append(message)

    async def send_in_parts(
        self, picture: ReferencePicture, part_bytes: int, before_part: Callable[[int], Awaitable[None]]
    ) -> None:
        for part in pack_control(picture, part_bytes=part_bytes):
            await before_part(len(part))
            self.parts.append(len(part))
        self.said.append(picture)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("sender.delivery.asyncio.sleep", sleep)
    return pauses


@pytest.mark.parametrize(("bps", "size"), [(8_000, SMALLEST_PART_BYTES), (40_000, 350), (1e6, LARGEST_PART_BYTES)])
def test_a_part_is_what_the_link_carries_in_a_tenth_of_a_second(bps: float, size: int) -> None:
    assert part_size(bps) == size


def test_a_reference_takes_what_the_pictures_leave() -> None:
    assert delivery_bps(LinkUse(20_000, 17_000), is_first=False) == pytest.approx(3_000)
    assert delivery_bps(LinkUse(40_000, 17_000), is_first=False) == pytest.approx(19_000)
    assert delivery_bps(LinkUse(40_000, 17_000), is_first=True) == pytest.approx(30_000)


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_reference_takes_its_share_of_the_link_and_no_more(is_first: bool, slept: list[float]) -> None:
    control = FakeControl()
    reference = CodedReference(_sha256(DATA), DATA, RGB, Candidate(RGB, np.zeros((20, 2)), 1.0))
    await delivery.deliver(control, reference, lambda: LinkUse(20_000.0, 17_000.0), is_first=is_first)
    assert len(control.parts) == -(-len(DATA) // SMALLEST_PART_BYTES)
    owed = sum(control.parts[:-1]) + PART_HEADER_BYTES * (len(control.parts) - 1)
    assert sum(slept) == pytest.approx(8 * owed / (20_000 * (FIRST_SHARE if is_first else LEAST_SHARE)))


async def test_a_channel_that_is_slower_is_waited_for(slept: list[float]) -> None:
    control = FakeControl()
    control.waiting = 4
    reference = CodedReference(_sha256(DATA), DATA, RGB, Candidate(RGB, np.zeros((20, 2)), 1.0))
    await delivery.deliver(control, reference, lambda: LinkUse(1e9, 0.0), is_first=True)
    assert slept.count(delivery.PART_S) == 3


async def test_the_supply_swaps_only_what_was_acknowledged(tiny_model: Model) -> None:
    control, book = FakeControl(), Book()
    told: list[list[str]] = []
    supply = ReferenceSupply(
        tiny_model.config,
        2,
        book,
        GainCheck(None, 50),
        lambda: LinkUse(1e7, 0.0),
        lambda used: told.append([sha256 for sha256, _ in used]),
    )
    supply.attach(control, hello(tiny_model))
    rng = np.random.default_rng(0)

    async def offer_until(count: int, offset: int) -> str:
        async with asyncio.timeout(20):
            while len(book.references) < count or book.references[-1]["sha256"] not in _sent(control):
                values_K3 = np.full((20, 3), 1 << (tiny_model.config.location_bits - 2), dtype=np.int32)
                values_K3[::2, 0] += offset * (1 << tiny_model.config.location_bits) // 512
                rgb = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                supply.consider(FramedPicture(rgb, 0, True), QuantisedKeypoints(values_K3))
                await asyncio.sleep(0.02)
        return str(book.references[-1]["sha256"])

    sent = []
    for count, offset in ((1, 0), (2, 60), (3, -60)):
        sha256 = await offer_until(count, offset)
        assert supply.held is not None
        assert sha256 not in [reference.sha256 for reference in supply.held.used]
        supply.note_status(ReferenceStatus(sha256, accepted=True, reason=""))
        assert sha256 in [reference.sha256 for reference in supply.held.used]
        assert told[-1] == [reference.sha256 for reference in supply.held.used]
        sent.append(sha256)
    selections = [message for message in control.said if isinstance(message, ReferenceSelection)]
    assert len(selections) == 1
    assert sent[2] in selections[0].sha256s
    assert len(selections[0].sha256s) == 2
    assert [reference["accepted"] for reference in book.references] == [True, True, True]
    supply.detach()

    again = FakeControl()
    supply.attach(again, hello(tiny_model, selections[0].sha256s[0]))
    async with asyncio.timeout(20):
        while not _sent(again):  # noqa: ASYNC110 - the supply has no event
            await asyncio.sleep(0.01)
    assert _sent(again) == [selections[0].sha256s[1]]
    assert told[-1] == [selections[0].sha256s[0]]
    supply.detach()


async def test_a_receiver_with_pictures_of_its_own_gets_none(tiny_model: Model) -> None:
    told: list[list[str]] = []
    supply = ReferenceSupply(
        tiny_model.config,
        2,
        Book(),
        GainCheck(None, 50),
        lambda: LinkUse(1e7, 0.0),
        lambda used: told.append([sha256 for sha256, _ in used]),
        {"cd" * 32: RGB},
    )
    supply.attach(FakeControl(), hello(tiny_model, "ab" * 32))
    supply.attach(FakeControl(), hello(tiny_model, "ab" * 32, "cd" * 32))
    assert supply.held is None
    assert told == [[], ["cd" * 32]]


async def test_a_refused_picture_is_not_tried_again_at_once(
    tiny_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    control, book = FakeControl(), Book()
    eyeless = dataclasses.replace(tiny_model.config, anchored_keypoints=False)
    supply = ReferenceSupply(eyeless, 2, book, GainCheck(None, 50), lambda: LinkUse(1e7, 0.0))
    supply.attach(control, hello(tiny_model))
    keypoints = QuantisedKeypoints(np.full((20, 3), 5, dtype=np.int32))
    supply.consider(FramedPicture(RGB, 0, True), keypoints)
    async with asyncio.timeout(20):
        while not _sent(control):  # noqa: ASYNC110 - the supply has no event
            await asyncio.sleep(0.01)
    supply.note_status(ReferenceStatus(_sent(control)[0], accepted=False, reason="no room"))
    assert "the receiver refused reference" in caplog.text
    assert supply.held is not None
    assert supply.held.candidates == []
    supply.detach()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sent(control: FakeControl) -> list[str]:
    return [message.sha256 for message in control.said if isinstance(message, ReferencePicture)]
