"""The HTTP rules that WHIP and WHEP share: who may ask, what an offer may be, how it is answered.

Source: RFC 9725 (WHIP), draft-ietf-wish-whep, RFC 6750 (bearer tokens), RFC 8842 (DTLS roles), RFC 8840 (trickled
candidates).
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable

from aiohttp import web
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import get_capabilities
from aiortc.exceptions import InvalidAccessError, OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import candidate_from_sdp

from codec.errors import SignallingError
from receiver.config import ReceiverConfig

logger = logging.getLogger(__name__)

MAX_OFFER_BYTES = 64 * 1024
SDP_TYPE = "application/sdp"
TRICKLE_TYPE = "application/trickle-ice-sdpfrag"


class OfferError(SignallingError):
    """An offer that cannot be answered.

    Attributes:
        status: the HTTP status that says so, such as 400 for a malformed and 422 for an unusable offer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response that says in one line why the request fails."""
    return web.Response(status=status, text=reason + "\n", headers=headers)


def is_authorised(request: web.Request, token: str | None) -> bool:
    """Whether the request shows the bearer token, or none is needed."""
    if token is None:
        return True
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


def unauthorised() -> web.Response:
    """Return the response to a request without the right token (RFC 6750, section 3)."""
    return refuse(401, "a bearer token is needed", {"WWW-Authenticate": 'Bearer realm="warpcall"'})


async def read_sdp(request: web.Request, content_type: str) -> str:
    """Return the body of a request as text.

    Args:
        request: of at most ``MAX_OFFER_BYTES``.
        content_type: the only type accepted.

    Raises:
        OfferError: another content type (415), too large (413), or not UTF-8 (400).
    """
    if request.content_type != content_type:
        raise OfferError(415, f"the body must be {content_type}, not {request.content_type}")
    body = await request.content.read(MAX_OFFER_BYTES + 1)
    while len(body) <= MAX_OFFER_BYTES and not request.content.at_eof():
        body += await request.content.read(MAX_OFFER_BYTES + 1 - len(body))
    if len(body) > MAX_OFFER_BYTES:
        raise OfferError(413, f"the body is larger than {MAX_OFFER_BYTES} bytes")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OfferError(400, "the body is not UTF-8 text") from error


def ice_configuration(config: ReceiverConfig) -> RTCConfiguration:
    """Return aiortc's configuration with the STUN and TURN servers named, and no others.

    The list is always given: without one, aiortc asks a public STUN server.
    """
    servers = [RTCIceServer(urls=uri) for uri in config.stun]
    servers += [RTCIceServer(uri, config.turn_username, config.turn_password) for uri in config.turn]
    return RTCConfiguration(iceServers=servers)


def ice_links(config: ReceiverConfig) -> list[tuple[str, str]]:
    """Return a ``Link`` header for every STUN and TURN server (RFC 9725, section 4.6)."""
    links = [f'<{uri}>; rel="ice-server"' for uri in config.stun]
    for uri in config.turn:
        link = f'<{uri}>; rel="ice-server"'
        if config.turn_username is not None:
            link += f"; username={_quoted(config.turn_username)}; credential={_quoted(config.turn_password or '')}"
            link += '; credential-type="password"'
        links.append(link)
    return [("Link", link) for link in links]


def _quoted(text: str) -> str:
    """Return a quoted string as headers spell it (RFC 9110, section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def capabilities(kind: str, *names: str) -> list[RTCRtpCodecCapability]:
    """Return aiortc's codecs of a kind that bear one of the names, for ``setCodecPreferences``."""
    return [codec for codec in get_capabilities(kind).codecs if codec.name.lower() in names]


def sections(sdp: str) -> list[tuple[str, int, str]]:
    """Return (kind, port, direction) of each m-line of an SDP.

    Raises:
        OfferError: 400, when it is no SDP.
    """
    if not sdp.lstrip().startswith("v=0"):
        raise OfferError(400, "the offer is no SDP: it does not begin with v=0")
    found = []
    for part in re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]:
        line = re.match(r"(\w+) (\d+) ", part)
        if line is None:
            raise OfferError(400, f"the offer has a malformed m-line: m={part.splitlines()[0][:80]}")
        direction = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", part, flags=re.MULTILINE)
        found.append((line[1], int(line[2]), direction[1] if direction else "sendrecv"))
    if not found:
        raise OfferError(400, "the offer has no m-line")
    return found


def without_hidden_candidates(lines: Iterable[str]) -> list[str]:
    """Return the lines of an SDP less candidates named ``*.local``.

    Browsers hide their addresses behind mDNS names. Looking one up costs up to a second in which the offer goes
    unanswered, and nothing is lost without: the browser checks our own addresses, and so we learn its.
    """
    return [line for line in lines if not re.match(r"a=candidate:.*\s\S+\.local\s", line)]


async def answer_offer(pc: RTCPeerConnection, offer: str) -> str:
    """Apply an offer to a peer connection and return the answer's SDP, candidates included.

    The answer is DTLS-passive wherever the offer leaves the choice: peers with RSA certificates (GStreamer) fail with
    aiortc as the client. aiortc answers "active" to "actpass" and takes the role from the description that it is
    given.

    Raises:
        OfferError: the offer is malformed (400), shares no codec with us (422), or this machine has no address (503).
    """
    tidy = "\r\n".join(without_hidden_candidates(offer.splitlines())) + "\r\n"
    try:
        await pc.setRemoteDescription(RTCSessionDescription(sdp=tidy, type="offer"))
        answer = await pc.createAnswer()
        sdp = answer.sdp
        if "a=setup:actpass" in offer:
            sdp = sdp.replace("a=setup:active", "a=setup:passive")
        await pc.setLocalDescription(RTCSessionDescription(sdp=sdp, type="answer"))
    except (OperationError, InvalidAccessError, SignallingError) as error:
        raise OfferError(422, f"the offer has nothing we can take: {error}") from error
    except Exception as error:  # a boundary: aiortc's parser raises whatever a malformed SDP leads it into
        logger.info("malformed offer: %r", error)
        raise OfferError(400, f"the offer is malformed: {error or type(error).__name__}") from error
    sdp = str(pc.localDescription.sdp)
    if "a=candidate:" not in sdp:
        raise OfferError(503, "the receiver's machine has no network address to take media on")
    return sdp


async def add_trickled_candidates(pc: RTCPeerConnection, fragment: str) -> None:
    """Add the candidates of an SDP fragment (RFC 8840) to a peer connection.

    Raises:
        OfferError: the fragment is malformed (400) or begins an ICE restart (422).
    """
    ufrag = re.search(r"^a=ice-ufrag:(\S+)", fragment, flags=re.MULTILINE)
    if ufrag is None:
        raise OfferError(400, "the fragment has no a=ice-ufrag")
    if f"a=ice-ufrag:{ufrag[1]}" not in pc.remoteDescription.sdp.split():
        raise OfferError(422, "an ICE restart is not supported; begin a new session")
    mid: str | None = None
    for line in without_hidden_candidates(fragment.splitlines()):
        if line.startswith("a=mid:"):
            mid = line[len("a=mid:") :].strip()
        elif line.startswith("a=candidate:"):
            if mid is None:
                raise OfferError(400, "the fragment has a candidate before any a=mid")
            try:
                candidate = candidate_from_sdp(line[len("a=candidate:") :])
            except (ValueError, IndexError, AssertionError) as error:
                raise OfferError(400, f"the fragment has a malformed candidate: {line[:120]}") from error
            candidate.sdpMid = mid
            await pc.addIceCandidate(candidate)
        elif line.startswith("a=end-of-candidates"):
            await pc.addIceCandidate(None)
