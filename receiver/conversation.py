"""What the two ends of a call say to each other over the "warpcall" channel.

    sender opens the channel -> Hello both ways (wire version and model must match, else Bye)
    ReferencePicture -> decode, shelve, compute keys and values -> ReferenceStatus
    ReferenceSelection -> the pictures named are used, the sender's others forgotten
    Clock -> the media clocks;  Hold -> people are told;  Bye -> the call ends

A plain WebRTC peer opens no such channel, and nothing of this happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from aiortc import RTCDataChannel, RTCPeerConnection

from codec.config import WIRE_VERSION
from codec.errors import ReferenceImageError, SignallingError
from codec.rtc import ControlChannel
from codec.structs import (
    Bye,
    Clock,
    ControlMessage,
    Hello,
    Hold,
    ReferencePicture,
    ReferenceSelection,
    ReferenceStatus,
)
from receiver.studio import Studio

logger = logging.getLogger(__name__)

BYE_GRACE_S = 0.3
MAX_PENDING_REFERENCES = 4


def printable(text: str) -> str:
    """Return a peer's words fit for a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]


class Conversation:
    """The receiver's side of a call's control channel."""

    def __init__(
        self,
        studio: Studio,
        pc: RTCPeerConnection,
        *,
        on_clock: Callable[[Clock], None],
        on_hold: Callable[[str], None],
        on_refused: Callable[[str], None],
        on_bye: Callable[[str], None],
        on_references: Callable[[], Awaitable[None]],
    ) -> None:
        """Wait for the sender's channel.

        Args:
            studio: model and references.
            pc: the call's connection.
            on_clock: called with each clock message.
            on_hold: called with the reason when the sender holds its picture, with nothing when it goes on.
            on_refused: called with the reason when the two ends cannot understand each other.
            on_bye: called with the sender's reason when it leaves.
            on_references: called when the shelf changed; the sender is told once it is done.
        """
        self._studio = studio
        self._on_clock = on_clock
        self._on_hold = on_hold
        self._on_refused = on_refused
        self._on_bye = on_bye
        self._on_references = on_references
        self._channel: ControlChannel | None = None
        self._pictures: asyncio.Queue[ReferencePicture | ReferenceSelection] = asyncio.Queue(MAX_PENDING_REFERENCES)
        ControlChannel.accept(pc, self._begin)

    async def say_bye(self, reason: str) -> None:
        """Say Bye, if there is somebody to hear it, and leave it a moment to arrive."""
        if self._channel is not None and self._channel.is_open:
            self._send(Bye(reason))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._channel.closed(), BYE_GRACE_S)

    async def take_references(self) -> None:
        """Take the sender's pictures and selections in their order, and answer each picture; runs until cancelled."""
        while True:
            message = await self._pictures.get()
            if isinstance(message, ReferencePicture):
                await self._take(message)
            elif self._studio.shelf.select(message.sha256s):
                logger.info("the sender chose %d reference pictures", len(message.sha256s))
                await self._on_references()

    async def _take(self, picture: ReferencePicture) -> None:
        shelf = self._studio.shelf
        try:
            rgb = await asyncio.to_thread(shelf.decode, picture)
            if shelf.add(picture.sha256, rgb):
                await self._on_references()
        except ReferenceImageError as error:
            logger.info("reference picture refused: %s", error)
            self._send(ReferenceStatus(picture.sha256, False, str(error)))
        else:
            logger.info("reference picture %s taken", picture.sha256[:12])
            self._send(ReferenceStatus(picture.sha256, True, ""))

    def _begin(self, datachannel: RTCDataChannel) -> None:
        if self._channel is not None:
            return
        self._channel = ControlChannel(datachannel, self._on_message)
        model, shelf = self._studio.model, self._studio.shelf
        hello = Hello(
            wire_version=WIRE_VERSION,
            model_sha256=model.sha256,
            config_name=model.config.name,
            role="receiver",
            reference_sha256s=shelf.sha256s,
            max_references=shelf.max_references,
            priors_sha256=model.priors.sha256,
        )
        self._send(hello)

    def _send(self, message: ControlMessage) -> None:
        try:
            if self._channel is not None:
                self._channel.send(message)
        except SignallingError as error:
            logger.debug("not sent: %s", error)

    def _on_message(self, message: ControlMessage) -> None:
        if isinstance(message, Clock):
            self._on_clock(message)
        elif isinstance(message, Hello):
            self._check(message)
        elif isinstance(message, ReferencePicture | ReferenceSelection):
            self._queue(message)
        elif isinstance(message, Hold):
            self._on_hold(printable(message.reason))
        elif isinstance(message, Bye):
            self._on_bye(printable(message.reason))

    def _check(self, hello: Hello) -> None:
        model = self._studio.model
        if hello.wire_version != WIRE_VERSION:
            self._on_refused(f"the sender speaks wire version {hello.wire_version}, the receiver {WIRE_VERSION}")
        elif hello.model_sha256 != model.sha256:
            theirs = f"{printable(hello.config_name)} {hello.model_sha256[:12]}"
            self._on_refused(f"the sender's model is {theirs}, the receiver's {model.config.name} {model.sha256[:12]}")
        elif hello.priors_sha256 != model.priors.sha256:
            theirs, ours = hello.priors_sha256[:12], model.priors.sha256[:12]
            self._on_refused(f"the sender's bitstream priors are {theirs}, the receiver's {ours}")

    def _queue(self, message: ReferencePicture | ReferenceSelection) -> None:
        try:
            self._pictures.put_nowait(message)
        except asyncio.QueueFull:
            if isinstance(message, ReferencePicture):
                self._send(ReferenceStatus(message.sha256, False, "too many reference pictures at a time"))
            else:
                logger.warning("a choice of reference pictures was dropped: too many at a time")
