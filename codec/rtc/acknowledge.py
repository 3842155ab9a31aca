"""Stage 7 of 8, the way back: the receiver says which frame it has, and the sender predicts from that one.

    DecoderAdapter -> Acknowledger -> RTCP reference picture selection indication -> EncoderAdapter.note_acknowledged

While nothing is lost nothing is said. For some seconds after a loss every third packet is answered, and one whose base
is missing at once: the sender's next message is then coded from a frame that is there, whatever was lost since, and no
keyframe need be sent. RFC 4585, section 6.3.3: the native bit string is the frame's number, 16 bits.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RtcpPsfbPacket

from codec.errors import BitstreamError

REFERENCE_PICTURE_SELECTION = 3
"""Format of a payload-specific feedback message (RFC 4585, section 6.3)."""
ENCODER_ATTRIBUTE = "_RTCRtpSender__encoder"
"""Where a sender keeps its encoder."""
RTCP_SSRC_ATTRIBUTE = "_RTCRtpReceiver__rtcp_ssrc"
"""Where a receiver keeps the source that its RTCP packets name; None before it is known."""
LOSSY_S = 3.0
"""How long after a loss the receiver goes on answering."""
PACKETS_PER_ANSWER = 3
MIN_COMPLAINT_INTERVAL_S = 0.04


@runtime_checkable
class Acknowledging(Protocol):
    """An encoder that wants to know what arrived."""

    def note_acknowledged(self, number: int) -> None:
        """Take note that the receiver has a frame."""


HandleRtcp = Callable[[RTCRtpSender, Any], Awaitable[None]]


class Acknowledger:
    """Decides when a receiver says which frame it has.

    Args:
        send: sends an acknowledgement of a frame's number.
        clock: seconds, steady.
    """

    def __init__(self, send: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._lossy_until_s = float("-inf")
        self._complained_s = float("-inf")
        self._num_unanswered = 0

    def note_packet(self, newest: int, packets_since_last: int) -> None:
        """Take note of a packet that was read, and of how many are missing before it."""
        now_s = self._clock()
        if packets_since_last > 1:
            self._lossy_until_s = now_s + LOSSY_S
            self._num_unanswered = PACKETS_PER_ANSWER
        self._num_unanswered += 1
        if now_s < self._lossy_until_s and self._num_unanswered >= PACKETS_PER_ANSWER:
            self._num_unanswered = 0
            self._send(newest)

    def note_missing_base(self, newest: int) -> None:
        """Take note of a packet that could not be read: the sender is told at once what there is."""
        now_s = self._clock()
        self._lossy_until_s = now_s + LOSSY_S
        if now_s - self._complained_s >= MIN_COMPLAINT_INTERVAL_S:
            self._complained_s = now_s
            self._send(newest)


def pack_acknowledgement(number: int) -> bytes:
    """Return the feedback control information of an acknowledgement: no padding, payload type 0, the number."""
    return bytes([0, 0, number >> 8, number & 255])


def unpack_acknowledgement(fci: bytes) -> int:
    """Return the number that a peer acknowledges.

    Raises:
        BitstreamError: of another form.
    """
    if len(fci) != 4 or fci[0]:
        raise BitstreamError(f"an acknowledgement of {len(fci)} bytes; it must have 4, and no padding")
    return fci[2] << 8 | fci[3]


def with_acknowledgements(original: HandleRtcp) -> HandleRtcp:
    """Return aiortc's handler of a sender's RTCP packets, with acknowledgements passed to the encoder."""

    @functools.wraps(original)
    async def handle(self: RTCRtpSender, packet: Any) -> None:
        if not isinstance(packet, RtcpPsfbPacket) or packet.fmt != REFERENCE_PICTURE_SELECTION:
            await original(self, packet)
            return
        encoder = getattr(self, ENCODER_ATTRIBUTE, None)
        if isinstance(encoder, Acknowledging):
            with contextlib.suppress(BitstreamError):  # from the network; a sender can do without
                encoder.note_acknowledged(unpack_acknowledgement(packet.fci))

    return handle
