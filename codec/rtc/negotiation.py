"""Stage 7 of 8, before the call: which codec a transceiver prefers, and which one won."""

from __future__ import annotations

from aiortc import RTCPeerConnection, RTCRtpTransceiver
from aiortc.codecs import get_capabilities
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from codec.config import RTP_CODEC_NAME
from codec.errors import PluginError
from codec.rtc import sdp, video


def prefer_warpcall(transceiver: RTCRtpTransceiver) -> None:
    """Put this codec first, before VP8 and H.264, whatever order the peer offers.

    Raises:
        PluginError: the plug-in is not registered.
    """
    ours, others = _capabilities()
    if not ours:
        raise PluginError(f"{RTP_CODEC_NAME} is not registered: call codec.rtc.register first")
    transceiver.setCodecPreferences(ours + others)


def prefer_ordinary(transceiver: RTCRtpTransceiver) -> None:
    """Leave this codec out: ordinary VP8 or H.264, for viewers and for peers that turned out not to speak it."""
    _, others = _capabilities()
    transceiver.setCodecPreferences(others)


def is_negotiated(connection: RTCPeerConnection | str) -> bool:
    """Return whether this codec won.

    Args:
        connection: a peer connection, or the text of an answer.

    Returns:
        True when it is the first codec of a live video section of the answer; False while there is no answer.
    """
    if isinstance(connection, str):
        return sdp.won(connection)
    descriptions = (connection.localDescription, connection.remoteDescription)
    return any(
        description is not None and description.type == "answer" and sdp.won(description.sdp)
        for description in descriptions
    )


def can_change_to_video(answer: str) -> bool:
    """Return whether the stream of an answer may change to conventional video (see ``codec.rtc.switching``)."""
    return sdp.won(answer) and f" {video.CODEC_NAME}/" in answer and video.is_available()


def _capabilities() -> tuple[list[RTCRtpCodecCapability], list[RTCRtpCodecCapability]]:
    capabilities = get_capabilities("video").codecs
    ours = [codec for codec in capabilities if codec.name.upper() == RTP_CODEC_NAME]
    return ours, [codec for codec in capabilities if codec not in ours]
