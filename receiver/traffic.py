"""What arrives on a call's transport: aiortc's counters and the plug-in's, as one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from aiortc import RTCPeerConnection

from codec.config import RTP_CODEC_NAME
from codec.rtc import Plugin, PluginCounts, header_bytes_of, is_negotiated
from receiver.stats import Traffic


def codec_name(pc: RTCPeerConnection) -> str:
    """Return the codec that the answer names first for video, as the sender will use it."""
    if is_negotiated(pc):
        return RTP_CODEC_NAME
    section = pc.localDescription.sdp.partition("m=video ")[2].partition("\r\nm=")[0]
    first = re.match(r"\d+ \S+ (\d+)", section)
    name = re.search(rf"a=rtpmap:{first[1]} ([\w.-]+)/", section) if first else None
    return name[1] if name else "unknown"


def ordinary_codec_name(pc: RTCPeerConnection) -> str:
    """Return the codec that conventional video has in a call of this project's own: the sender's choice is H.264."""
    return "H264" if "H264/" in pc.localDescription.sdp else codec_name(pc)


class TrafficMeter:
    """Reads a call's counters and notes when something last came.

    Attributes:
        last_heard_s: when a packet of any kind last came, by ``now``; None before the first.
    """

    def __init__(self, pc: RTCPeerConnection, plugin: Plugin, now: Callable[[], float] = time.monotonic) -> None:
        """Set up a meter; the plug-in counts over all calls, so its counters of now are the zero.

        Args:
            pc: the call's connection.
            plugin: the plug-in that parses the call's frames.
            now: clock in seconds.
        """
        self.last_heard_s: float | None = None
        self._pc = pc
        self._plugin = plugin
        self._zero = plugin.stats.snapshot()
        self._now = now
        self._all_packets = 0

    @property
    def silent_s(self) -> float:
        """Seconds since something last came; 0 before the first packet."""
        return 0.0 if self.last_heard_s is None else self._now() - self.last_heard_s

    async def read(self, num_ordinary_frames: int) -> Traffic:
        """Return the counters since the call began.

        Args:
            num_ordinary_frames: frames of an ordinary video call, which the plug-in does not see.
        """
        packets = lost = all_packets = all_bytes = 0
        for stats in (await self._pc.getStats()).values():
            if stats.type == "inbound-rtp" and stats.kind == "video":
                packets += stats.packetsReceived
                lost += stats.packetsLost
            elif stats.type == "transport":
                all_packets += stats.packetsReceived
                all_bytes += stats.bytesReceived
        if all_packets > self._all_packets:
            self._all_packets = all_packets
            self.last_heard_s = self._now()
        counts, zero = self._plugin.stats.snapshot(), self._zero
        is_ours = is_negotiated(self._pc)
        return Traffic(
            frames=num_ordinary_frames + counts.frames_received - zero.frames_received,
            payload_bytes=_payload_bytes(counts) - _payload_bytes(zero) if is_ours else None,
            packets=packets,
            header_bytes=header_bytes_of(self._pc),
            lost=max(0, lost),
            undecodable=counts.undecodable_dropped - zero.undecodable_dropped,
            late=counts.late_dropped - zero.late_dropped,
            keyframe_requests=counts.keyframes_requested - zero.keyframes_requested,
            all_bytes=all_bytes,
            all_packets=all_packets,
            rtt_ms=self._rtt_ms(),
        )

    def _rtt_ms(self) -> float | None:
        """Return the round trip time as SCTP smooths it: RTCP gives a pure receiver none, and aiortc has no other."""
        rtt_s = getattr(self._pc.sctp, "_srtt", None)
        return None if rtt_s is None else round(1000 * rtt_s, 1)


def _payload_bytes(counts: PluginCounts) -> int:
    return counts.payload_bytes_received + counts.video_bytes_received
