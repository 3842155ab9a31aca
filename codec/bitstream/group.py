"""Stage 4 of 8: the frames of one message to bytes, and back.

    Group --code_group--> bytes of ``Frame.coded`` --read_head, read_frames--> Group

A message carries its newest frame and may carry frames before it: those that share the packet, and those that are
repeated because their own packet may be lost. Each is coded from the coded one before it, the first from the message's
base, or from nothing when it is a keyframe. Between coded frames others may be left to interpolation. Shape legend:
N = 3 K values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.entropy import SymbolReader, SymbolWriter
from codec.bitstream.fields import MAX_GROUP, WINDOW
from codec.bitstream.predict import MAX_COEFFICIENT, FrameState
from codec.bitstream.priors import Priors, frequencies_and_starts
from codec.errors import BitstreamError
from codec.references import TAG_BITS
from codec.structs import Integers

NUMBER_BITS = 4
"""Bits of the newest frame's number that a message carries."""
DISTANCE_BITS = 4
COUNT_BITS = 3
SHAPES = ((1, "c"), (2, "ic"), (1, "ccc"), (2, "icic"), (3, "iic"), (3, "iiciic"))
"""Usual messages: how many of the frames are new, and which are coded or interpolated."""
_SHAPE_ROW = frequencies_and_starts([2200, 760, 480, 300, 120, 120, 116])
_REACH_ROW = frequencies_and_starts([3596, 500])
_CHAINED, _ANCHORED = 0, 1
_REFERENCE_ROW = frequencies_and_starts([4032, 64])
_SAME, _OTHER = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class FrameCode:
    """One frame, as it is coded.

    Attributes:
        coefficients_N: of what was not expected.
        activity: whose tables code them; -1 of a keyframe.
        reference: tag of the nearest reference; 0 for none.
    """

    coefficients_N: Integers
    activity: int
    reference: int

    @property
    def is_keyframe(self) -> bool:
        """Whether it needs no base."""
        return self.activity < 0


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The frames of one message.

    Attributes:
        number_bits: last ``NUMBER_BITS`` bits of the newest frame's number.
        num_fresh: how many of the frames were in no message before.
        distance: frames from the base to the first frame; 0 when that is a keyframe.
        is_exact: whether the frames before the newest are as they were first sent, so that others may be predicted
            from them.
        frames: the first one first; None is interpolated. The newest is coded.
    """

    number_bits: int
    num_fresh: int
    distance: int
    is_exact: bool
    frames: list[FrameCode | None]


def code_group(group: Group, base: FrameState, priors: Priors) -> bytes:
    """Code a group.

    Args:
        group: at most ``MAX_GROUP`` frames; of them only the first may be a keyframe.
        base: state that the first frame is predicted from.
        priors: of both ends.
    """
    writer = SymbolWriter()
    writer.bits(1, 1)
    writer.bits(group.number_bits, NUMBER_BITS)
    _write_shape(group, writer)
    if group.distance:
        is_chained = group.distance == 1 and group.is_exact
        writer.symbol(_CHAINED if is_chained else _ANCHORED, _REACH_ROW)
        if not is_chained:
            writer.bits(group.distance - 1, DISTANCE_BITS)
    activity, reference = base.activity, base.reference
    for frame in group.frames:
        if frame is None:
            continue
        if not frame.is_keyframe:
            writer.symbol(frame.activity, priors.activity_rows[activity])
            writer.symbol(_SAME if frame.reference == reference else _OTHER, _REFERENCE_ROW)
        if frame.is_keyframe or frame.reference != reference:
            writer.bits(frame.reference, TAG_BITS)
        for value, row in zip(frame.coefficients_N.tolist(), priors.rows[frame.activity], strict=True):
            writer.integer(value, row)
        activity, reference = max(frame.activity, 0), frame.reference
    return writer.to_bytes()


def _write_shape(group: Group, writer: SymbolWriter) -> None:
    pattern = "".join("i" if frame is None else "c" for frame in group.frames)
    shape = group.num_fresh, pattern
    if shape in SHAPES:
        writer.symbol(SHAPES.index(shape), _SHAPE_ROW)
        return
    writer.symbol(len(SHAPES), _SHAPE_ROW)
    writer.bits(len(pattern) - 1, COUNT_BITS)
    writer.bits(group.num_fresh - 1, COUNT_BITS)
    for kind in pattern[:-1]:
        writer.bits(int(kind == "i"), 1)


def _read_shape(reader: SymbolReader) -> tuple[int, str]:
    index = reader.symbol(_SHAPE_ROW)
    if index < len(SHAPES):
        return SHAPES[index]
    count, num_fresh = reader.bits(COUNT_BITS) + 1, reader.bits(COUNT_BITS) + 1
    pattern = "".join("i" if reader.bits(1) else "c" for _ in range(count - 1)) + "c"
    if num_fresh > count:
        raise BitstreamError(f"a message of {count} frames claims {num_fresh} fresh ones")
    if (num_fresh, pattern) in SHAPES:
        raise BitstreamError("a usual shape of a message is told the long way")
    return num_fresh, pattern


def read_head(coded: bytes, *, has_keyframe: bool) -> tuple[Group, SymbolReader]:
    """Read what stands before the frames.

    Args:
        coded: from the network.
        has_keyframe: whether the first frame is a keyframe.

    Returns:
        The group without its frames (placeholders stand for those that are coded), and the reader behind its head.

    Raises:
        BitstreamError: not what any encoder writes.
    """
    reader = SymbolReader(coded)
    if not reader.bits(1):
        raise BitstreamError("coded frame does not begin with a bit of 1")
    number_bits = reader.bits(NUMBER_BITS)
    num_fresh, pattern = _read_shape(reader)
    if has_keyframe and pattern[0] == "i":
        raise BitstreamError("a message that begins with a keyframe begins with an interpolated frame")
    distance, is_exact = 0, True
    if not has_keyframe:
        is_exact = reader.symbol(_REACH_ROW) == _CHAINED
        distance = 1 if is_exact else reader.bits(DISTANCE_BITS) + 1
    placeholder = FrameCode(np.zeros(0, dtype=np.int32), -1, 0)
    frames = [None if kind == "i" else placeholder for kind in pattern]
    return Group(number_bits, num_fresh, distance, is_exact, frames), reader


def read_frames(group: Group, reader: SymbolReader, base: FrameState, priors: Priors) -> list[FrameCode | None]:
    """Read the frames behind a head.

    Args:
        group: from ``read_head``.
        reader: from ``read_head``.
        base: state that the first frame is predicted from.
        priors: of both ends.

    Raises:
        BitstreamError: not what any encoder writes.
    """
    frames: list[FrameCode | None] = []
    before, reference = base.activity, base.reference
    for index, placeholder in enumerate(group.frames):
        if placeholder is None:
            frames.append(None)
            continue
        if index == 0 and not group.distance:
            activity, reference = -1, reader.bits(TAG_BITS)
        else:
            activity = reader.symbol(priors.activity_rows[before])
            reference = _read_reference(reader, reference)
        values = [reader.integer(row) for row in priors.rows[activity]]
        if max(values) > MAX_COEFFICIENT or min(values) < -MAX_COEFFICIENT:
            raise BitstreamError("a coefficient is out of range")
        frames.append(FrameCode(np.array(values, dtype=np.int32), activity, reference))
        before = max(activity, 0)
    reader.end()
    return frames


def _read_reference(reader: SymbolReader, before: int) -> int:
    if reader.symbol(_REFERENCE_ROW) == _SAME:
        return before
    reference = reader.bits(TAG_BITS)
    if reference == before:
        raise BitstreamError("the reference of the frame before is told the long way")
    return reference


assert (1 << DISTANCE_BITS) == WINDOW
assert (1 << COUNT_BITS) == MAX_GROUP
assert len(_SHAPE_ROW[0]) == len(SHAPES) + 1
