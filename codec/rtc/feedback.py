"""Stage 7 of 8: what the two ends tell each other of the link, in RTP's own words.

    RTCRtpReceiver: every packet -> BandwidthEstimator -> REMB -> the sender's ``target_bitrate``
    RTCRtpSender:   padding under the retransmissions' payload type, to try whether the link carries more

Padding is a packet without a payload (RFC 3550, section 5.1) from the retransmission stream's source, as libwebrtc
sends it: receivers count its bytes and drop it.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Awaitable, Callable

from aiortc.codecs import is_rtx
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RTCP_PSFB_APP, HeaderExtensionsMap, RtcpPsfbPacket, RtpPacket, pack_remb_fci

from codec.config import CLOCK_RATE_HZ, RTP_CODEC_NAME
from codec.rtc import seams
from codec.rtc.bandwidth import BandwidthEstimator
from codec.rtc.stats import PluginStats
from codec.rtc.switching import StreamCodec

MAX_PADDING_BYTES = 255
ABS_SEND_TIME_UNITS_PER_S = 1 << 18
ABS_SEND_TIME_BITS = 24

HandlePacket = Callable[..., Awaitable[None]]


class Unwrapped:
    """A counter of so many bits, told as if it never wrapped around."""

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._last: int | None = None

    def __call__(self, value: int) -> int:
        """Return the value that is nearest to the last one."""
        if self._last is None:
            self._last = value
        else:
            ahead = (value - self._last) % self._size
            self._last += ahead if ahead < self._size // 2 else ahead - self._size
        return self._last


class LinkMonitor:
    """Watches the packets of one receiver and reports the bandwidth.

    Args:
        parameters: of the receiver.
        stats: where bytes of conventional video are counted.
    """

    def __init__(self, parameters: RTCRtpReceiveParameters, stats: PluginStats) -> None:
        self._stats = stats
        self._estimator = BandwidthEstimator()
        self._own_types = {codec.payloadType for codec in parameters.codecs if codec.name.upper() == RTP_CODEC_NAME}
        self._rtx_types = {codec.payloadType for codec in parameters.codecs if is_rtx(codec)}
        self._send_time = Unwrapped(ABS_SEND_TIME_BITS)
        self._timestamp = Unwrapped(32)
        self._number = Unwrapped(16)
        self._ssrc: int | None = None
        self._frame: int | None = None

    @property
    def estimator(self) -> BandwidthEstimator:
        """What it knows of the link."""
        return self._estimator

    async def note(self, receiver: RTCRtpReceiver, packet: RtpPacket, arrival_time_ms: int) -> None:
        """Take a packet, and report when it is time."""
        size_bytes = len(packet.payload) + packet.padding_size
        if packet.payload_type in self._rtx_types:
            is_due = self._estimator.add(arrival_time_ms / 1000, size_bytes)
        else:
            if packet.ssrc != self._ssrc:
                self._ssrc = packet.ssrc
                self._timestamp, self._send_time, self._number = Unwrapped(32), Unwrapped(24), Unwrapped(16)
            is_due = self._estimator.add(
                arrival_time_ms / 1000,
                size_bytes,
                sent_s=self._sent_s(packet),
                number=self._number(packet.sequence_number),
            )
            if packet.payload_type not in self._own_types:
                self._stats.add(video_bytes_received=len(packet.payload))
        own_ssrc = getattr(receiver, seams.RTCP_SSRC_ATTRIBUTE)
        if is_due and own_ssrc is not None and self._ssrc is not None:
            fci = pack_remb_fci(round(self._estimator.estimate_bps), [self._ssrc])
            await receiver._send_rtcp(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=own_ssrc, media_ssrc=0, fci=fci))

    def _sent_s(self, packet: RtpPacket) -> float | None:
        """Return when the first packet of a frame was sent; None for the others, which wait for their own kind."""
        timestamp = self._timestamp(packet.timestamp)
        is_first, self._frame = timestamp != self._frame, timestamp
        if packet.extensions.abs_send_time is not None:
            sent_s = self._send_time(packet.extensions.abs_send_time) / ABS_SEND_TIME_UNITS_PER_S
        else:
            sent_s = timestamp / CLOCK_RATE_HZ
        return sent_s if is_first else None


_monitors: weakref.WeakKeyDictionary[RTCRtpReceiver, LinkMonitor] = weakref.WeakKeyDictionary()


def monitor(receiver: RTCRtpReceiver, parameters: RTCRtpReceiveParameters, stats: PluginStats) -> None:
    """Watch a receiver that is about to start, in aiortc's place, if the codec was negotiated."""
    if any(codec.name.upper() == RTP_CODEC_NAME for codec in parameters.codecs):
        _monitors[receiver] = LinkMonitor(parameters, stats)
        setattr(receiver, seams.ESTIMATOR_ATTRIBUTE, None)


def with_monitor(original: HandlePacket) -> HandlePacket:
    """Return aiortc's way to take a packet with a look at each."""

    async def handle_rtp_packet(self: RTCRtpReceiver, packet: RtpPacket, arrival_time_ms: int) -> None:
        await original(self, packet, arrival_time_ms)
        link = _monitors.get(self)
        if link is not None:
            await link.note(self, packet, arrival_time_ms)

    return handle_rtp_packet


class Padder:
    """Sends padding beside a stream.

    Args:
        sender: of the stream.
    """

    def __init__(self, sender: RTCRtpSender) -> None:
        self._sender = sender
        self._sequence_number = random.randrange(1 << 15)
        self.num_bytes = 0
        """Bytes sent, headers counted."""

    async def send(self, num_bytes: int) -> None:
        """Send about so many bytes, headers counted; nothing where the peer takes no padding."""
        codec = stream_codec(self._sender)
        if codec is None or codec.padding_type is None:
            return
        left = num_bytes
        while left > 0:
            size = min(MAX_PADDING_BYTES, max(1, left - 56))
            packet = RtpPacket(
                payload_type=codec.padding_type,
                sequence_number=self._sequence_number,
                ssrc=self._sender._rtx_ssrc,
            )
            packet.padding_size = size
            self._sequence_number = (self._sequence_number + 1) & 0xFFFF
            await self._sender.transport._send_rtp(packet.serialize(HeaderExtensionsMap()))
            left -= size + 56
            self.num_bytes += size + 56


_codecs: weakref.WeakKeyDictionary[RTCRtpSender, StreamCodec] = weakref.WeakKeyDictionary()


def remember_codec(sender: RTCRtpSender, codec: StreamCodec) -> None:
    """Note the codec of a stream that is about to start."""
    _codecs[sender] = codec


def stream_codec(sender: RTCRtpSender) -> StreamCodec | None:
    """Return the codec of a sender's stream; None before it started, or where this codec was not negotiated."""
    return _codecs.get(sender)
