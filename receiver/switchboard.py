"""One call at a time: who gets in, who waits, and what is told of it all.

A second sender gets ``BusyError`` while a call is alive. A call from which nothing came for ``GIVE_WAY_S`` gives way,
so that a sender which lost its connection need not wait for the watchdog.
"""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import os
from pathlib import Path

from codec.errors import OutputError
from receiver.record import temporary_path
from receiver.session import Call
from receiver.studio import Studio
from receiver.whip import BusyError

logger = logging.getLogger(__name__)

GIVE_WAY_S = 1.0
ENDED_CALLS_REMEMBERED = 256


class Switchboard:
    """Opens and ends calls.

    Attributes:
        num_calls: calls that were opened.
        last_call: the call under way, or the last one.
        failures: lines about what went wrong at this end in any call.
        first_ended: set once a call that had been connected is over.
    """

    def __init__(self, studio: Studio) -> None:
        self.num_calls = 0
        self.last_call: Call | None = None
        self.failures: list[str] = []
        self.first_ended = asyncio.Event()
        self._studio = studio
        self._running: asyncio.Task[None] | None = None
        self._is_closing = False
        self._opening = asyncio.Lock()
        self._known: collections.deque[str] = collections.deque(maxlen=ENDED_CALLS_REMEMBERED)

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way, or being cleaned up."""
        return self._running is not None and not self._running.done()

    @property
    def state(self) -> str:
        """What to tell people: waiting, or the call's own state."""
        return self.last_call.state if self.is_busy and self.last_call is not None else "waiting"

    async def open_call(self, offer: str) -> Call:
        """Open a call.

        Raises:
            BusyError: another one is alive.
            OfferError: the offer cannot be answered.
        """
        async with self._opening:
            await self._make_room()
            call = Call(self._studio, self.num_calls + 1)
            await call.open(offer)
            self.num_calls += 1
            self.last_call = call
            self._known.append(call.id)
            self._running = asyncio.create_task(self._run(call))
            logger.info("call %d: a sender is connecting, %s", call.number, call.stats.codec)
            return call

    def find_call(self, call_id: str) -> Call | None:
        """Return the call of that id if it is the one under way."""
        call = self.last_call
        return call if call is not None and call.id == call_id and not call.end_reason else None

    def knows(self, call_id: str) -> bool:
        """Whether there is or was such a call."""
        return call_id in self._known

    async def end_call(self, call_id: str, reason: str) -> None:
        """End the call of that id if it is the one under way; does not wait for its recording."""
        if (call := self.find_call(call_id)) is not None:
            call.hang_up(reason)

    async def close(self) -> None:
        """End the call under way, take no other, and wait for the recording."""
        self._is_closing = True
        async with self._opening:
            if self.is_busy and self.last_call is not None and self._running is not None:
                self.last_call.hang_up("the receiver ends", is_ours=True)
                await self._running

    def to_dict(self) -> dict[str, object]:
        """Return the state and the figures as JSON takes them."""
        studio, call = self._studio, self.last_call
        return {
            "state": self.state,
            "calls": self.num_calls,
            "end_reason": call.end_reason if call is not None else "",
            "hold_reason": call.hold_reason if call is not None and self.is_busy else "",
            "device": str(studio.model.device),
            "config": studio.model.config.name,
            "image_size": studio.model.config.image_size,
            "weights_sha256": studio.model.sha256,
            "references": list(studio.shelf.sha256s),
            "call": call.stats.recent().to_dict() if call is not None and self.is_busy else None,
            "last_call": call.stats.total().to_dict() if call is not None else None,
        }

    async def _make_room(self) -> None:
        """Let a silent call give way, and wait for the end of one that is over.

        Raises:
            BusyError: the call is alive, or the receiver is about to end.
        """
        if self._is_closing:
            raise BusyError
        if not self.is_busy or self.last_call is None or self._running is None:
            return
        if not self.last_call.end_reason:
            if self.last_call.silent_s < GIVE_WAY_S:
                raise BusyError
            self.last_call.hang_up("another sender took the place of a silent one")
        await self._running

    async def _run(self, call: Call) -> None:
        try:
            await call.run()
        except Exception as error:  # the call's top task, and a boundary: the receiver stays up for the next one
            logger.error("call %d failed: %s", call.number, error, exc_info=self._studio.config.debug)
            call.failures.append(f"the call failed: {type(error).__name__}: {error}")
            call.hang_up("the receiver failed", is_ours=True)
            await call.pc.close()
        if call.was_refused:
            logger.warning("call %d refused: %s", call.number, call.end_reason)
        else:
            logger.info("call %d ended: %s", call.number, call.end_reason)
        self.failures += call.failures
        if self._studio.config.report is not None:
            try:
                write_report(self._studio.config.report, self._report(call))
            except OutputError as error:
                logger.error("%s", error)
                self.failures.append(str(error))
        if call.was_connected:
            self.first_ended.set()

    def _report(self, call: Call) -> dict[str, object]:
        studio = self._studio
        return {
            **call.stats.total().to_dict(),
            "end_reason": call.end_reason,
            "failures": call.failures,
            "references": len(studio.shelf),
            "device": str(studio.model.device),
            "config": studio.model.config.name,
            "image_size": studio.model.config.image_size,
            "weights_sha256": studio.model.sha256,
        }


def write_report(path: Path, report: dict[str, object]) -> None:
    """Write figures as JSON under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written.
    """
    partial = temporary_path(path)
    try:
        partial.write_text(json.dumps(report, indent=2) + "\n")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"--report {path}: {error.strerror or error}") from error
