"""Stage 7 of 8: what a packet costs beside its payload, and the two parts of that which can be chosen.

    IPv4 20, UDP 8 | RTP 12 | header extensions 0, 8 or 12 | payload | authentication tag 4, 10 or 16

A picture's keypoints are some 7 bytes; SRTP's tag is as much again. Every WebRTC peer speaks the protection profile
with 10 bytes, HMAC-SHA1-80 (RFC 8827, section 6.5); aiortc alone prefers AES-GCM, whose tags have 16 (RFC 7714). The
DTLS server, mostly the end that offers the call, takes of what the client offers the one that it likes best.
HMAC-SHA1-32, with 4 bytes, lets one forged packet in 2**32 through: RFC 3711 (section 7.5) has it for links on which
bytes matter and a wrong packet passes. It is taken only where somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from aiortc import RTCPeerConnection
from aiortc.rtcdtlstransport import SRTP_AES128_CM_SHA1_80, RTCDtlsTransport, SRTPProtectionProfile
from pylibsrtp import Policy

from codec.rtc import seams
from codec.rtc.sdp import MID, extensions_of

TagBytes = Literal[4, 10, 16]
"""Bytes of the tag that authenticates each packet."""

IPV4_UDP_BYTES, RTP_BYTES = 28, 12
SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
USUAL_TAG_BYTES: TagBytes = 10
GCM_TAG_BYTES = 16
_EXTENSION_BYTES = {SEND_TIME: 4, MID: 2}
"""Of each header extension that aiortc sends, its own byte counted (RFC 8285); names of sections have one digit."""

SHA1_32 = SRTPProtectionProfile(
    libsrtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    openssl_profile=b"SRTP_AES128_CM_SHA1_32",
    key_length=SRTP_AES128_CM_SHA1_80.key_length,
    salt_length=SRTP_AES128_CM_SHA1_80.salt_length,
)
"""The profile that aiortc leaves out. RTCP has tags of 10 bytes all the same (RFC 5764, section 4.1.2)."""
_TAG_BYTES = {SRTP_AES128_CM_SHA1_80.openssl_profile: 10, SHA1_32.openssl_profile: 4}


def header_bytes(extensions: Iterable[str] = (SEND_TIME,), tag_bytes: int = USUAL_TAG_BYTES) -> int:
    """Return what a packet costs beside its payload.

    Args:
        extensions: URIs of its header extensions; those of the pictures between two ends that leave all as it is.
        tag_bytes: of its authentication tag.
    """
    extension_bytes = sum(_EXTENSION_BYTES.get(uri, 0) for uri in extensions)
    words = -(-extension_bytes // 4)
    return IPV4_UDP_BYTES + RTP_BYTES + (4 + 4 * words if words else 0) + tag_bytes


HEADER_BYTES = header_bytes()
"""Of a packet of pictures between two ends that leave all as it is."""


def header_bytes_of(connection: RTCPeerConnection, kind: str = "video") -> int:
    """Return what the packets of one kind of media cost beside their payload; ``HEADER_BYTES`` before it is agreed."""
    tags = [tag_bytes_of(each.sender.transport) for each in connection.getTransceivers() if each.kind == kind]
    descriptions = connection.localDescription, connection.remoteDescription
    if not tags or tags[0] is None or None in descriptions:
        return HEADER_BYTES
    local, remote = (extensions_of(each.sdp, kind) for each in descriptions)
    return header_bytes(local & remote, tags[0])


def tag_bytes_of(transport: RTCDtlsTransport) -> int | None:
    """Return how many bytes the authentication tags of a transport have; None before it is connected."""
    dtls = getattr(transport, seams.SSL_ATTRIBUTE)
    profile = b"" if dtls is None else dtls.get_selected_srtp_profile()
    return _tag_bytes(profile) if profile else None


def preferring(profiles: Sequence[SRTPProtectionProfile], tag_bytes: TagBytes) -> list[SRTPProtectionProfile]:
    """Return protection profiles, those first whose tags have so many bytes, then those with 10, 16 and 4."""
    known = [*(each for each in profiles if each != SHA1_32), SHA1_32]
    tags = [tag_bytes, USUAL_TAG_BYTES, GCM_TAG_BYTES, 4]
    return sorted(known, key=lambda each: tags.index(_tag_bytes(each.openssl_profile)))


def _tag_bytes(openssl_profile: bytes) -> int:
    return _TAG_BYTES.get(openssl_profile, GCM_TAG_BYTES)
