"""Stage 7 of 8, receiving end: packets to frames, at once.

aiortc's jitter buffer holds a frame until the next one begins (one frame interval) and its delay ratchets up after
losses (0.8 to 1.5 s at 5% loss). Here one packet is one frame, so ours releases it on arrival and drops what comes
late: a picture older than the one on screen is of no use. Packets of other codecs go through the stock buffer.
"""

from __future__ import annotations

from aiortc.jitterbuffer import MAX_MISORDER, JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from codec.rtc.payload import NEW_STREAM, RtpPayload
from codec.rtc.stats import PluginStats

MAX_DROPOUT = 3000
"""Farthest jump ahead that is believed at once (RFC 3550, appendix A.1)."""


class PromptJitterBuffer(JitterBuffer):
    """A jitter buffer that does not buffer this codec.

    Args:
        capacity: packets that the stock buffer holds, for other codecs.
        prefetch: frames that the stock buffer holds back, for other codecs.
        is_video: whether the stock buffer asks for keyframes, for other codecs.
        stats: where late packets are counted.
    """

    def __init__(self, capacity: int, prefetch: int = 0, is_video: bool = False, *, stats: PluginStats) -> None:
        super().__init__(capacity, prefetch=prefetch, is_video=is_video)
        self._stats = stats
        self._newest: tuple[int, int] | None = None
        self._restart_at: int | None = None

    @property
    def is_prompt(self) -> bool:
        """Whether the last packet was of this codec."""
        return self._newest is not None

    @property
    def ssrc(self) -> int:
        """Source of the last packet of this codec; 0 when the last packet was of another."""
        return self._newest[0] if self._newest is not None else 0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take one packet; return whether to ask for a keyframe, and the frame that is now complete."""
        data = getattr(packet, "_data", b"")
        if not isinstance(data, RtpPayload):
            # An empty packet may be padding of our own stream; it tells nothing of another codec.
            if data:
                self._newest = None
            elif self.is_prompt:
                return False, None
            return super().add(packet)
        if self._is_late(packet):
            self._stats.add(late_dropped=1)
            return False, None
        data.packets_since_last = self._packets_since_last(packet)
        self._newest = (packet.ssrc, packet.sequence_number)
        self._restart_at = None
        return False, JitterFrame(data=data, timestamp=packet.timestamp)

    def _packets_since_last(self, packet: RtpPacket) -> int:
        if self._newest is None or self._newest[0] != packet.ssrc:
            return NEW_STREAM
        return (packet.sequence_number - self._newest[1]) & 0xFFFF

    def _is_late(self, packet: RtpPacket) -> bool:
        """Return whether a newer packet was released before.

        A far jump is believed when a second packet follows it in sequence (a sender that began anew), so that one stray
        packet from seconds ago does not turn the clock back.
        """
        if self._newest is None or self._newest[0] != packet.ssrc:
            return False
        ahead = (packet.sequence_number - self._newest[1]) & 0xFFFF
        if 0 < ahead <= MAX_DROPOUT:
            return False
        if ahead == 0 or ahead > 0x10000 - MAX_MISORDER:
            return True
        is_restart = packet.sequence_number == self._restart_at
        self._restart_at = (packet.sequence_number + 1) & 0xFFFF
        return not is_restart
