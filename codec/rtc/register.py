"""Stage 7 of 8: the codec's place in aiortc.

What stands at each seam (``codec.rtc.seams``) while a plug-in is registered:

    codecs.CODECS                            the codec is offered, before VP8 and H.264
    RTCPeerConnection.createAnswer           its answer says "role=answer"
    RTCPeerConnection.setRemoteDescription   formats that this end cannot speak, and echoes, are left out; so are header
                                             extensions that tell nothing
    RTCDtlsTransport.start                   prefers a protection profile with a short authentication tag
    RTCRtpSender.send                        gives a stream a codec that can be changed while it is sent
    RTCRtpSender._retransmit                 sends no packet of conventional video again once keypoints are sent
    rtcrtpsender.get_encoder                 makes an ``EncoderAdapter``
    RTCRtpSender._handle_rtcp_packet         tells it which frame the receiver has
    RTCRtpSender._send_rtcp                  leaves out most sender reports
    RTCRtpReceiver._send_rtcp                is called to tell it (not replaced)
    rtcrtpreceiver.depayload                 marks the codec's payloads and their moment of arrival
    rtcrtpreceiver.JitterBuffer              releases them at once
    RTCRtpReceiver._send_rtcp_nack           asks for no retransmission of them: it would come too late
    RTCRtpReceiver._send_rtcp_pli            is called when a frame cannot be decoded (not replaced)
    RTCRtpReceiver.receive                   tells which receiver a decoder thread works for, and watches its link
    RTCRtpReceiver._handle_rtp_packet        has each packet seen by the bandwidth estimator
    rtcrtpreceiver.get_decoder               gives the thread's ``DecoderAdapter``
    rtcrtpreceiver.decoder_worker            makes it for a track, and closes it when the track ends
    aioice.ice.get_host_addresses            gives loopback where a machine has no other address (it gives none)

aiortc's own way to ask for a keyframe is an event that its receiver looks at when the next packet comes: one frame
interval too late, and a line in the log for each. So the adapter has the receiver send its PLI at once.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCPeerConnection, RTCSessionDescription, codecs
from aiortc.codecs.base import Decoder as RtpDecoder
from aiortc.codecs.base import Encoder as RtpEncoder
from aiortc.rtcdtlstransport import RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpCodecParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import DYNAMIC_PAYLOAD_TYPES

from codec.config import CLOCK_RATE_HZ, RTP_CODEC_NAME
from codec.errors import PluginError
from codec.rtc import feedback, overhead, receiving, sdp, seams
from codec.rtc.acknowledge import with_acknowledgements
from codec.rtc.adapters import EncoderAdapter
from codec.rtc.payload import RtpPayload
from codec.rtc.plugin import Plugin
from codec.rtc.reports import with_pauses
from codec.rtc.switching import StreamCodec, SwitchingJitterBuffer, stream_codec_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Registration:
    plugin: Plugin
    originals: dict[seams.Seam, Any]
    codec: RTCRtpCodecParameters


_registration: _Registration | None = None


def register(plugin: Plugin) -> None:
    """Make the codec part of aiortc, for the whole process.

    Call it before the peer connections are made: one that exists already keeps what it has. Registering the same
    plug-in again does nothing; another one takes its place for the calls to come.

    Raises:
        PluginError: this aiortc lacks a seam that the plug-in needs; the message names it, and nothing was changed.
    """
    global _registration
    if _registration is not None and _registration.plugin is plugin:
        return
    unregister()
    originals = seams.check()
    codec = _codec_parameters(plugin)
    seams.install(_replacements(plugin, originals))
    seams.video_codecs().insert(0, codec)
    _registration = _Registration(plugin, originals, codec)


def unregister() -> None:
    """Put everything back as it was; end the calls first. Does nothing when nothing is registered."""
    global _registration
    if _registration is None:
        return
    seams.install(_registration.originals)
    video = seams.video_codecs()
    video[:] = [codec for codec in video if codec is not _registration.codec]
    _registration = None


def registered() -> Plugin | None:
    """Return the plug-in that is registered, if one is."""
    return None if _registration is None else _registration.plugin


def is_ours(codec: RTCRtpCodecParameters) -> bool:
    """Return whether codec parameters or capabilities are this codec's."""
    return codec.name.upper() == RTP_CODEC_NAME


def _codec_parameters(plugin: Plugin) -> RTCRtpCodecParameters:
    """Return the codec's entry in aiortc's table, with the first free dynamic payload type.

    Raises:
        PluginError: the table is not there, or somebody else's entry of this name is in it.
    """
    if any(is_ours(codec) for codec in seams.video_codecs()):
        raise PluginError(f"aiortc.codecs.CODECS holds another {RTP_CODEC_NAME} already")
    taken = {codec.payloadType for table in codecs.CODECS.values() for codec in table}
    return RTCRtpCodecParameters(
        mimeType=f"video/{RTP_CODEC_NAME}",
        clockRate=CLOCK_RATE_HZ,
        payloadType=next(number for number in DYNAMIC_PAYLOAD_TYPES if number not in taken),
        rtcpFeedback=[RTCRtcpFeedback(type="nack", parameter="pli"), RTCRtcpFeedback(type="goog-remb")],
        parameters=dict(plugin.fmtp.parameters),
    )


def _replacements(plugin: Plugin, originals: dict[seams.Seam, Any]) -> dict[seams.Seam, object]:
    """Return what stands in for each seam."""
    return {
        seams.HOST_ADDRESSES: _host_addresses(originals),
        **_negotiation(plugin, originals),
        **_sending(plugin, originals),
        **_receiving(plugin, originals),
    }


def _host_addresses(originals: dict[seams.Seam, Any]) -> Callable[[bool, bool], list[str]]:
    original: Callable[[bool, bool], list[str]] = originals[seams.HOST_ADDRESSES]

    @functools.wraps(original)
    def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return original(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else [])

    return host_addresses


def _negotiation(plugin: Plugin, originals: dict[seams.Seam, Any]) -> dict[seams.Seam, object]:
    original_create: Callable[[RTCPeerConnection], Awaitable[RTCSessionDescription]] = originals[seams.CREATE_ANSWER]
    original_set: Callable[[RTCPeerConnection, RTCSessionDescription], Awaitable[None]] = originals[seams.SET_REMOTE]
    original_start: Callable[[RTCDtlsTransport, RTCDtlsParameters], Awaitable[None]] = originals[seams.START_DTLS]

    @functools.wraps(original_create)
    async def create_answer(self: RTCPeerConnection) -> RTCSessionDescription:
        answer = await original_create(self)
        return RTCSessionDescription(sdp=sdp.as_answer(answer.sdp), type=answer.type)

    @functools.wraps(original_set)
    async def set_remote(self: RTCPeerConnection, sessionDescription: RTCSessionDescription) -> None:
        role: sdp.Role = "offer" if sessionDescription.type == "offer" else "answer"
        text = sdp.without_foreign(sessionDescription.sdp, plugin.fmtp, role)
        if not plugin.header_extensions:
            text = sdp.without_extensions(text)
        elif sdp.has_one_video(text):
            text = sdp.without_extensions(text, sdp.MID)
        if RTP_CODEC_NAME in sessionDescription.sdp and RTP_CODEC_NAME not in text:
            logger.info("the peer's %s is an echo, or of another version or model; it is left out", RTP_CODEC_NAME)
        await original_set(self, RTCSessionDescription(sdp=text, type=sessionDescription.type))

    @functools.wraps(original_start)
    async def start(self: RTCDtlsTransport, remoteParameters: RTCDtlsParameters) -> None:
        profiles = getattr(self, seams.PROFILES_ATTRIBUTE)
        setattr(self, seams.PROFILES_ATTRIBUTE, overhead.preferring(profiles, plugin.auth_tag_bytes))
        await original_start(self, remoteParameters)

    return {seams.CREATE_ANSWER: create_answer, seams.SET_REMOTE: set_remote, seams.START_DTLS: start}


def _sending(plugin: Plugin, originals: dict[seams.Seam, Any]) -> dict[seams.Seam, object]:
    original_send: Callable[[RTCRtpSender, RTCRtpSendParameters], Awaitable[None]] = originals[seams.SEND]
    original_retransmit: Callable[[RTCRtpSender, int], Awaitable[None]] = originals[seams.RETRANSMIT]
    original_get_encoder: Callable[[RTCRtpCodecParameters], RtpEncoder] = originals[seams.GET_ENCODER]

    @functools.wraps(original_get_encoder)
    def get_encoder(codec: RTCRtpCodecParameters) -> RtpEncoder:
        if not is_ours(codec):
            return original_get_encoder(codec)
        return EncoderAdapter(plugin, codec if isinstance(codec, StreamCodec) else None)

    @functools.wraps(original_send)
    async def send(self: RTCRtpSender, parameters: RTCRtpSendParameters) -> None:
        if parameters.codecs and is_ours(parameters.codecs[0]):
            codec = stream_codec_of(parameters)
            feedback.remember_codec(self, codec)
            parameters = dataclasses.replace(parameters, codecs=[codec, *parameters.codecs[1:]])
        await original_send(self, parameters)

    @functools.wraps(original_retransmit)
    async def retransmit(self: RTCRtpSender, sequence_number: int) -> None:
        codec = feedback.stream_codec(self)
        if codec is None or codec.is_video:
            await original_retransmit(self, sequence_number)

    return {
        seams.SEND: send,
        seams.RETRANSMIT: retransmit,
        seams.GET_ENCODER: get_encoder,
        seams.HANDLE_RTCP: with_acknowledgements(originals[seams.HANDLE_RTCP]),
        seams.SEND_REPORT: with_pauses(originals[seams.SEND_REPORT]),
    }


def _receiving(plugin: Plugin, originals: dict[seams.Seam, Any]) -> dict[seams.Seam, object]:
    original_depayload: Callable[[RTCRtpCodecParameters, bytes], bytes] = originals[seams.DEPAYLOAD]
    original_receive: Callable[[RTCRtpReceiver, RTCRtpReceiveParameters], Awaitable[None]] = originals[seams.RECEIVE]
    original_nack: Callable[[RTCRtpReceiver, int, list[int]], Awaitable[None]] = originals[seams.SEND_NACK]
    original_get_decoder: Callable[[RTCRtpCodecParameters], RtpDecoder] = originals[seams.GET_DECODER]

    @functools.wraps(original_depayload)
    def depayload(codec: RTCRtpCodecParameters, payload: bytes) -> bytes:
        return RtpPayload.arrived(payload) if is_ours(codec) else original_depayload(codec, payload)

    @functools.wraps(original_nack)
    async def send_nack(self: RTCRtpReceiver, media_ssrc: int, lost: list[int]) -> None:
        if receiving.prompt_buffer(self) is None:
            await original_nack(self, media_ssrc, lost)

    @functools.wraps(original_receive)
    async def receive(self: RTCRtpReceiver, parameters: RTCRtpReceiveParameters) -> None:
        receiving.remember(self)
        feedback.monitor(self, parameters, plugin.stats)
        await original_receive(self, parameters)

    @functools.wraps(original_get_decoder)
    def get_decoder(codec: RTCRtpCodecParameters) -> RtpDecoder:
        if is_ours(codec):
            return receiving.thread_adapter()
        receiving.give_way()
        return original_get_decoder(codec)

    return {
        seams.DEPAYLOAD: depayload,
        seams.JITTER_BUFFER: functools.partial(SwitchingJitterBuffer, stats=plugin.stats),
        seams.RECEIVE: receive,
        seams.HANDLE_PACKET: feedback.with_monitor(originals[seams.HANDLE_PACKET]),
        seams.SEND_NACK: send_nack,
        seams.GET_DECODER: get_decoder,
        seams.DECODER_WORKER: receiving.with_adapter(plugin, originals[seams.DECODER_WORKER]),
    }
