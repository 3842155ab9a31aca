"""One call, from the sender's offer to its end.

    offer -> answer -> Conversation ("warpcall" channel) and Playout (tracks to screen) -> the end and its reason

The call ends when the sender says Bye, hangs up or closes the connection, when nothing came for ``--silence-s``, when
the two ends differ in wire version or model (with Bye), or when the receiver ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection

from codec.config import RTP_CODEC_NAME
from codec.rtc import is_negotiated, prefer_warpcall
from receiver.conversation import Conversation
from receiver.playout import Playout
from receiver.record import numbered
from receiver.signalling import OfferError, answer_offer, capabilities, ice_configuration, sections
from receiver.stats import CallStats
from receiver.studio import Studio
from receiver.traffic import TrafficMeter, codec_name, ordinary_codec_name

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 20.0
WATCH_INTERVAL_S = 0.25
STALLED_S = 3.0


class Call:
    """One sender's call.

    Attributes:
        id: names the call in its URL; not to be guessed.
        etag: of the call's ICE session.
        number: 1 for the first call of the program.
        answer: the SDP answer.
        pc: the connection.
        stats: the call's figures.
        end_reason: why it ended; empty while it has not.
        hold_reason: why the sender holds its picture, in its words; empty while it does not.
        failures: lines for people about what went wrong at this end (recording, dump, unforeseen errors).
        was_connected: whether the sender ever got through.
        was_refused: whether the two ends differ in wire version or model.
    """

    def __init__(self, studio: Studio, number: int) -> None:
        self.id = secrets.token_urlsafe(16)
        self.etag = f'"{secrets.token_hex(8)}"'
        self.number = number
        self.answer = ""
        self.end_reason = ""
        self.hold_reason = ""
        self.failures: list[str] = []
        self.was_connected = False
        self.was_refused = False
        self.stats = CallStats()
        self.pc = RTCPeerConnection(ice_configuration(studio.config))
        self._studio = studio
        self._traffic = TrafficMeter(self.pc, studio.plugin)
        self._tracks: dict[str, MediaStreamTrack] = {}
        self._playout: Playout | None = None
        self._ended = asyncio.Event()
        self._is_our_end = False
        self._may_return = True
        self.pc.on("track", self._on_track)
        self.pc.on("connectionstatechange", self._on_connection_state)

    @property
    def state(self) -> str:
        """What to tell people: connecting, no references, live, held, stalled or ended."""
        last_frame_s = self._playout.last_frame_s if self._playout is not None else None
        if self._ended.is_set():
            return "ended"
        if not self.was_connected or last_frame_s is None:
            return "connecting"
        if time.monotonic() - last_frame_s > STALLED_S:
            return "stalled"
        if self.stats.codec == RTP_CODEC_NAME and not len(self._studio.shelf):
            return "no references"
        if self.hold_reason:
            return "held"
        return "live"

    @property
    def silent_s(self) -> float:
        """Seconds since a packet of any kind last came."""
        return self._traffic.silent_s

    async def open(self, offer: str) -> None:
        """Answer the offer.

        Raises:
            OfferError: it cannot be answered; the connection is closed.
        """
        try:
            _check(offer)
            prefer_warpcall(self.pc.addTransceiver("video", direction="recvonly"))
            if any(kind == "audio" for kind, _, _ in sections(offer)):
                self.pc.addTransceiver("audio", direction="recvonly").setCodecPreferences(capabilities("audio", "opus"))
            self.answer = await answer_offer(self.pc, offer)
        except BaseException:
            await self.pc.close()
            raise
        self.stats.codec = codec_name(self.pc)
        self._ordinary_codec = ordinary_codec_name(self.pc)
        self._studio.shelf.begin_call()
        recording = numbered(self._studio.config.record, self.number) if self._studio.config.record else None
        self._playout = playout = Playout(self._studio, self.stats, recording, has_sound="audio" in self._tracks)
        self._conversation = Conversation(
            self._studio,
            self.pc,
            on_clock=playout.note_clock,
            on_hold=self._hold,
            on_refused=self._refuse,
            on_bye=lambda reason: self.hang_up(f"the sender left: {reason}", may_return=False),
            on_references=playout.follow_references,
        )

    def hang_up(self, reason: str, *, is_ours: bool = False, may_return: bool = True) -> None:
        """End the call soon.

        Args:
            reason: one line for people.
            is_ours: whether this end leaves or refuses, and says so with Bye.
            may_return: whether the sender did not say that it leaves: one that reconnects hangs up without Bye.
        """
        if not self._ended.is_set():
            self.end_reason = reason
            self._is_our_end = is_ours
            self._may_return = may_return and not is_ours
            self._ended.set()

    async def run(self) -> None:
        """Carry an opened call to its end and clean up."""
        assert self._playout is not None
        async with self._playout.generator:
            await self._run_until_ended(self._playout)
        self._playout.show_rest()
        if self._is_our_end:
            await self._conversation.say_bye(self.end_reason)
        await self._sample(self._playout)
        await self.pc.close()
        self._studio.shelf.end_call(may_return=self._may_return)
        for failure in await self._playout.finish():
            self._fail(failure)

    async def _run_until_ended(self, playout: Playout) -> None:
        parts: list[Coroutine[Any, Any, None]] = [
            playout.follow_references(),
            playout.generator.run(),
            playout.read_video(self._tracks["video"]),
            self._conversation.take_references(),
            self._watch(playout),
        ]
        if "audio" in self._tracks:
            parts.append(playout.read_sound(self._tracks["audio"]))
        tasks = {asyncio.create_task(part) for part in parts}
        ended = asyncio.create_task(self._ended.wait())
        pending: set[asyncio.Task[Any]] = {*tasks, ended}
        try:
            while not ended.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._check_part(task)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _check_part(self, task: asyncio.Task[Any]) -> None:
        """End the call when one of its parts failed: the boundary for errors that nobody foresaw."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a part of the call failed", exc_info=error)
            self._fail(f"the call failed: {type(error).__name__}: {error}")
            self.hang_up(f"the receiver failed: {type(error).__name__}", is_ours=True)

    def _fail(self, line: str) -> None:
        logger.error("%s", line)
        self.failures.append(line)

    def _hold(self, reason: str) -> None:
        logger.info("the sender %s", f"holds its picture: {reason}" if reason else "sends pictures again")
        self.hold_reason = reason

    def _refuse(self, reason: str) -> None:
        self.was_refused = True
        self.hang_up(reason, is_ours=True)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tracks.setdefault(track.kind, track)
        track.on("ended", lambda: self.hang_up(f"the sender's {track.kind} ended"))

    def _on_connection_state(self) -> None:
        state = self.pc.connectionState
        logger.debug("call %d is %s", self.number, state)
        if state == "connected":
            self.was_connected = True
        elif state == "failed":
            self.hang_up("the connection failed")
        elif state == "closed":
            self.hang_up("the sender closed the connection")

    async def _watch(self, playout: Playout) -> None:
        """Sample the counters, and end the call when nothing comes any more."""
        start_s, silence_s = time.monotonic(), self._studio.config.silence_s
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._sample(playout)
            if self.was_connected and self.silent_s > silence_s:
                self.hang_up(f"nothing came from the sender for {silence_s:g} s")
            elif not self.was_connected and time.monotonic() - start_s > CONNECT_TIMEOUT_S:
                self.hang_up(f"the sender did not connect within {CONNECT_TIMEOUT_S:.0f} s")

    async def _sample(self, playout: Playout) -> None:
        playout.update_stats()
        if playout.is_ordinary is not None and is_negotiated(self.pc):
            self.stats.codec = self._ordinary_codec if playout.is_ordinary else RTP_CODEC_NAME
        self.stats.sample(await self._traffic.read(playout.num_ordinary_frames))


def _check(offer: str) -> None:
    """Check that an offer sends one video, and at most one sound.

    Raises:
        OfferError: 422, when it does not.
    """
    live = [(kind, direction) for kind, port, direction in sections(offer) if port]
    for wanted in ("video", "audio"):
        if sum(kind == wanted for kind, _ in live) > 1:
            raise OfferError(422, f"the offer has more than one {wanted} section")
    if not any(kind == "video" and direction in ("sendonly", "sendrecv") for kind, direction in live):
        raise OfferError(422, "the offer sends no video")
