"""The call: one peer connection from offer to goodbye.

    offer -> answer -> connected -> hello both ways -> pictures, sound, clocks, references -> bye

A dead peer is noticed by silence: aiortc's receivers report every 0.5 to 1.5 s, and the clocks that go over the data
channel every second are acknowledged. ICE alone would take 33 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from codec import Model
from codec.config import RTP_CODEC_NAME
from codec.errors import ModelMismatchError, SignallingError, VersionError
from codec.rtc import Padder, can_change_to_video, is_negotiated, prefer_ordinary, prefer_warpcall
from codec.structs import EncodedFrame
from sender.conversation import CallEnd, Conversation, How
from sender.director import Director
from sender.face import FramedPicture
from sender.media import Media
from sender.peer import ORDINARY_SILENCE_S, SILENCE_S, TICK_S, Silence, first_codec
from sender.stats import Book, snapshot_of
from sender.supply import ReferenceSupply
from sender.tracks import PictureTrack, SoundTrack
from sender.whip import WhipClient

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
HELLO_TIMEOUT_S = 4.0
HELLO_PATIENCE_S = 1.0
DRAIN_S = 0.3
CLOSE_TIMEOUT_S = 5.0

_ANSWER_ERRORS = (
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    InternalError,
    InvalidAccessError,
    InvalidStateError,
    OperationError,
    SignallingError,
)


class Call:
    """One call.

    Args:
        whip: the open signalling client.
        ice_servers: STUN and TURN servers to gather with.
        model: whose identity both ends confirm.
        media: what is sent.
        book: counts.
        supply: sends references.
        director: decides how each picture is sent.
        stop: set when the user wants the call to end.
        on_connected: called when the connection has come about.
        ordinary: offer VP8 and H.264 alone.
    """

    def __init__(
        self,
        whip: WhipClient,
        ice_servers: list[RTCIceServer],
        model: Model,
        media: Media,
        book: Book,
        supply: ReferenceSupply,
        director: Director,
        stop: asyncio.Event,
        on_connected: Callable[[], None],
        *,
        ordinary: bool = False,
    ) -> None:
        self._whip = whip
        self._model = model
        self._media = media
        self._book = book
        self._supply = supply
        self._director = director
        self._padder: Padder | None = None
        self._stop = stop
        self._on_connected = on_connected
        self._ordinary = ordinary
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=ice_servers))
        self._connected = asyncio.Event()
        self._end: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        self._conversation: Conversation | None = None
        self._resource_url: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.was_connected = False
        """Whether the connection came about."""
        self.ice_servers: tuple[RTCIceServer, ...] = ()
        """STUN and TURN servers that came with the answer, for the next call."""

    async def run(self) -> CallEnd:
        """Call, and return when the call has ended.

        Raises:
            SignallingError: the peer cannot be reached, refuses, or gives an answer that cannot be used.
            ModelMismatchError: the peer has another model.
            VersionError: the peer speaks another wire version.
            CaptureError: the source failed.
        """
        end = CallEnd(How.FINISHED, "the sender stops")
        try:
            end = await self._run()
        except (ModelMismatchError, VersionError) as error:
            end = CallEnd(How.FINISHED, str(error))
            raise
        finally:
            await self._close(end)
        return end

    def note_frame(self, encoded: EncodedFrame, pts: int, picture: FramedPicture) -> None:
        """Take notice of a coded picture; on the event loop."""
        if self._conversation is not None:
            self._conversation.note_frame(encoded, pts, picture)
        if self._padder is not None and (num_bytes := self._director.padding_bytes()):
            self._watch_task(self._pad(self._padder, num_bytes))

    async def _run(self) -> CallEnd:
        self._book.state = "calling"
        self._watch(self._stop, CallEnd(How.FINISHED, "the sender stops"))
        self._watch(self._media.ended, CallEnd(How.FINISHED, "the source has ended"))
        self._add_media()
        if not await self._negotiate():
            return CallEnd(How.NOT_WARPCALL, "the answer leaves out the data channel")
        self._connection.on("connectionstatechange", self._on_state)
        self._on_state()
        await self._wait(CONNECT_TIMEOUT_S, self._connected)
        if not self._connected.is_set() and not self._end.done():
            raise SignallingError(f"{self._whip.url} answered, but no connection came about in {CONNECT_TIMEOUT_S:g} s")
        if self._connected.is_set():
            self.was_connected = True
            if self._conversation is not None and self._book.codec == RTP_CODEC_NAME:
                # Until then the peer may not be ready to decrypt: a file would lose its first picture, the keyframe.
                await self._wait(HELLO_PATIENCE_S, self._conversation.introduced)
                self._director.repeat_hold()
            self._on_connected()
        end = await self._supervise()
        if self._media.error is not None:
            raise self._media.error
        return end

    def _add_media(self) -> None:
        track = PictureTrack(self._media.pictures, self._director.direct)
        pictures = self._connection.addTransceiver(track, direction="sendonly")
        self._padder = Padder(pictures.sender)
        if self._ordinary:
            prefer_ordinary(pictures)
        else:
            prefer_warpcall(pictures)
        if self._media.sounds is not None:
            sounds = self._connection.addTransceiver(
                SoundTrack(self._media.sounds, self._note_sound), direction="sendonly"
            )
            opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.name.lower() == "opus"]
            sounds.setCodecPreferences(opus)
        if not self._ordinary:
            self._conversation = Conversation(self._connection, self._model, self._supply, self._finish, self._fail)
            self._watch_task(self._conversation.say_hello())

    async def _negotiate(self) -> bool:
        """Offer and apply the answer; return False when only a peer without a data channel answers like this."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        answer = await self._whip.offer(self._connection.localDescription.sdp)
        self._resource_url, self.ice_servers = answer.resource_url, answer.ice_servers
        if self._conversation is not None and is_negotiated(answer.sdp):
            # Before the description is applied: pictures may be asked for from then on.
            self._director.attach(self._conversation.say_hold, can_send_video=can_change_to_video(answer.sdp))
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=answer.sdp, type="answer"))
        except _ANSWER_ERRORS as error:
            if not self._ordinary and "\nm=application 0 " in answer.sdp:
                return False
            raise SignallingError(f"the answer of {self._whip.url} cannot be used: {error}") from error
        if is_negotiated(self._connection):
            self._book.codec = RTP_CODEC_NAME
        else:
            self._director.detach()
            self._book.codec = first_codec(answer.sdp)
            logger.warning("the peer does not take %s: it gets %s", RTP_CODEC_NAME, self._book.codec)
        return True

    async def _supervise(self) -> CallEnd:
        """Watch the call until it ends."""
        begun_s = time.monotonic()
        silence = Silence(ORDINARY_SILENCE_S if self._book.codec != RTP_CODEC_NAME else SILENCE_S)
        while not self._end.done():
            snapshot = await snapshot_of(self._connection)
            self._book.note_snapshot(snapshot)
            if silence.is_over_limit(snapshot):
                return CallEnd(How.LOST, f"nothing came from the peer for {silence.limit_s:g} s")
            if self._is_without_hello(time.monotonic() - begun_s):
                return CallEnd(How.NOT_WARPCALL, f"no hello came in {HELLO_TIMEOUT_S:g} s")
            await self._wait(TICK_S)
        return self._end.result()

    def _is_without_hello(self, elapsed_s: float) -> bool:
        is_introduced = self._conversation is not None and self._conversation.introduced.is_set()
        return self._book.codec == RTP_CODEC_NAME and not is_introduced and elapsed_s > HELLO_TIMEOUT_S

    async def _close(self, end: CallEnd) -> None:
        self._supply.detach()
        if end.how is How.FINISHED and self.was_connected:
            await asyncio.sleep(DRAIN_S)  # the last pictures are still being coded
        with contextlib.suppress(ConnectionError):
            self._book.note_snapshot(await snapshot_of(self._connection))
        if self._conversation is not None and end.how is not How.LEFT:
            await self._conversation.say_bye(end.reason)
        self._director.detach()
        for task in [*self._tasks]:
            task.cancel()
        if self._end.done():
            self._end.exception()  # whoever raised something else meanwhile has the word
        self._end.cancel()
        if self._resource_url is not None:
            await self._whip.delete(self._resource_url)
        try:
            await asyncio.wait_for(self._connection.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.debug("the connection did not close in time")
        self._book.end_call()

    async def _pad(self, padder: Padder, num_bytes: int) -> None:
        before = padder.num_bytes
        with contextlib.suppress(ConnectionError):
            await padder.send(num_bytes)
        self._book.padding_bytes += padder.num_bytes - before

    def _note_sound(self, pts: int, capture_time_us: int) -> None:
        if self._conversation is not None:
            self._conversation.note_sound(pts, capture_time_us)

    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state == "connected":
            self._connected.set()
        elif state in ("failed", "closed"):
            self._finish(CallEnd(How.LOST, f"the connection has {'failed' if state == 'failed' else 'closed'}"))

    def _finish(self, end: CallEnd) -> None:
        if not self._end.done():
            self._end.set_result(end)

    def _fail(self, error: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    def _watch(self, event: asyncio.Event, end: CallEnd) -> None:
        async def watch() -> None:
            await event.wait()
            self._finish(end)

        self._watch_task(watch())

    def _watch_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, timeout_s: float, event: asyncio.Event | None = None) -> None:
        """Wait until the call ends, an event is set, or time is over."""
        tasks: list[asyncio.Future[Any]] = [] if event is None else [asyncio.ensure_future(event.wait())]
        await asyncio.wait([self._end, *tasks], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
