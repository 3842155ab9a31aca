"""Stage 5 of 8 for reference pictures: the size that an AVIF file will really be decoded to.

    AVIF bytes --coded_sizes--> [(width, height)] of every picture that the file makes a decoder allocate

An AVIF file states its size twice: in its boxes, which Pillow shows, and in the AV1 data, which the decoder obeys. A
file of 1 kB that says 256x256 in the boxes and 16384x16384 in the data costs 400 MB to 1.6 GB. So the data are asked
before anything is decoded. Boxes: ISO/IEC 14496-12 (8.11 for ``meta``, ``iinf``, ``iloc``), MIAF and AVIF 1.1; data:
AV1 specification, 5.3 (open bitstream units) and 5.5 (sequence header). Only stills of single coded items are read,
as encoders write them for a face.
"""

from __future__ import annotations

from collections.abc import Iterator

from codec.errors import ReferenceImageError

MAX_BOXES = 1000
MAX_ITEMS = 16
MAX_SEQUENCE_HEADER_BYTES = 256
SEQUENCE_HEADER = 1
METADATA_ITEMS = (b"Exif", b"mime")


class ByteReader:
    """Takes big-endian integers from bytes.

    Raises:
        ReferenceImageError: there are too few bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, num_bytes: int) -> bytes:
        """Take bytes."""
        taken = self._data[self._at : self._at + num_bytes]
        if len(taken) < num_bytes:
            raise ReferenceImageError("AVIF picture is truncated")
        self._at += num_bytes
        return taken

    def integer(self, num_bytes: int) -> int:
        """Take an unsigned integer; of no bytes it is 0."""
        return int.from_bytes(self.take(num_bytes), "big")

    def leb128(self) -> int:
        """Take an unsigned integer of up to 8 bytes, 7 bits each, the least significant first."""
        value = 0
        for index in range(8):
            byte = self.integer(1)
            value |= (byte & 127) << (7 * index)
            if byte < 128:
                return value
        raise ReferenceImageError("AVIF picture has an integer without an end")

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._data) - self._at)

    def __bool__(self) -> bool:
        return self._at < len(self._data)


class BitReader:
    """Takes bits from bytes, most significant first; behind the end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, num_bits: int) -> int:
        """Take an unsigned integer."""
        self._left -= num_bits
        shifted = self._bits >> self._left if self._left >= 0 else self._bits << -self._left
        return shifted & ((1 << num_bits) - 1)


def coded_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return the size of every picture in the AV1 data of an AVIF file.

    Raises:
        ReferenceImageError: truncated, or anything but stills of single coded items.
    """
    boxes = dict(_boxes(data))
    if b"moov" in boxes or b"meta" not in boxes:
        raise ReferenceImageError("AVIF picture is not a still picture")
    meta = dict(_boxes(boxes[b"meta"][4:]))
    if b"iinf" not in meta or b"iloc" not in meta:
        raise ReferenceImageError("AVIF picture has no items")
    kinds = _item_kinds(meta[b"iinf"])
    sizes = []
    for item, content in _item_contents(meta[b"iloc"], data).items():
        kind = kinds.get(item)
        if kind == b"av01":
            sizes += _sequence_sizes(content)
        elif kind not in METADATA_ITEMS:
            raise ReferenceImageError(f"AVIF picture has an item of kind {kind!r}; single coded pictures are read")
    if not sizes:
        raise ReferenceImageError("AVIF picture has no AV1 data")
    return sizes


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    reader, seen = ByteReader(data), set()
    for _ in range(MAX_BOXES):
        if not reader:
            return
        size, kind = reader.integer(4), reader.take(4)
        header = 8
        if size == 1:
            size, header = reader.integer(8), 16
        if kind in seen and kind in (b"meta", b"iinf", b"iloc"):
            raise ReferenceImageError(f"AVIF picture has two boxes {kind!r}")
        seen.add(kind)
        if size and size < header:
            raise ReferenceImageError("AVIF picture has a box smaller than its own header")
        yield kind, reader.take(size - header) if size else reader.rest()
    raise ReferenceImageError("AVIF picture has too many boxes")


def _item_kinds(iinf: bytes) -> dict[int, bytes]:
    reader = ByteReader(iinf)
    version = reader.integer(4) >> 24
    reader.take(4 if version else 2)
    kinds = {}
    for kind, body in _boxes(reader.rest()):
        entry = ByteReader(body)
        version = entry.integer(4) >> 24
        if kind != b"infe" or version not in (2, 3):
            raise ReferenceImageError("AVIF picture has an item entry of an unknown form")
        item = entry.integer(2 if version == 2 else 4)
        entry.take(2)
        if item in kinds:
            raise ReferenceImageError("AVIF picture describes an item twice")
        kinds[item] = entry.take(4)
    return kinds


def _item_contents(iloc: bytes, data: bytes) -> dict[int, bytes]:
    reader = ByteReader(iloc)
    version = reader.integer(4) >> 24
    sizes = reader.integer(2)
    offset_size, length_size, base_size, index_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    contents: dict[int, bytes] = {}
    for _ in range(reader.integer(2 if version < 2 else 4)):
        item = reader.integer(2 if version < 2 else 4)
        method = reader.integer(2) & 15 if version else 0
        reader.take(2)
        base = reader.integer(base_size)
        num_pieces = reader.integer(2)
        if method or num_pieces != 1 or item in contents or len(contents) == MAX_ITEMS:
            raise ReferenceImageError("AVIF picture keeps its items otherwise than in one piece of the file each")
        reader.take(index_size if version else 0)
        start = base + reader.integer(offset_size)
        contents[item] = data[start : start + reader.integer(length_size)]
    return contents


def _sequence_sizes(content: bytes) -> list[tuple[int, int]]:
    reader, sizes = ByteReader(content), []
    while reader:
        header = reader.integer(1)
        reader.take(header >> 2 & 1)
        body = reader.take(reader.leb128()) if header & 2 else reader.rest()
        if header >> 3 & 15 == SEQUENCE_HEADER:
            sizes.append(_sequence_size(BitReader(body[:MAX_SEQUENCE_HEADER_BYTES])))
    return sizes


def _sequence_size(bits: BitReader) -> tuple[int, int]:
    bits.take(4)
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        if bits.take(1):
            raise ReferenceImageError("AVIF picture has timing information; it is no still picture")
        display_delay = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if display_delay and bits.take(1):
                bits.take(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1
