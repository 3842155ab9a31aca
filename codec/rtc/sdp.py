"""Stage 7 of 8, before the call: the codec's lines in the session description (RFC 8866, RFC 3264).

    a=rtpmap:103 X-WARPCALL/90000
    a=fmtp:103 version=5;model=0123456789abcdef;priors=01234567;role=offer

``version`` is the wire version, ``model`` and ``priors`` the first digits of the SHA-256 of the weights and of the
bitstream's priors: peers that differ in one of them cannot read each other, and take VP8 or H.264 instead. ``role``
tells an answer from an offer: some peers
(libdatachannel) echo codecs that they do not know with all their parameters, and an echo still says "offer".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from codec.config import RTP_CODEC_NAME
from codec.errors import SignallingError

Role = Literal["offer", "answer"]

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""Header extension by which each packet names its section (RFC 8843)."""


@dataclass(frozen=True, slots=True)
class Fmtp:
    """The codec's format parameters.

    Attributes:
        version: wire version.
        model: first hex digits of the weights' SHA-256.
        priors: first hex digits of the priors' SHA-256.
        role: which side of the negotiation speaks.
    """

    MODEL_DIGITS: ClassVar[int] = 16
    PRIORS_DIGITS: ClassVar[int] = 8

    version: int
    model: str
    priors: str
    role: Role

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters in the order in which they are written."""
        return {"version": str(self.version), "model": self.model, "priors": self.priors, "role": self.role}

    def accepts(self, parameters: Mapping[str, str], role: Role) -> bool:
        """Return whether a peer with these parameters, speaking in that role, can be understood."""
        return {**self.parameters, "role": role} == {name: parameters.get(name, "") for name in self.parameters}


class MediaSection:
    """One m-line of a session description with the lines below it.

    Args:
        lines: the section's lines without line ends; the first is the m-line.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @property
    def is_live_video(self) -> bool:
        """Whether it is a video section that was not rejected (port 0)."""
        fields = self.lines[0].split()
        return fields[0] == "m=video" and len(fields) > 3 and fields[1] != "0"

    @property
    def formats(self) -> list[str]:
        """Payload types in order of preference."""
        return self.lines[0].split()[3:]

    @property
    def warpcall_formats(self) -> list[str]:
        """Payload types of this codec."""
        pattern = re.compile(rf"a=rtpmap:(\d+) {re.escape(RTP_CODEC_NAME)}/", re.IGNORECASE)
        matches = (pattern.match(line) for line in self.lines)
        return [match[1] for match in matches if match]

    def parameters(self, payload_type: str) -> dict[str, str]:
        """Return the format parameters of a payload type."""
        prefix = f"a=fmtp:{payload_type} "
        text = next((line[len(prefix) :] for line in self.lines if line.startswith(prefix)), "")
        pairs = (pair.strip().partition("=") for pair in text.split(";"))
        return {name: value for name, _, value in pairs if name}

    def remove(self, payload_type: str) -> None:
        """Remove a payload type and its retransmission stream."""
        removed = {payload_type} | {fmt for fmt in self.formats if self.parameters(fmt).get("apt") == payload_type}
        kept = [fmt for fmt in self.formats if fmt not in removed]
        pattern = re.compile(rf"a=(rtpmap|fmtp|rtcp-fb):({'|'.join(map(re.escape, removed))}) ")
        first = " ".join(self.lines[0].split()[:3] + kept)
        self.lines[:] = [first] + [line for line in self.lines[1:] if not pattern.match(line)]

    def replace_role(self, payload_type: str, role: Role) -> None:
        """Rewrite the role of a payload type of this codec."""
        parameters = {**self.parameters(payload_type), "role": role}
        text = ";".join(f"{name}={value}" for name, value in parameters.items())
        prefix = f"a=fmtp:{payload_type} "
        self.lines[:] = [prefix + text if line.startswith(prefix) else line for line in self.lines]


def as_answer(sdp: str) -> str:
    """Return an answer's text in which this codec speaks in the role of the answer."""
    session, sections = _split(sdp)
    for section in sections:
        for payload_type in section.warpcall_formats:
            section.replace_role(payload_type, "answer")
    return _join(session, sections)


def without_foreign(sdp: str, own: Fmtp, role: Role) -> str:
    """Return the peer's description without the X-WARPCALL formats that this end cannot speak.

    Args:
        sdp: the peer's offer or answer.
        own: what this end says of itself.
        role: the role in which the peer speaks; an echo has the other one.

    Raises:
        SignallingError: nothing else is left of a video section.
    """
    session, sections = _split(sdp)
    for section in sections:
        for payload_type in section.warpcall_formats:
            parameters = section.parameters(payload_type)
            if own.accepts(parameters, role):
                continue
            section.remove(payload_type)
            if not section.formats:
                raise SignallingError(f"the peer's only video codec is {RTP_CODEC_NAME} with {parameters or 'no fmtp'}")

    return _join(session, sections)


def without_extensions(sdp: str, uri: str = "") -> str:
    """Return a description whose video sections of this codec agree on no header extensions (RFC 8285).

    Args:
        sdp: a session description.
        uri: of the only one to leave out; none leaves out all.
    """
    session, sections = _split(sdp)
    for section in sections:
        if section.is_live_video and section.warpcall_formats:
            section.lines[:] = [
                line for line in section.lines if not line.startswith("a=extmap:") or uri not in ("", _uri_of(line))
            ]
    return _join(session, sections)


def has_one_video(sdp: str) -> bool:
    """Return whether a description has one live video section, whose packets need no name of their section."""
    return sum(section.is_live_video for section in _split(sdp)[1]) == 1


def extensions_of(sdp: str, kind: str) -> set[str]:
    """Return the URIs of the header extensions of the first section of some kind of media."""
    for section in _split(sdp)[1]:
        if section.lines[0].startswith(f"m={kind} "):
            return {_uri_of(line) for line in section.lines if line.startswith("a=extmap:")}
    return set()


def _uri_of(line: str) -> str:
    """Return the URI of an ``a=extmap`` line: its second word."""
    return line.split()[1] if len(line.split()) > 1 else ""


def won(sdp: str) -> bool:
    """Return whether this codec is the first choice of a live video section of an answer."""
    return any(
        section.is_live_video
        and section.formats[0] in section.warpcall_formats
        and section.parameters(section.formats[0]).get("role") == "answer"
        for section in _split(sdp)[1]
    )


def _split(sdp: str) -> tuple[list[str], list[MediaSection]]:
    session: list[str] = []
    sections: list[MediaSection] = []
    for line in sdp.splitlines():
        if line.startswith("m="):
            sections.append(MediaSection([line]))
        elif sections:
            sections[-1].lines.append(line)
        else:
            session.append(line)
    return session, sections


def _join(session: list[str], sections: list[MediaSection]) -> str:
    lines = session + [line for section in sections for line in section.lines]
    return "".join(f"{line}\r\n" for line in lines)
