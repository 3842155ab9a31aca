"""Stage 7 of 8: one RTP stream whose codec changes from frame to frame, without a word of signalling.

    sending:   RTCRtpSender reads the payload type of each packet from its codec's parameters -> ``StreamCodec`` changes
    it receiving: RTCRtpReceiver finds the decoder of each packet by its payload type -> ``SwitchingJitterBuffer``

Both codecs were negotiated in one m-line (RFC 3264, section 6.1: any of them may be used at any time), so the receiver
is ready for either. Sequence numbers and timestamps run on over a change. The first frame after it stands alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from aiortc.codecs import is_rtx
from aiortc.jitterbuffer import MAX_MISORDER, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import RtpPacket

from codec.rtc.jitter import PromptJitterBuffer
from codec.rtc.payload import RtpPayload
from codec.rtc.video import CODEC_NAME, is_available


@dataclass
class StreamCodec(RTCRtpCodecParameters):
    """The codec of one sent stream at this moment.

    Attributes:
        own_type: payload type of this codec.
        video_type: payload type of conventional video; None where the peer takes none that can be sent.
        padding_type: payload type of that video's retransmissions, under which padding is sent; None without.
    """

    own_type: int = 0
    video_type: int | None = None
    padding_type: int | None = None

    @property
    def is_video(self) -> bool:
        """Whether conventional video is sent now."""
        return self.payloadType == self.video_type

    def choose(self, *, is_video: bool) -> None:
        """Give the packets that follow one payload type or the other."""
        chosen = self.video_type if is_video else self.own_type
        assert chosen is not None
        self.payloadType = chosen


def stream_codec_of(parameters: RTCRtpSendParameters) -> StreamCodec:
    """Return a sender's first codec, this one, so that it can be changed as the sender sends."""
    first, *others = parameters.codecs
    video = next((codec for codec in others if codec.name.upper() == CODEC_NAME and is_available()), None)
    fields = {field.name: getattr(first, field.name) for field in dataclasses.fields(first)}
    return StreamCodec(
        **fields,
        own_type=first.payloadType or 0,
        video_type=None if video is None else video.payloadType,
        padding_type=None if video is None else _retransmission_type(others, video.payloadType),
    )


def _retransmission_type(codecs: Sequence[RTCRtpCodecParameters], payload_type: int | None) -> int | None:
    return next(
        (codec.payloadType for codec in codecs if is_rtx(codec) and codec.parameters.get("apt") == payload_type), None
    )


class SwitchingJitterBuffer(PromptJitterBuffer):
    """A jitter buffer for a stream that changes between this codec and another.

    The stock buffer of the other codec begins anew at each change: it would wait for packets that were not its own,
    half a thousand packets long. What comes late from before a change is dropped: a frame with an older timestamp would
    set aiortc's clock back by 13 hours.
    """

    _last: tuple[int, int, bool] | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take one packet; return whether to ask for a keyframe, and the frame that is now complete."""
        data = getattr(packet, "_data", b"")
        if not data:
            return super().add(packet)
        is_ours = isinstance(data, RtpPayload)
        last = self._last
        if last is not None and last[0] == packet.ssrc:
            behind = (last[1] - packet.sequence_number) & 0xFFFF
            if is_ours != last[2] and behind < MAX_MISORDER:
                return False, None
            if is_ours == last[2] and behind < MAX_MISORDER:
                return super().add(packet)  # late, but of the codec at hand: its buffer knows what to do
        if last is not None and is_ours != last[2] and not is_ours:
            self._begin_anew(packet.sequence_number)
        self._last = (packet.ssrc, packet.sequence_number, is_ours)
        return super().add(packet)

    def _begin_anew(self, sequence_number: int) -> None:
        if self._origin is not None:
            self.remove(self.capacity)
            self._origin = sequence_number
