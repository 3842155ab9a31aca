"""Stages 3 to 5 of 8, frame by frame: the state that sender and receiver keep alike.

    Keypoints --StreamWriter.write--> EncodedFrame.payload --StreamReader.read--> CodedFrame

Each frame is coded from the one before it; ``repeats`` frames before it are sent once more in the same message, so that
as many lost packets in a row cost nothing. Or, once the receiver has said which frame it has (``base_number``), the
message is coded from that one: whatever was lost between, it can be read. Of frames that share a packet all but the
newest may be left to interpolation, where that is near what was detected. Both ends keep the last ``WINDOW`` frames
that were coded. The newest frame of a message is told so that its whole bytes are used. Shape legend: K keypoints;
N = 3 K values.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from codec.bitstream.choose import TRADE, choose_frame, frame_choices, keyframe_choices
from codec.bitstream.fields import IDENTITY_BITS, MAX_GROUP, NUM_NUMBERS, WINDOW
from codec.bitstream.group import (
    MAX_FRESH,
    NUMBER_BITS,
    Counts,
    GroupWriter,
    Head,
    read_frames,
    read_head,
)
from codec.bitstream.message import frame_from_bytes, frame_to_bytes
from codec.bitstream.pack import pack, unpack
from codec.bitstream.predict import (
    FrameCode,
    FrameState,
    expect,
    interpolate,
    mean_state,
    reconstruct,
    reconstruct_key,
)
from codec.bitstream.priors import USUAL, Floats, Priors
from codec.bitstream.quantise import from_grid, to_grid
from codec.config import CodecConfig
from codec.errors import ConfigError, MissingBaseError, ModelMismatchError
from codec.references import TAG_BITS
from codec.structs import CodedFrame, EncodedFrame, Keypoints

MAX_FRAME_BYTES = 1024
MAX_LOST_PACKETS = 15
"""After more packets in a row that were lost or not read, nothing of what is kept can be a base."""
REST = 2.0
"""Steps of the quantiser that a face at rest may be off by, in each coefficient: in the five stillest of sixteen clips
37 to 88% of the frames are within two steps of the one before, and 7 to 36% within one."""
NEAR = 25.0
"""Squared distance, in usual steps of the quantiser, that interpolated frames may be off what was detected, on average.
Coded ones are off by 6; on validation clips pictures at 16 and at 25 are as good, at 50 they are not
(docs/training-log.md)."""
_HALF = 1 << NUMBER_BITS >> 1


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A frame as a sender remembers it; without code and state before it is coded, or where it is interpolated."""

    number: int
    grid_N: Floats
    reference: int
    scale: int
    is_keyframe: bool
    code: FrameCode | None = None
    state: FrameState | None = None
    is_chained: bool = True

    @property
    def coded(self) -> FrameCode:
        """The code of a frame that is coded."""
        assert self.code is not None
        return self.code

    @property
    def known(self) -> FrameState:
        """The state after it, of a frame that is coded."""
        assert self.state is not None
        return self.state


class FrameWindow:
    """The states after the last ``WINDOW`` frames that came, by number."""

    def __init__(self) -> None:
        self._states: dict[int, FrameState] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._states

    def __getitem__(self, number: int) -> FrameState:
        return self._states[number]

    def get(self, number: int) -> FrameState | None:
        """Return the state after a frame, or None."""
        return self._states.get(number)

    def add(self, number: int, state: FrameState) -> None:
        """Keep a state and drop the one that came first of more than ``WINDOW``.

        Another frame of the same number comes from a sender that began anew: its stream shares no frame with what is
        kept.
        """
        if number in self._states and not np.array_equal(self._states[number].values_N, state.values_N):
            self._states.clear()
        self._states[number] = state
        if len(self._states) > WINDOW:
            del self._states[next(iter(self._states))]

    def clear(self) -> None:
        """Drop all."""
        self._states.clear()


class StreamWriter:
    """Codes frames one after the other.

    Args:
        config: of the model.
        model_sha256: of its weights, 64 hex digits.
        priors: of both ends.
        first_number: number of the first frame.
        repeats: frames that each message sends once more, at least.
        frames_per_packet: frames that wait for each other and share a message.

    Raises:
        ConfigError: a message would have more than ``MAX_GROUP`` frames, or the priors are of another model.
    """

    def __init__(
        self,
        config: CodecConfig,
        model_sha256: str,
        priors: Priors,
        *,
        first_number: int = 0,
        repeats: int = 0,
        frames_per_packet: int = 1,
    ) -> None:
        self._repeats = repeats
        self._scale = USUAL
        self.frames_per_packet = frames_per_packet
        self._config = config
        self._priors = _fitting(priors, config)
        self._identity = stream_identity(model_sha256, priors)
        # Not changed later: a receiver that lost the keyframe that tells another would misread what follows.
        self._usual = _usual_counts(frames_per_packet, repeats)
        self._next_number = first_number % NUM_NUMBERS
        self._window = FrameWindow()
        self._sent: list[_Sent] = []
        self._num_waiting = 0
        self._fresh_counts: deque[int] = deque(maxlen=MAX_LOST_PACKETS)

    @property
    def scale(self) -> int:
        """Index of the quantiser's step, ``FINE``, ``USUAL`` or ``COARSE``; may change at any time.

        Raises:
            ConfigError: the priors have no such scale.
        """
        return self._scale

    @scale.setter
    def scale(self, scale: int) -> None:
        if not 0 <= scale < self._priors.num_scales:
            raise ConfigError(f"scale is {scale}; it must lie in [0, {self._priors.num_scales - 1}]")
        self._scale = scale

    @property
    def frames_per_packet(self) -> int:
        """Frames that wait for each other and share a message; may change at any time.

        Raises:
            ConfigError: a message would have more than ``MAX_GROUP`` frames.
        """
        return self._frames_per_packet

    @frames_per_packet.setter
    def frames_per_packet(self, frames_per_packet: int) -> None:
        if (
            self._repeats < 0
            or not 1 <= frames_per_packet <= MAX_FRESH
            or self._repeats + frames_per_packet > MAX_GROUP
        ):
            raise ConfigError(
                f"repeats is {self._repeats} and frames_per_packet {frames_per_packet}; "
                f"a packet holds 1 to {MAX_FRESH} new frames, and {MAX_GROUP} in all"
            )
        self._frames_per_packet = frames_per_packet

    def write(
        self,
        keypoints: Keypoints,
        *,
        reference: int = 0,
        force_keyframe: bool = False,
        base_number: int | None = None,
    ) -> EncodedFrame:
        """Code one frame.

        Args:
            keypoints: of the frame.
            reference: tag of the nearest reference; 0 for none.
            force_keyframe: write a keyframe whatever it costs.
            base_number: code the message from this frame, which the receiver has, instead of the one before.

        Returns:
            The frame; its payload is empty while it waits for others to share a packet.

        Raises:
            ConfigError: keypoints of another model, no tag, or ``base_number`` names no frame that is kept.
        """
        if not 0 <= reference < 1 << TAG_BITS:
            raise ConfigError(f"reference is {reference}; it must be a tag in [0, {(1 << TAG_BITS) - 1}]")
        if base_number is not None and not self.holds(base_number):
            raise ConfigError(f"base_number is {base_number}; it must be one of the last {WINDOW} frames' numbers")
        is_keyframe = force_keyframe or not self._sent
        frame = _Sent(self._next_number, to_grid(keypoints, self._config), reference, self._scale, is_keyframe)
        self._next_number = (frame.number + 1) % NUM_NUMBERS
        if is_keyframe:
            self._sent.clear()
            self._fresh_counts.clear()
            self._num_waiting, base_number = 0, None
        self._num_waiting += 1
        payload = b""
        if self._num_waiting < self._frames_per_packet and not is_keyframe:
            self._remember(self._coded(frame, self._sent[-1].known, 1))
        else:
            self._remember(frame)
            payload = self._chained() if base_number is None else self._anchored(base_number)
            if not is_keyframe:
                self._fresh_counts.append(self._num_waiting)
            self._num_waiting = 0
        shown = from_grid(self._sent[-1].known.values_N, self._config)
        return EncodedFrame(payload, frame.number, is_keyframe, shown, reference)

    def is_at_rest(self, keypoints: Keypoints, reference: int = 0) -> bool:
        """Return whether a frame is what the receiver shows already, but for a little more than rounding.

        Frames that wait for others to share a packet are not kept waiting.

        Raises:
            ConfigError: keypoints of another model.
        """
        if not self._sent or self._num_waiting or self._sent[-1].reference != reference:
            return False
        difference_N = to_grid(keypoints, self._config) - self._sent[-1].known.values_N
        return bool(np.abs(self._priors.analysis_NN @ difference_N).max() < REST)

    def holds(self, number: int) -> bool:
        """Return whether a frame is still in the window, and near enough for ``base_number`` to name it."""
        return number in self._window and (self._next_number - number) % NUM_NUMBERS <= WINDOW

    def _remember(self, frame: _Sent) -> None:
        self._sent = [*self._sent, frame][-(MAX_GROUP + 1) :]

    def _coded(self, frame: _Sent, base: FrameState, distance: int) -> _Sent:
        code, state = choose_frame(
            frame.grid_N, base, distance, self._priors, reference=frame.reference, scale=frame.scale
        )
        return dataclasses.replace(frame, code=code, state=state, is_chained=True)

    def _run(self, frames: list[_Sent], base_number: int, base: FrameState) -> list[_Sent]:
        """Code frames one after the other, the first from a base; those between that interpolation is near are not."""
        run: list[_Sent] = []
        while frames:
            for count in range(min(len(frames), self._frames_per_packet), 0, -1):
                between, target = frames[: count - 1], frames[count - 1]
                distance = (target.number - base_number) % NUM_NUMBERS
                coded = self._coded(target, base, distance)
                errors = [self._error(each, base_number, base, distance, coded.known) for each in between]
                if sum(errors) <= NEAR * len(errors):
                    break
            run += [dataclasses.replace(each, code=None, state=None, is_chained=True) for each in between] + [coded]
            frames, base_number, base = frames[count:], coded.number, coded.known
        return run

    def _error(self, frame: _Sent, base_number: int, base: FrameState, distance: int, coded: FrameState) -> float:
        """Return how far a frame between two that are coded is from the line between them, in squared usual steps."""
        index = (frame.number - base_number) % NUM_NUMBERS
        error_N = frame.grid_N - interpolate(base.values_N, coded.values_N, index, distance)
        return float(np.square(self._priors.analysis_NN @ error_N).sum())

    def _chained(self) -> bytes:
        """Return the message of the newest frames as they were coded, each from the one before; keep their states.

        Where the frame before the repeated ones is interpolated it repeats more, and when it grows too large fewer.
        """
        waiting = self._num_waiting
        if waiting > 1:
            before = self._sent[-waiting - 1]
            self._sent[-waiting:] = self._run(self._sent[-waiting:], before.number, before.known)
        wanted = waiting + self._repeats
        counts = [*range(wanted, MAX_GROUP + 1), *range(wanted - 1, waiting, -1)]
        messages = (self._exact(count) for count in counts if self._is_chain(count))
        fitting = (message for message in messages if len(message[0]) <= MAX_FRAME_BYTES)
        payload, self._sent[-1] = next(fitting, None) or self._exact(waiting)
        for sent in self._sent[-waiting:]:
            if sent.state is not None:
                self._window.add(sent.number, sent.state)
        return payload

    def _exact(self, count: int) -> tuple[bytes, _Sent]:
        """Return the message of the newest frames, and the newest as it is coded in it."""
        group = self._sent[-count:]
        if group[0].is_keyframe:
            writer = self._writer(group, mean_state(self._priors), 0, is_exact=True)
        else:
            writer = self._writer(group, self._sent[-count - 1].known, 1, is_exact=True)
        return self._fill(group[-1], writer)

    def _fill(self, frame: _Sent, writer: GroupWriter) -> tuple[bytes, _Sent]:
        """Choose how to tell the newest frame of a message so that whole bytes and error together cost least.

        Its bits come once more in each message that repeats it, where they share the bytes with others'.
        """
        reference, scale, copies = frame.reference, frame.scale, 1 + self._repeats
        if frame.is_keyframe:
            expected, distance = mean_state(self._priors), 0
            choices = keyframe_choices(frame.grid_N, self._priors, reference=reference, scale=scale)
        else:
            before = next(sent for sent in self._sent[-2::-1] if sent.state is not None)
            distance = (frame.number - before.number) % NUM_NUMBERS
            expected = expect(before.known, distance, self._priors)
            choices = frame_choices(frame.grid_N, expected, self._priors, reference=reference, scale=scale)
        coded = [writer.bytes_with(choice.code) for choice in choices]
        costs = [
            choice.error + TRADE * (8 * len(data) + self._repeats * choice.bits) / copies
            for choice, data in zip(choices, coded, strict=True)
        ]
        best = min(range(len(costs)), key=costs.__getitem__)
        state = self._state_after(choices[best].code, expected, distance)
        return _payload(coded[best]), dataclasses.replace(frame, code=choices[best].code, state=state)

    def _state_after(self, code: FrameCode, expected: FrameState, distance: int) -> FrameState:
        if code.is_keyframe:
            return reconstruct_key(code, self._priors)
        return reconstruct(code, expected, distance, self._priors)

    def _is_chain(self, count: int) -> bool:
        """Return whether the newest frames can be told as they were coded: from a keyframe, or a frame before them."""
        if count > len(self._sent):
            return False
        group = self._sent[-count:]
        if any(not sent.is_chained or sent.is_keyframe for sent in group[1:]):
            return False
        if group[0].is_keyframe:
            return True
        return len(self._sent) > count and group[0].is_chained and self._sent[-count - 1].state is not None

    def _anchored(self, base_number: int) -> bytes:
        """Return the message of the newest frames, coded anew from a frame that the receiver has."""
        base = self._window[base_number]
        recent = self._sent[-(self._num_waiting + self._repeats) :]
        frames = [sent for sent in recent if 1 <= (sent.number - base_number) % NUM_NUMBERS <= WINDOW]
        while True:
            group = self._run(frames, base_number, base)
            distance = (group[0].number - base_number) % NUM_NUMBERS
            payload = _payload(self._writer(group, base, distance, is_exact=False).bytes_with(group[-1].coded))
            if len(payload) <= MAX_FRAME_BYTES or len(frames) <= self._num_waiting:
                break
            frames = frames[1:]
        self._sent[-1] = dataclasses.replace(group[-1], is_chained=False)
        self._window.add(group[-1].number, group[-1].known)
        return payload

    def _writer(self, group: list[_Sent], base: FrameState, distance: int, *, is_exact: bool) -> GroupWriter:
        """Return what has written all of a message but its newest frame."""
        codes, number, is_known = [frame.code for frame in group[:-1]], group[-1].number, False
        if distance:
            number %= 1 << NUMBER_BITS
            is_known = is_exact and all(count == self._num_waiting for count in self._fresh_counts)
        pattern = "".join("i" if code is None else "c" for code in codes) + "c"
        told, identity = None if is_known else number, 0 if distance else self._identity
        head = Head(pattern, self._num_waiting, distance, is_exact, told, identity)
        writer = GroupWriter(head, base, self._usual, self._priors)
        for code in codes:
            if code is not None:
                writer.put(code)
        return writer


class StreamReader:
    """Reads frames in any order, as long as their bases came before them.

    Args:
        config: of the model.
        model_sha256: of its weights, 64 hex digits.
        priors: of both ends.

    Raises:
        ConfigError: the priors are of another model.
    """

    def __init__(self, config: CodecConfig, model_sha256: str, priors: Priors) -> None:
        self._config = config
        self._priors = _fitting(priors, config)
        self._identity = stream_identity(model_sha256, priors)
        self._window = FrameWindow()
        self._newest: int | None = None
        self._packets_since_newest = 0
        self._usual = Counts(1, 1)
        self._read: dict[int, None] = {}

    def read(self, payload: bytes, packets_since_last: int = 1) -> CodedFrame:
        """Read the newest frame of a message; see ``read_all``."""
        return self.read_all(payload, packets_since_last)[-1]

    def read_all(self, payload: bytes, packets_since_last: int = 1) -> list[CodedFrame]:
        """Read one message; a duplicate gives the same frame again.

        After an error the state is as before, but for the packet, which counts as one that was not read.

        Args:
            payload: of one packet.
            packets_since_last: by how much the packet's sequence number is greater than that of the packet given
                before, whether it could be read or not.

        Returns:
            The frames that no message gave before, oldest first; the message's newest is always the last.

        Raises:
            BitstreamError: truncated, corrupt or oversized.
            ModelMismatchError: a keyframe of another model, or of other priors.
            VersionError: another wire version.
            MissingBaseError: the base did not come; ask for a keyframe, or say which frame there is.
        """
        self._packets_since_newest += packets_since_last
        coded = frame_from_bytes(unpack(payload, MAX_FRAME_BYTES, may_be_bare=True))
        head, usual, reader = read_head(coded, self._usual)
        if head.has_keyframe and head.identity != self._identity:
            raise ModelMismatchError(
                f"frame was coded for model and priors {head.identity:04x}; those loaded are {self._identity:04x}"
            )
        number = self._number(head)
        first = (number - len(head.pattern) + 1) % NUM_NUMBERS
        base_number = (first - head.distance) % NUM_NUMBERS
        state = mean_state(self._priors) if head.has_keyframe else self._base(number, base_number)
        codes = read_frames(head, reader, state, self._priors)
        self._usual = usual
        return self._keep(head, codes, first, base_number, state)

    def guess(self, distance: int) -> CodedFrame | None:
        """Return what the frame ``distance`` after the newest one is expected to be; None while nothing is known.

        May be called from another thread than ``read_all``: what is kept of a frame never changes.
        """
        newest = self._newest
        state = None if newest is None else self._window.get(newest)
        if newest is None or state is None:
            return None
        values_N = expect(state, distance, self._priors).values_N
        number = (newest + distance) % NUM_NUMBERS
        return CodedFrame(number, newest, from_grid(values_N, self._config), state.reference, is_concealed=True)

    @property
    def newest(self) -> int | None:
        """Number of the newest frame that others may be predicted from; None before the first."""
        return self._newest if self._newest is not None and self._newest in self._window else None

    def _number(self, head: Head) -> int:
        if head.has_keyframe:
            assert head.number is not None
            return head.number
        if self._newest is None:
            raise MissingBaseError("a predicted frame came before any keyframe")
        if self._packets_since_newest > MAX_LOST_PACKETS + 1:
            raise MissingBaseError(
                f"{self._packets_since_newest - 1} packets before a predicted frame did not come, or were not read"
            )
        expected = self._newest + head.num_fresh * self._packets_since_newest
        if head.number is None:
            return expected % NUM_NUMBERS
        ahead = (head.number - expected + _HALF) % (1 << NUMBER_BITS) - _HALF
        return (expected + ahead) % NUM_NUMBERS

    def _base(self, number: int, base_number: int) -> FrameState:
        if base_number not in self._window:
            raise MissingBaseError(f"frame {number} is predicted from frame {base_number}, which never came")
        return self._window[base_number]

    def _keep(
        self, head: Head, codes: list[FrameCode | None], first: int, base_number: int, state: FrameState
    ) -> list[CodedFrame]:
        states = self._states(codes, first, base_number, state)
        coded = iter(states)
        before, after, found = (base_number, state), next(coded), []
        for index, code in enumerate(codes):
            number, values_N = (first + index) % NUM_NUMBERS, after[1].values_N
            reference = after[1].reference
            base = None if code is not None and code.is_keyframe else before[0]
            if code is None:
                passed, span = ((end - before[0]) % NUM_NUMBERS for end in (number, after[0]))
                values_N = interpolate(before[1].values_N, values_N, passed, span)
            if index == len(codes) - 1 or number not in self._read:
                is_repeated = index < len(codes) - head.num_fresh
                keypoints = from_grid(values_N, self._config)
                found.append(CodedFrame(number, base, keypoints, reference, is_repeated, is_interpolated=code is None))
            if code is not None:
                before, after = after, next(coded, after)
        for number, kept in states if head.is_exact else states[-1:]:
            self._window.add(number, kept)
        for frame in found:
            self._read.pop(frame.number, None)
            self._read[frame.number] = None
        while len(self._read) > 4 * WINDOW:
            del self._read[next(iter(self._read))]
        self._newest, self._packets_since_newest = states[-1][0], 0
        return found

    def _states(
        self, codes: list[FrameCode | None], first: int, base_number: int, state: FrameState
    ) -> list[tuple[int, FrameState]]:
        """Return number and state of each coded frame, the first predicted from the base."""
        states = []
        for index, code in enumerate(codes):
            if code is None:
                continue
            number = (first + index) % NUM_NUMBERS
            if code.is_keyframe:
                state = reconstruct_key(code, self._priors)
            else:
                distance = (number - base_number) % NUM_NUMBERS
                state = reconstruct(code, expect(state, distance, self._priors), distance, self._priors)
            states.append((number, state))
            base_number = number
        return states


def stream_identity(model_sha256: str, priors: Priors) -> int:
    """Return what keyframes say of model and priors, ``IDENTITY_BITS`` bits.

    Raises:
        ConfigError: ``model_sha256`` is not 64 hex digits.
    """
    try:
        digest = bytes.fromhex(model_sha256)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ConfigError(f"model_sha256 is {model_sha256!r}; it must be 64 hex digits")
    return int.from_bytes(hashlib.sha256(digest + bytes.fromhex(priors.sha256)).digest()[: IDENTITY_BITS // 8], "big")


def _payload(coded: bytes) -> bytes:
    return pack(frame_to_bytes(coded), may_be_bare=True)


def _usual_counts(frames_per_packet: int, repeats: int) -> Counts:
    """Return the counts of most messages of a stream: whole packets are repeated, for their frames are interpolated."""
    packets = -(-(frames_per_packet + repeats) // frames_per_packet)
    return Counts(frames_per_packet, min(packets * frames_per_packet, MAX_GROUP))


def _fitting(priors: Priors, config: CodecConfig) -> Priors:
    if priors.num_keypoints != config.num_keypoints:
        raise ConfigError(f"priors are for {priors.num_keypoints} keypoints; the model has {config.num_keypoints}")
    return priors
