"""Beside the pictures: references to a receiver, over a whole call.

    FramedPicture -> ReferencePicker -> GainCheck, a thread -> deliver, part by part -> ReferenceStatus ->
    HeldReferences

One picture is on its way at a time; it is used from the moment that the receiver has said that it has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from codec.config import CodecConfig
from codec.errors import ReferenceImageError, SignallingError
from codec.face import Picture
from codec.rtc import ControlChannel
from codec.structs import Hello, QuantisedKeypoints, ReferenceSelection, ReferenceStatus
from sender.delivery import LinkUse, deliver
from sender.face import FramedPicture
from sender.gain import GainCheck
from sender.held import CodedReference, HeldReferences
from sender.references import BitBudget, Candidate, ReferencePicker, locations_of
from sender.stats import Book

logger = logging.getLogger(__name__)

REST = 8.0
"""Times a check's own duration before the next one: the networks are needed for the call."""


class ReferenceSupply:
    """Picks references and sends them, over all calls of a sender; all but the slow check on the event loop.

    Args:
        config: of the model.
        count: how many pictures the receiver is to hold at most; 0 sends none.
        book: where they are noted.
        check: codes candidates and measures what they gain.
        link: tells what the link carries, and what the pictures take of it.
        on_used: told hashes and pictures that the receiver has in use, as far as they are known, whenever that changes.
        known: pictures by hash that a receiver may hold of its own.
    """

    def __init__(
        self,
        config: CodecConfig,
        count: int,
        book: Book,
        check: GainCheck,
        link: Callable[[], LinkUse],
        on_used: Callable[[Sequence[tuple[str, Picture]]], None] = lambda used: None,
        known: Mapping[str, Picture] | None = None,
    ) -> None:
        self._config = config
        self._count = count
        self._book = book
        self._check = check
        self._link = link
        self._on_used = on_used
        self._known = known or {}
        self._budget = BitBudget()
        self._picker = ReferencePicker(config, self._budget)
        self._held: HeldReferences | None = None
        self._control: ControlChannel | None = None
        self._task: asyncio.Task[None] | None = None
        self._rest_until_s = 0.0

    @property
    def held(self) -> HeldReferences | None:
        """What the receiver holds of this sender's pictures; None before the first call that sends any."""
        return self._held

    def attach(self, control: ControlChannel, hello: Hello) -> None:
        """Begin to supply a receiver, unless it has pictures of its own.

        After a lost connection, a receiver may still hold some of ours: it gets the others again.
        """
        self._on_used([(sha256, self._known[sha256]) for sha256 in hello.reference_sha256s if sha256 in self._known])
        ours = {str(reference["sha256"]) for reference in self._book.references}
        if self._count == 0 or set(hello.reference_sha256s) - ours:
            return
        self._control = control
        if self._held is None:
            self._held = HeldReferences(min(self._count, max(hello.max_references, 1)))
        missing = self._held.restart(hello.reference_sha256s)
        self._tell_used(self._held)
        if missing:
            self._start(self._deliver_all(self._held, missing))

    def detach(self) -> None:
        """Stop: the call has ended."""
        self._control = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def consider(self, picture: FramedPicture, keypoints: QuantisedKeypoints) -> None:
        """Take a picture with its keypoints as a candidate."""
        if self._control is None or self._held is None:
            return
        now_s = time.monotonic()
        self._budget.earn(self._link().bandwidth_bps, now_s)
        self._check.note_picture(picture.rgb, now_s)
        self._held.note_pose(locations_of(keypoints, self._config), now_s)
        if self._task is not None or self._held.sent is not None or now_s < self._rest_until_s:
            return
        candidate = self._picker.offer(picture, keypoints, now_s, self._held.candidates)
        if candidate is not None:
            self._start(self._send_if_worth_it(self._held, candidate))

    def note_status(self, status: ReferenceStatus) -> None:
        """Take the receiver's word on a picture."""
        for reference in self._book.references:
            if reference["sha256"] == status.sha256:
                reference["accepted"] = status.accepted
        if self._held is None:
            return
        if not status.accepted:
            logger.warning("the receiver refused reference %s: %s", status.sha256[:12], status.reason)
            refused = self._held.refuse(status.sha256)
            if refused is not None:
                self._picker.decline(refused.candidate, time.monotonic())
            return
        logger.info("reference %s is in place", status.sha256[:12])
        selection = self._held.acknowledge(status.sha256)
        self._tell_used(self._held)
        if selection is not None and self._control is not None and self._control.is_open:
            self._control.send(ReferenceSelection(selection))

    def _tell_used(self, held: HeldReferences) -> None:
        self._on_used([(reference.sha256, reference.rgb) for reference in held.used])

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a reference was not sent: %r", error)

    async def _send_if_worth_it(self, held: HeldReferences, candidate: Candidate) -> None:
        start_s = time.monotonic()
        try:
            reference = await asyncio.to_thread(self._check.check, candidate, held)
        except ReferenceImageError as error:
            logger.warning("a reference was not sent: %s", error)
            reference = None
        now_s = time.monotonic()
        if held.used:
            self._rest_until_s = now_s + REST * (now_s - start_s)
        if reference is None:
            self._picker.decline(candidate, now_s)
        else:
            await self._deliver(held, reference)

    async def _deliver_all(self, held: HeldReferences, missing: list[CodedReference]) -> None:
        for reference in missing:
            await self._deliver(held, reference)
            while held.sent is reference:  # noqa: ASYNC110 - one at a time: the receiver's word comes as a message
                await asyncio.sleep(0.05)

    async def _deliver(self, held: HeldReferences, reference: CodedReference) -> None:
        held.send(reference)
        known = {str(each["sha256"]) for each in self._book.references}
        if reference.sha256 not in known:
            self._book.references.append({"sha256": reference.sha256, "bytes": len(reference.data), "accepted": False})
        self._budget.spend(8.0 * len(reference.data))
        if self._control is None:
            return  # the call has ended meanwhile; the next one gets it
        try:
            await deliver(self._control, reference, self._link, is_first=not held.used)
        except SignallingError as error:
            logger.debug("reference %s is kept for the next call: %s", reference.sha256[:12], error)
