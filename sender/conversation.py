"""The call's conversation: what sender and receiver say to each other over the data channel.

Hello both ways -> references and their status, a clock a second -> Bye
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiortc import RTCPeerConnection

from codec import Model
from codec.config import CLOCK_RATE_HZ, WIRE_VERSION
from codec.errors import ModelMismatchError, SignallingError, VersionError, WarpcallError
from codec.rtc import ControlChannel
from codec.structs import Bye, Clock, ControlMessage, EncodedFrame, Hello, Hold, ReferenceStatus
from sender.audio import SAMPLE_RATE_HZ
from sender.face import FramedPicture
from sender.peer import check_hello
from sender.supply import ReferenceSupply

logger = logging.getLogger(__name__)

CLOCK_INTERVAL_S = 1.0
SETTLED_CLOCKS, SETTLED_INTERVAL_S = 5, 4.0
"""After so many clocks of a medium they come less often: with its acknowledgement one is an eighth of 8 kbit/s."""


class How(enum.Enum):
    """How a call ended."""

    FINISHED = "finished"
    """The source ended, or the user wanted it."""
    LEFT = "left"
    """The peer said goodbye."""
    LOST = "lost"
    """The connection broke."""
    NOT_WARPCALL = "not warpcall"
    """The peer took the codec in the answer but does not speak it: call again without."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call.

    Attributes:
        how: it ended.
        reason: in words.
    """

    how: How
    reason: str


class Conversation:
    """The control channel of one call.

    Args:
        connection: before its offer is made.
        model: whose identity both ends confirm.
        supply: sends references.
        finish: called when the peer says goodbye.
        fail: called when the peer refuses, or cannot be understood.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        model: Model,
        supply: ReferenceSupply,
        finish: Callable[[CallEnd], None],
        fail: Callable[[WarpcallError], None],
    ) -> None:
        self._model = model
        self._supply = supply
        self._finish = finish
        self._fail = fail
        self._hello: Hello | None = None
        self.introduced = asyncio.Event()
        """Set when the peer has introduced itself."""
        self._clock_sent_s = {"video": float("-inf"), "audio": float("-inf")}
        self._num_clocks = {"video": 0, "audio": 0}
        self._control = ControlChannel.create(connection, self._on_message)

    def note_frame(self, encoded: EncodedFrame, pts: int, picture: FramedPicture) -> None:
        """Tell the capture time of a picture now and then, and offer it as a reference."""
        self._supply.consider(picture, encoded.keypoints)
        self._send_clock("video", encoded.number, pts, CLOCK_RATE_HZ, picture.capture_time_us)

    def note_sound(self, pts: int, capture_time_us: int) -> None:
        """Tell the capture time of a packet of sound now and then."""
        self._send_clock("audio", 0, pts, SAMPLE_RATE_HZ, capture_time_us)

    async def say_hello(self) -> None:
        """Introduce the sender as soon as the channel is open."""
        await self._control.opened()
        self._control.send(
            Hello(
                wire_version=WIRE_VERSION,
                model_sha256=self._model.sha256,
                config_name=self._model.config.name,
                role="sender",
                reference_sha256s=(),
                max_references=0,
                priors_sha256=self._model.priors.sha256,
            )
        )

    def say_hold(self, reason: str) -> None:
        """Tell the receiver that its picture is held, and why; nothing when pictures go on."""
        if self._hello is not None and self._control.is_open:
            self._control.send(Hold(reason))

    async def say_bye(self, reason: str) -> None:
        """Take leave, if the channel is open, and wait a moment for it to go out."""
        if not self._control.is_open:
            return
        self._control.send(Bye(reason))
        for _ in range(20):
            if self._control.num_buffered_bytes == 0:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)

    def _on_message(self, message: ControlMessage) -> None:
        match message:
            case Hello():
                self._on_hello(message)
            case Bye():
                self._on_bye(message)
            case ReferenceStatus():
                self._supply.note_status(message)
            case _:
                logger.debug("ignored a %s from the receiver", type(message).__name__)

    def _on_hello(self, hello: Hello) -> None:
        if self._hello is not None:
            return
        self._hello = hello
        self.introduced.set()
        try:
            check_hello(hello, self._model)
        except (ModelMismatchError, VersionError) as error:
            self._fail(error)
            return
        self._supply.attach(self._control, hello)

    def _on_bye(self, bye: Bye) -> None:
        if self._hello is None:
            self._fail(SignallingError(f"the peer refused the call: {bye.reason}"))
        else:
            self._finish(CallEnd(How.LEFT, bye.reason))

    def _send_clock(self, media: str, number: int, pts: int, rate_hz: int, capture_time_us: int) -> None:
        now_s = time.monotonic()
        if self._hello is None or not self._control.is_open:
            return
        interval_s = SETTLED_INTERVAL_S if self._num_clocks[media] >= SETTLED_CLOCKS else CLOCK_INTERVAL_S
        if now_s - self._clock_sent_s[media] >= interval_s:
            self._clock_sent_s[media] = now_s
            self._num_clocks[media] += 1
            self._control.send(Clock(media, number, pts, rate_hz, capture_time_us))
