"""Stage 7 of 8: the names in aiortc that the plug-in replaces.

aiortc has no registry of codecs. This is the only file that changes aiortc; it checks first that each name is there and
takes the arguments that it took when this was written (aiortc 1.16).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiortc import codecs
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender

from codec.errors import PluginError

JITTER_BUFFER_ATTRIBUTE = "_RTCRtpReceiver__jitter_buffer"
"""Where a receiver keeps its jitter buffer: the private name as Python mangles it."""

DECODE_ERROR_ATTRIBUTE = "_RTCRtpReceiver__decoder_error"
"""Where a receiver keeps the event that it shares with its decoder thread."""


ESTIMATOR_ATTRIBUTE = "_RTCRtpReceiver__remote_bitrate_estimator"
"""Where a receiver keeps its bandwidth estimator, or None."""

RTCP_SSRC_ATTRIBUTE = "_RTCRtpReceiver__rtcp_ssrc"
"""Where a receiver keeps the source that its RTCP packets name; None before it is known."""

PACKETS_SENT_ATTRIBUTE = "_RTCRtpSender__packet_count"
"""Where a sender counts its packets."""

LAST_REPORT_ATTRIBUTES = "_RTCRtpSender__lsr", "_RTCRtpSender__lsr_time"
"""Where a sender keeps which report was its last, and when that was made: by them it measures the round trip."""

PROFILES_ATTRIBUTE, SSL_ATTRIBUTE = "_srtp_profiles", "_ssl"
"""Where a transport keeps the protection profiles of SRTP that it offers, and its DTLS connection."""


@dataclass(frozen=True, slots=True)
class Seam:
    """One name in aiortc that the plug-in replaces.

    Attributes:
        module: where it is.
        name: a module global, or Class.method.
        arguments: names of the arguments that it must take, in order.
    """

    module: str
    name: str
    arguments: tuple[str, ...]

    @property
    def _owner_and_attribute(self) -> tuple[object, str]:
        owner: object = importlib.import_module(self.module)
        *classes, attribute = self.name.split(".")
        for name in classes:
            owner = getattr(owner, name)
        return owner, attribute

    def get(self) -> Any:
        """Return what is there.

        Raises:
            PluginError: nothing, or something that takes other arguments.
        """
        try:
            owner, attribute = self._owner_and_attribute
            value = getattr(owner, attribute)
            arguments = tuple(inspect.signature(value).parameters)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise PluginError(f"this aiortc has no {self.module}.{self.name}: {error}") from error
        if arguments != self.arguments:
            raise PluginError(
                f"this aiortc's {self.module}.{self.name} takes ({', '.join(arguments)}), "
                f"not ({', '.join(self.arguments)})"
            )
        return value

    def set(self, value: object) -> None:
        """Put something else there."""
        owner, attribute = self._owner_and_attribute
        setattr(owner, attribute, value)


CREATE_ANSWER = Seam("aiortc.rtcpeerconnection", "RTCPeerConnection.createAnswer", ("self",))
SET_REMOTE = Seam("aiortc.rtcpeerconnection", "RTCPeerConnection.setRemoteDescription", ("self", "sessionDescription"))
SEND = Seam("aiortc.rtcrtpsender", "RTCRtpSender.send", ("self", "parameters"))
RETRANSMIT = Seam("aiortc.rtcrtpsender", "RTCRtpSender._retransmit", ("self", "sequence_number"))
GET_ENCODER = Seam("aiortc.rtcrtpsender", "get_encoder", ("codec",))
DEPAYLOAD = Seam("aiortc.rtcrtpreceiver", "depayload", ("codec", "payload"))
JITTER_BUFFER = Seam("aiortc.rtcrtpreceiver", "JitterBuffer", ("capacity", "prefetch", "is_video"))
RECEIVE = Seam("aiortc.rtcrtpreceiver", "RTCRtpReceiver.receive", ("self", "parameters"))
HANDLE_PACKET = Seam(
    "aiortc.rtcrtpreceiver", "RTCRtpReceiver._handle_rtp_packet", ("self", "packet", "arrival_time_ms")
)
SEND_PLI = Seam("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp_pli", ("self", "media_ssrc"))
SEND_NACK = Seam("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp_nack", ("self", "media_ssrc", "lost"))
GET_DECODER = Seam("aiortc.rtcrtpreceiver", "get_decoder", ("codec",))
DECODER_WORKER = Seam("aiortc.rtcrtpreceiver", "decoder_worker", ("loop", "input_q", "output_q", "decode_error"))
START_DTLS = Seam("aiortc.rtcdtlstransport", "RTCDtlsTransport.start", ("self", "remoteParameters"))
HANDLE_RTCP = Seam("aiortc.rtcrtpsender", "RTCRtpSender._handle_rtcp_packet", ("self", "packet"))
SEND_REPORT = Seam("aiortc.rtcrtpsender", "RTCRtpSender._send_rtcp", ("self", "packets"))
SEND_RTCP = Seam("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp", ("self", "packet"))
HOST_ADDRESSES = Seam("aioice.ice", "get_host_addresses", ("use_ipv4", "use_ipv6"))
SEAMS = (
    CREATE_ANSWER,
    SET_REMOTE,
    SEND,
    RETRANSMIT,
    GET_ENCODER,
    DEPAYLOAD,
    JITTER_BUFFER,
    RECEIVE,
    HANDLE_PACKET,
    SEND_PLI,
    SEND_NACK,
    GET_DECODER,
    DECODER_WORKER,
    START_DTLS,
    HANDLE_RTCP,
    SEND_REPORT,
    SEND_RTCP,
    HOST_ADDRESSES,
)


def check() -> dict[Seam, Any]:
    """Return what is at each seam.

    Raises:
        PluginError: a seam is missing or has changed; the message names it.
    """
    originals = {seam: seam.get() for seam in SEAMS}
    for attribute in (JITTER_BUFFER_ATTRIBUTE, DECODE_ERROR_ATTRIBUTE, ESTIMATOR_ATTRIBUTE, RTCP_SSRC_ATTRIBUTE):
        if attribute not in RTCRtpReceiver.__init__.__code__.co_names:
            raise PluginError(f"this aiortc's RTCRtpReceiver has no {attribute}")
    for attribute in (PACKETS_SENT_ATTRIBUTE, *LAST_REPORT_ATTRIBUTES):
        if attribute not in RTCRtpSender.__init__.__code__.co_names:
            raise PluginError(f"this aiortc's RTCRtpSender has no {attribute}")
    for attribute in (PROFILES_ATTRIBUTE, SSL_ATTRIBUTE):
        if attribute not in RTCDtlsTransport.__init__.__code__.co_names:
            raise PluginError(f"this aiortc's RTCDtlsTransport has no {attribute}")
    if not callable(getattr(originals[JITTER_BUFFER], "add", None)):
        raise PluginError("this aiortc's JitterBuffer has no add")
    return originals


def video_codecs() -> list[RTCRtpCodecParameters]:
    """Return aiortc's table of video codecs, to read or to change.

    Raises:
        PluginError: it is not there.
    """
    table = getattr(codecs, "CODECS", None)
    video = table.get("video") if isinstance(table, dict) else None
    if not isinstance(video, list):
        raise PluginError("this aiortc has no aiortc.codecs.CODECS with a list of video codecs")
    return video


def install(replacements: Mapping[Seam, object]) -> None:
    """Put something else at seams."""
    for seam, replacement in replacements.items():
        seam.set(replacement)
