"""Stage 7 of 8, beside the pictures: hello, reference pictures and clocks over one reliable data channel.

    ControlMessage --pack_control--> fragments --RTCDataChannel "warpcall"--> ControlAssembler --> ControlMessage

The channel is ordered and reliable. Keypoints never go this way: SCTP has one congestion window, and a reference of
300 kB would hold them up for seconds on a lossy link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiortc import RTCDataChannel, RTCPeerConnection

from codec.bitstream.message import ControlAssembler, pack_control
from codec.errors import BitstreamError, CodecError, SignallingError
from codec.rtc.stats import FailureLog
from codec.structs import ControlMessage, ReferencePicture

logger = logging.getLogger(__name__)

LABEL = "warpcall"
OnMessage = Callable[[ControlMessage], Awaitable[None] | None]


class ControlChannel:
    """Control messages over a data channel.

    Bytes that are no valid message are dropped and counted. An exception of ``on_message`` is logged and counted as
    well: within aiortc it would end the connection's transport.

    Args:
        datachannel: an ordered, reliable channel; see ``create`` and ``accept``.
        on_message: called on the event loop with each message, in order; may be a coroutine function.
    """

    def __init__(self, datachannel: RTCDataChannel, on_message: OnMessage) -> None:
        self.num_dropped = 0
        self.num_handler_failures = 0
        self._datachannel = datachannel
        self._on_message = on_message
        self._assembler = ControlAssembler()
        self._failures = FailureLog(logger, "a control message was dropped")
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()
        self._tasks: set[asyncio.Future[None]] = set()
        if datachannel.readyState == "open":
            self._opened.set()
        datachannel.on("open", self._opened.set)
        datachannel.on("close", self._closed.set)
        datachannel.on("message", self._receive)

    @classmethod
    def create(cls, connection: RTCPeerConnection, on_message: OnMessage) -> ControlChannel:
        """Create the channel at the offering end, before the offer is made."""
        return cls(connection.createDataChannel(LABEL), on_message)

    @classmethod
    def accept(cls, connection: RTCPeerConnection, on_channel: Callable[[RTCDataChannel], None]) -> None:
        """Call ``on_channel`` with the peer's channel of this label; channels of other labels are left alone."""

        @connection.on("datachannel")
        def on_datachannel(datachannel: RTCDataChannel) -> None:
            if datachannel.label == LABEL:
                on_channel(datachannel)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent now."""
        return self._datachannel.readyState == "open"

    @property
    def num_buffered_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._datachannel.bufferedAmount

    async def opened(self) -> None:
        """Wait until the channel is open."""
        await self._opened.wait()

    async def closed(self) -> None:
        """Wait until the channel is closed."""
        await self._closed.wait()

    def send(self, message: ControlMessage) -> None:
        """Send a message, in as many fragments as it takes.

        Raises:
            SignallingError: the channel is not open.
            CodecError: the message cannot be coded.
        """
        if not self.is_open:
            raise SignallingError(f"the control channel is {self._datachannel.readyState}, not open")
        for fragment in pack_control(message):
            self._datachannel.send(fragment)

    async def send_in_parts(
        self, picture: ReferencePicture, part_bytes: int, before_part: Callable[[int], Awaitable[None]]
    ) -> None:
        """Send a picture in small parts, so that what else goes over the link need not wait for the whole of it.

        Args:
            picture: to send.
            part_bytes: of the picture in a part, at most.
            before_part: awaited before each part with the part's size, bytes; makes the pauses.

        Raises:
            SignallingError: the channel is not open any more.
            CodecError: the picture cannot be coded.
        """
        for part in pack_control(picture, part_bytes=part_bytes):
            await before_part(len(part))
            if not self.is_open:
                raise SignallingError(f"the control channel is {self._datachannel.readyState}, not open")
            self._datachannel.send(part)

    def close(self) -> None:
        """Close the channel; messages on their way still arrive."""
        self._datachannel.close()

    def _receive(self, data: bytes | str) -> None:
        try:
            if not isinstance(data, bytes):
                raise BitstreamError("text on the control channel; its messages are bytes")
            message = self._assembler.feed(data)
        except CodecError as error:
            self.num_dropped += 1
            self._failures.note(error)
            return
        if message is not None:
            self._handle(message)

    def _handle(self, message: ControlMessage) -> None:
        try:
            result = self._on_message(message)
        except Exception as error:  # named boundary: aiortc's SCTP transport would end
            self._note_handler_failure(error)
            return
        if result is not None:
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._note_handler_failure(error)

    def _note_handler_failure(self, error: Exception) -> None:
        self.num_handler_failures += 1
        self._failures.note(error)
