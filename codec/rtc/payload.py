"""Stage 6 of 8: message bytes to RTP payload, and back.

    message --pack_payload--> RTP payload --RtpPayload.arrived--> jitter buffer, decoder --unpack_payload--> message

One frame is one packet, and the payload is the message itself: no descriptor, no fragments. The largest valid message
(64 keypoints at 12 bits, uncompressed) is far below one packet, so a larger one is refused at both ends.
The marker bit is set on every packet (RFC 3550 section 5.1, "frame boundaries").
"""

from __future__ import annotations

import time

from codec.errors import BitstreamError

MAX_PAYLOAD_BYTES = 1100
"""Largest payload that is sent or accepted: fits any path with its headers (IPv6's least MTU is 1280)."""

NEW_STREAM = 1 << 16
"""Packets since the last one of a stream that has just begun: nothing of what was read before belongs to it."""


class RtpPayload(bytes):
    """A payload of this codec on its way from the socket to the decoder.

    A class of its own, because aiortc joins the two ends by nothing but the bytes: the jitter buffer knows by it that
    the packet is ours.

    Attributes:
        arrival_time_s: seconds since the epoch at which the packet was received.
        packets_since_last: by how much its sequence number is greater than that of the packet released before; the
            jitter buffer sets it.
    """

    arrival_time_s: float
    packets_since_last: int = 1

    @classmethod
    def arrived(cls, payload: bytes) -> RtpPayload:
        """Return a payload stamped with the present moment; nothing is checked yet."""
        stamped = cls(payload)
        stamped.arrival_time_s = time.time()
        return stamped


def pack_payload(message: bytes) -> list[bytes]:
    """Return the RTP payloads of one message: always one.

    Raises:
        BitstreamError: the message is empty or does not fit one packet.
    """
    _check_size(message)
    return [message]


def unpack_payload(payload: bytes) -> bytes:
    """Return the message in an RTP payload.

    Raises:
        BitstreamError: the payload is empty or larger than any valid one.
    """
    _check_size(payload)
    return bytes(payload)


def _check_size(data: bytes) -> None:
    if not 0 < len(data) <= MAX_PAYLOAD_BYTES:
        raise BitstreamError(f"an RTP payload of {len(data)} bytes; it must have 1 to {MAX_PAYLOAD_BYTES}")
