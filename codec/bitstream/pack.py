"""Stage 5 of 8: envelope and zstd around a message, and back.

    message -> [version and form, 1 byte][message, plain or compressed] -> payload
    message of field 4 alone -> its content, bare                       -> payload

The envelope is a byte below 16: its lowest bit is the form of what follows, the three above it the wire version less 5.
(Up to version 4 the version stood in the high four bits.) A compressed body is a zstd frame (RFC 8878) without its four
magic bytes. The smallest form is sent: frames of keypoints are high-entropy and gain nothing by zstd
(docs/wire-format.md has the figures), a list of strings or hashes does. A message of field 4 alone whose content begins
with a byte of 16 or more, as all frames do, is sent bare: that content, without any envelope.
"""

from __future__ import annotations

import zstandard

from codec.config import WIRE_VERSION
from codec.errors import BitstreamError, VersionError

PLAIN, ZSTD = 0, 1
FORM_BITS = 1
FIRST_VERSION = 5
"""The one that an envelope calls 0."""
MAX_ENVELOPE = 15
"""Of the first byte; what is above begins a bare message, or an envelope of version 4 or before."""
BARE_TAG = 4 << 3 | 2
"""Protobuf's tag of field 4, length-delimited."""
ZSTD_MAGIC = zstandard.FRAME_HEADER
MIN_COMPRESSIBLE_BYTES = 64
ZSTD_LEVEL = 12
MAX_WINDOW_BYTES = 1 << 20
MAX_BARE_BYTES = (1 << 14) - 1


def pack(message: bytes, *, may_be_bare: bool = False) -> bytes:
    """Wrap a message in the smallest form; see ``unpack``."""
    bare = _bare(message) if may_be_bare else None
    if bare is not None:
        return bare
    body, form = message, PLAIN
    if len(message) >= MIN_COMPRESSIBLE_BYTES:
        compressed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(message).removeprefix(ZSTD_MAGIC)
        if len(compressed) < len(body):
            body, form = compressed, ZSTD
    return envelope(form) + body


def envelope(form: int, version: int = WIRE_VERSION) -> bytes:
    """Return the byte before a message."""
    return bytes([version - FIRST_VERSION << FORM_BITS | form])


def unpack(payload: bytes, max_bytes: int, *, may_be_bare: bool = False) -> bytes:
    """Unwrap a message.

    Args:
        payload: bytes from the network.
        max_bytes: the largest message to accept; checked before anything of its size is allocated.
        may_be_bare: whether messages of field 4 alone come without an envelope on this channel.

    Raises:
        VersionError: another wire version.
        BitstreamError: empty, oversized or corrupt.
    """
    if not payload:
        raise BitstreamError("payload is empty")
    if payload[0] > MAX_ENVELOPE and may_be_bare:
        most = min(max_bytes, MAX_BARE_BYTES)
        if len(payload) > most:
            raise BitstreamError(f"bare message has {len(payload)} bytes; at most {most} are valid")
        return bytes([BARE_TAG]) + _varint(len(payload)) + payload
    version = payload[0] >> 4 or FIRST_VERSION + (payload[0] >> FORM_BITS)
    if version != WIRE_VERSION:
        raise VersionError(f"payload has wire version {version}; this build speaks {WIRE_VERSION}")
    if len(payload) - 1 > max_bytes:
        raise BitstreamError(f"payload has {len(payload)} bytes; at most {max_bytes + 1} are valid")
    is_plain = payload[0] & (1 << FORM_BITS) - 1 == PLAIN
    return payload[1:] if is_plain else _decompress(payload[1:], max_bytes)


def _bare(message: bytes) -> bytes | None:
    """Return the content of a message's field 4, or None when it has any other or cannot be told from an envelope."""
    for head_bytes in (2, 3):
        content = message[head_bytes:]
        if (
            content
            and content[0] > MAX_ENVELOPE
            and len(content) <= MAX_BARE_BYTES
            and message == bytes([BARE_TAG]) + _varint(len(content)) + content
        ):
            return content
    return None


def _varint(value: int) -> bytes:
    """Return a length below 2**14 as protobuf writes it."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def _decompress(body: bytes, max_bytes: int) -> bytes:
    frame = ZSTD_MAGIC + body
    try:
        header = zstandard.get_frame_parameters(frame)
        if header.dict_id:
            raise BitstreamError(f"zstd body needs dictionary {header.dict_id}; this build has none")
        if header.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            raise BitstreamError("zstd body does not state its size")
        if header.content_size > max_bytes:
            raise BitstreamError(f"zstd body claims {header.content_size} bytes; at most {max_bytes} are valid")
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return decompressor.decompress(frame, max_output_size=max_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"zstd body is corrupt: {error}") from error
