"""Stage 4 of 8: the frames of one message to bytes, and back.

    Head, FrameCodes --GroupWriter--> bytes of ``Frame.coded`` --read_head, read_frames--> Head, FrameCodes

A message carries its newest frame and may carry frames before it: those that share the packet, and those that are
repeated because their own packet may be lost. Each is coded from the coded one before it, the first from the message's
base, or from nothing when it is a keyframe. Between coded frames others may be left to interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.entropy import Row, SymbolReader, SymbolWriter
from codec.bitstream.fields import IDENTITY_BITS, MAX_GROUP, NUM_NUMBERS, WINDOW
from codec.bitstream.predict import MAX_COEFFICIENT, FrameCode, FrameState
from codec.bitstream.priors import SCALE_INDEX_BITS, Priors, frequencies_and_starts
from codec.errors import BitstreamError
from codec.references import TAG_BITS

NUMBER_BITS = 8
"""Bits of the newest frame's number, in a message that tells it and begins with no keyframe: after fifteen lost packets
whose new frames were one each or four each, what the packets say may be off by 45."""
WHOLE_NUMBER_BITS = 16
DISTANCE_BITS = 4
COUNT_BITS = 3
FRESH_BITS = 2
MAX_FRESH = 1 << FRESH_BITS
"""Most new frames of a message."""
_COUNTS_ROW = frequencies_and_starts([3800, 296])
_USUAL, _UNUSUAL = 0, 1
_KIND_ROWS = frequencies_and_starts([2048, 2048]), frequencies_and_starts([4032, 64])
"""Of a frame before the newest: coded or interpolated; the second where it was the newest of its own packet, as far as
earlier packets had as many new frames as this one."""
_KINDS = "ci"
_FORM_ROW = frequencies_and_starts([256, 3840])
_ENVELOPE, _BARE = 0, 1
_REACH_ROW = frequencies_and_starts([3960, 72, 64])
_CHAINED, _ANCHORED, _KEYFRAME = range(3)
_NUMBER_ROW = frequencies_and_starts([4040, 56])
_EXPECTED, _TOLD = 0, 1
_SETTING_ROW = frequencies_and_starts([4016, 80])
_SAME, _OTHER = 0, 1


@dataclass(frozen=True, slots=True)
class Counts:
    """How many frames a message has.

    Attributes:
        fresh: that were in no message before.
        all: in the message.
    """

    fresh: int
    all: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a message says before its frames.

    Attributes:
        pattern: a letter for each frame, the first one first: c for coded, i for interpolated. The newest is coded.
        num_fresh: how many of the frames were in no message before.
        distance: frames from the base to the first frame; 0 when that is a keyframe.
        is_exact: whether the frames before the newest are as they were first sent, so that others may be predicted
            from them.
        number: of the newest frame: modulo 2**16 with a keyframe, else modulo 2**NUMBER_BITS; None where it is what
            the packets say.
        identity: of model and priors, with a keyframe.
    """

    pattern: str
    num_fresh: int
    distance: int
    is_exact: bool
    number: int | None
    identity: int = 0

    @property
    def has_keyframe(self) -> bool:
        """Whether the first frame is a keyframe."""
        return not self.distance


class GroupWriter:
    """Codes the frames of one message.

    Args:
        head: what stands before them.
        base: state that the first frame is predicted from.
        usual: counts of most messages of the stream.
        priors: of both ends.
    """

    def __init__(self, head: Head, base: FrameState, usual: Counts, priors: Priors) -> None:
        self._priors = priors
        self._before = _Context.of(base)
        self._writer = SymbolWriter()
        _write_head(head, usual, self._writer)

    def put(self, frame: FrameCode) -> None:
        """Put the next coded frame."""
        self._put(frame, self._writer)
        self._before = _Context.after(frame)

    def bytes_with(self, frame: FrameCode) -> bytes:
        """Return the bytes of the message if this is the last of its frames; nothing is put."""
        writer = self._writer.copy()
        self._put(frame, writer)
        return writer.to_bytes()

    def _put(self, frame: FrameCode, writer: SymbolWriter) -> None:
        _write_setting(frame, self._before, writer)
        if not frame.is_keyframe:
            writer.symbol(frame.activity, self._priors.activity_rows[frame.scale][self._before.activity])
        writer.integers(frame.coefficients_N.tolist(), self._priors.rows[frame.scale][frame.activity])


@dataclass(frozen=True, slots=True)
class _Context:
    """What the frame before tells of the next one."""

    activity: int
    reference: int
    scale: int

    @classmethod
    def of(cls, base: FrameState) -> _Context:
        return cls(base.activity, base.reference, base.scale)

    @classmethod
    def after(cls, frame: FrameCode) -> _Context:
        return cls(max(frame.activity, 0), frame.reference, frame.scale)


def _write_setting(frame: FrameCode, before: _Context, writer: SymbolWriter) -> None:
    if not frame.is_keyframe:
        is_same = (frame.reference, frame.scale) == (before.reference, before.scale)
        writer.symbol(_SAME if is_same else _OTHER, _SETTING_ROW)
        if is_same:
            return
    writer.bits(frame.reference, TAG_BITS)
    writer.bits(frame.scale, SCALE_INDEX_BITS)


def _write_head(head: Head, usual: Counts, writer: SymbolWriter) -> None:
    writer.symbol(_BARE, _FORM_ROW)
    if head.has_keyframe:
        assert head.number is not None
        writer.symbol(_KEYFRAME, _REACH_ROW)
        writer.bits(head.number, WHOLE_NUMBER_BITS)
        writer.bits(head.identity, IDENTITY_BITS)
        _write_counts(usual, writer)
    elif head.is_exact and head.distance == 1:
        writer.symbol(_CHAINED, _REACH_ROW)
        writer.symbol(_EXPECTED if head.number is None else _TOLD, _NUMBER_ROW)
        if head.number is not None:
            writer.bits(head.number, NUMBER_BITS)
    else:
        assert head.number is not None
        writer.symbol(_ANCHORED, _REACH_ROW)
        writer.bits(head.number, NUMBER_BITS)
        writer.bits(head.distance - 1, DISTANCE_BITS)
    _write_pattern(head, usual, writer)


def _write_pattern(head: Head, usual: Counts, writer: SymbolWriter) -> None:
    counts = Counts(head.num_fresh, len(head.pattern))
    writer.symbol(_USUAL if counts == usual else _UNUSUAL, _COUNTS_ROW)
    if counts != usual:
        _write_counts(counts, writer)
    for index, kind in enumerate(head.pattern[:-1]):
        writer.symbol(_KINDS.index(kind), _kind_row(counts, index))


def _read_pattern(reader: SymbolReader, usual: Counts) -> tuple[str, int]:
    counts = usual
    if reader.symbol(_COUNTS_ROW) == _UNUSUAL:
        counts = _read_counts(reader)
        if counts == usual:
            raise BitstreamError("the usual counts of a message are told the long way")
    kinds = [_KINDS[reader.symbol(_kind_row(counts, index))] for index in range(counts.all - 1)]
    return "".join(kinds) + "c", counts.fresh


def _write_counts(counts: Counts, writer: SymbolWriter) -> None:
    writer.bits(counts.fresh - 1, FRESH_BITS)
    writer.bits(counts.all - 1, COUNT_BITS)


def _read_counts(reader: SymbolReader) -> Counts:
    counts = Counts(reader.bits(FRESH_BITS) + 1, reader.bits(COUNT_BITS) + 1)
    if counts.fresh > counts.all:
        raise BitstreamError(f"a message of {counts.all} frames claims {counts.fresh} fresh ones")
    return counts


def _kind_row(counts: Counts, index: int) -> Row:
    was_newest = (counts.all - 1 - index) % counts.fresh == 0
    return _KIND_ROWS[was_newest]


def read_head(coded: bytes, usual: Counts) -> tuple[Head, Counts, SymbolReader]:
    """Read what stands before the frames.

    Args:
        coded: from the network.
        usual: counts of most messages of the stream, by its last keyframe.

    Returns:
        The head, the usual counts from now on if it can be read, and the reader behind it.

    Raises:
        BitstreamError: not what any encoder writes.
    """
    reader = SymbolReader(coded)
    if reader.symbol(_FORM_ROW) != _BARE:
        raise BitstreamError("coded frames begin as an envelope does")
    reach, number, identity, distance = reader.symbol(_REACH_ROW), None, 0, 0
    if reach == _KEYFRAME:
        number, identity = reader.bits(WHOLE_NUMBER_BITS), reader.bits(IDENTITY_BITS)
        usual = _read_counts(reader)
    elif reach == _CHAINED:
        distance = 1
        number = reader.bits(NUMBER_BITS) if reader.symbol(_NUMBER_ROW) == _TOLD else None
    else:
        number, distance = reader.bits(NUMBER_BITS), reader.bits(DISTANCE_BITS) + 1
    pattern, num_fresh = _read_pattern(reader, usual)
    if not distance and pattern[0] == "i":
        raise BitstreamError("a message that begins with a keyframe begins with an interpolated frame")
    return Head(pattern, num_fresh, distance, reach != _ANCHORED, number, identity), usual, reader


def read_frames(head: Head, reader: SymbolReader, base: FrameState, priors: Priors) -> list[FrameCode | None]:
    """Read the frames behind a head.

    Args:
        head: from ``read_head``.
        reader: from ``read_head``.
        base: state that the first frame is predicted from.
        priors: of both ends.

    Returns:
        The frames of the pattern; None for those that are interpolated.

    Raises:
        BitstreamError: not what any encoder writes.
    """
    frames: list[FrameCode | None] = []
    before = _Context.of(base)
    for index, kind in enumerate(head.pattern):
        if kind == "i":
            frames.append(None)
            continue
        frame = _read_frame(reader, before, priors, is_keyframe=index == 0 and head.has_keyframe)
        frames.append(frame)
        before = _Context.after(frame)
    reader.end()
    return frames


def _read_frame(reader: SymbolReader, before: _Context, priors: Priors, *, is_keyframe: bool) -> FrameCode:
    reference, scale = _read_setting(reader, before, priors.num_scales, is_keyframe=is_keyframe)
    activity = -1 if is_keyframe else reader.symbol(priors.activity_rows[scale][before.activity])
    values = [reader.integer(row) for row in priors.rows[scale][activity]]
    if max(values) > MAX_COEFFICIENT or min(values) < -MAX_COEFFICIENT:
        raise BitstreamError("a coefficient is out of range")
    return FrameCode(np.array(values, dtype=np.int32), activity, reference, scale)


def _read_setting(reader: SymbolReader, before: _Context, num_scales: int, *, is_keyframe: bool) -> tuple[int, int]:
    if not is_keyframe and reader.symbol(_SETTING_ROW) == _SAME:
        return before.reference, before.scale
    reference, scale = reader.bits(TAG_BITS), reader.bits(SCALE_INDEX_BITS)
    if scale >= num_scales:
        raise BitstreamError(f"a frame has scale {scale} of the quantiser; there are {num_scales}")
    if not is_keyframe and (reference, scale) == (before.reference, before.scale):
        raise BitstreamError("reference and scale of the frame before are told the long way")
    return reference, scale


assert (1 << DISTANCE_BITS) == WINDOW
assert (1 << COUNT_BITS) == MAX_GROUP
assert (1 << WHOLE_NUMBER_BITS) == NUM_NUMBERS
