"""Stage 5 of 8: frames and control messages to protobuf, and back.

    FrameFields    --frame_to_bytes--> bytes --frame_from_bytes--> FrameFields
    ControlMessage --pack_control--> [bytes] --ControlAssembler.feed--> ControlMessage

The only module that knows the protobuf classes. What comes from the network is checked here field by field; the rest
of the codec sees ``codec.structs`` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from codec.bitstream.pack import pack, unpack
from codec.bitstream.picture import MAX_PICTURE_BYTES
from codec.errors import BitstreamError, ConfigError
from codec.structs import Bye, Clock, ControlMessage, Hello, ReferencePicture, ReferenceStatus
from proto.control_pb2 import Clock as ClockProto
from proto.control_pb2 import Control
from proto.control_pb2 import Hello as HelloProto
from proto.frame_pb2 import Frame

NUM_NUMBERS = 1 << 16
WINDOW = 16
MODEL_BYTES = 4
MAX_CONTROL_BYTES = 16_384
FRAGMENT_BYTES = 16_000
MAX_PENDING_PICTURES = 4
MAX_REFERENCES = 256
MAX_NAME_BYTES = 64
MAX_REASON_BYTES = 500
MAX_CLOCK_RATE_HZ = 10_000_000
MAX_TIME = (1 << 63) - 1

_ROLES = {"sender": HelloProto.ROLE_SENDER, "receiver": HelloProto.ROLE_RECEIVER}
_MEDIA = {"video": ClockProto.MEDIA_VIDEO, "audio": ClockProto.MEDIA_AUDIO}


@dataclass(frozen=True, slots=True)
class FrameFields:
    """The fields of one ``Frame`` message.

    Attributes:
        number: frame counter modulo 2**16.
        model: of a keyframe, the first bytes of the model's SHA-256; empty in a predicted frame.
        base: of a predicted frame, its base's number; None in a keyframe.
        coded: packed values or coded differences.
    """

    number: int
    model: bytes
    base: int | None
    coded: bytes


def frame_to_bytes(fields: FrameFields) -> bytes:
    """Serialise a frame."""
    if fields.base is None:
        return Frame(number=fields.number, model=fields.model, coded=fields.coded).SerializeToString()
    frame = Frame(number=fields.number, coded=fields.coded)
    distance = (fields.number - fields.base) % NUM_NUMBERS
    if distance != 1:
        frame.base = distance
    return frame.SerializeToString()


def frame_from_bytes(message: bytes) -> FrameFields:
    """Parse a frame.

    Raises:
        BitstreamError: not a frame, or a field is out of range.
    """
    try:
        frame = Frame.FromString(message)
    except DecodeError as error:
        raise BitstreamError("frame is not a protobuf message of its kind") from error
    _check_range("frame number", frame.number, 0, NUM_NUMBERS - 1)
    distance = frame.base if frame.HasField("base") else 1
    if not frame.HasField("model"):
        _check_range("base distance", distance, 1, WINDOW)
        return FrameFields(frame.number, b"", (frame.number - distance) % NUM_NUMBERS, frame.coded)
    if frame.HasField("base"):
        raise BitstreamError("keyframe has a base")
    if len(frame.model) != MODEL_BYTES:
        raise BitstreamError(f"model identity has {len(frame.model)} bytes; it must have {MODEL_BYTES}")
    return FrameFields(frame.number, frame.model, None, frame.coded)


def pack_control(message: ControlMessage) -> list[bytes]:
    """Serialise a control message as data-channel messages of at most 16 kB: one, or several for a big picture.

    Text is made one printable line, and a reason that is too long is cut.

    Raises:
        ConfigError: a field that no reader would accept.
    """
    if isinstance(message, ReferencePicture):
        return _pack_picture(message)
    control = _control_proto(message)
    try:
        packed = pack(control.SerializeToString())
        _message_from_proto(control)
    except BitstreamError as error:
        raise ConfigError(f"{type(message).__name__} cannot be sent: {error}") from error
    return [packed]


def _control_proto(message: Hello | ReferenceStatus | Clock | Bye) -> Control:
    try:
        match message:
            case Hello():
                return Control(hello=_hello_proto(message))
            case ReferenceStatus():
                control = Control()
                control.reference_status.sha256 = bytes.fromhex(message.sha256)
                control.reference_status.accepted = message.accepted
                control.reference_status.reason = _cut(_one_line(message.reason))
                return control
            case Clock():
                return Control(clock=_clock_proto(message))
            case Bye():
                control = Control()
                control.bye.reason = _cut(_one_line(message.reason))
                return control
    except (KeyError, ValueError, OverflowError) as error:
        raise ConfigError(f"{type(message).__name__} cannot be sent: {error}") from error


def _hello_proto(message: Hello) -> HelloProto:
    return HelloProto(
        wire_version=message.wire_version,
        model_sha256=bytes.fromhex(message.model_sha256),
        config_name=_one_line(message.config_name),
        role=_ROLES[message.role],
        reference_sha256s=[bytes.fromhex(sha256) for sha256 in message.reference_sha256s],
        max_references=message.max_references,
    )


def _clock_proto(message: Clock) -> ClockProto:
    return ClockProto(
        media=_MEDIA[message.media],
        frame_number=message.frame_number,
        pts=message.pts,
        clock_rate_hz=message.clock_rate_hz,
        capture_time_us=message.capture_time_us,
    )


def _pack_picture(picture: ReferencePicture) -> list[bytes]:
    total = len(picture.data)
    if not 0 < total <= MAX_PICTURE_BYTES:
        raise ConfigError(f"reference picture has {total} bytes; it must have 1 to {MAX_PICTURE_BYTES}")
    digest = hashlib.sha256(picture.data)
    if digest.hexdigest() != picture.sha256:
        raise ConfigError(f"picture's sha256 is {picture.sha256!r}, but its data hash to {digest.hexdigest()}")
    packed = []
    for offset in range(0, total, FRAGMENT_BYTES):
        control = Control()
        control.reference_fragment.sha256 = digest.digest()
        control.reference_fragment.total_bytes = total
        control.reference_fragment.offset = offset
        control.reference_fragment.data = picture.data[offset : offset + FRAGMENT_BYTES]
        packed.append(pack(control.SerializeToString()))
    return packed


class ControlAssembler:
    """Turns data-channel messages into control messages; holds at most ``MAX_PENDING_PICTURES`` unfinished pictures."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[int, bytearray]] = {}

    def feed(self, data: bytes) -> ControlMessage | None:
        """Take one data-channel message.

        Returns:
            The message, or None when it is a part of an unfinished picture or of a kind from the future.

        Raises:
            BitstreamError: truncated, corrupt, oversized or out of order.
            VersionError: another wire version.
        """
        if len(data) > MAX_CONTROL_BYTES:
            raise BitstreamError(f"control message has {len(data)} bytes; at most {MAX_CONTROL_BYTES} are valid")
        try:
            control = Control.FromString(unpack(data, MAX_CONTROL_BYTES))
        except DecodeError as error:
            raise BitstreamError("control message is not a protobuf message of its kind") from error
        if control.WhichOneof("kind") == "reference_fragment":
            return self._feed_fragment(control)
        return _message_from_proto(control)

    def _feed_fragment(self, control: Control) -> ReferencePicture | None:
        fragment = control.reference_fragment
        sha256 = _sha256(fragment.sha256)
        _check_range("picture size", fragment.total_bytes, 1, MAX_PICTURE_BYTES)
        if not fragment.data:
            raise BitstreamError("picture part is empty")
        if not fragment.offset:
            self._pending[sha256] = fragment.total_bytes, bytearray()
        # Taken out, and put back only when the part fits: a bad part ends its picture.
        total, received = self._pending.pop(sha256, (fragment.total_bytes, bytearray()))
        if total != fragment.total_bytes:
            raise BitstreamError(f"picture's size was {total} bytes and is now {fragment.total_bytes}")
        if fragment.offset != len(received):
            raise BitstreamError(f"picture part begins at {fragment.offset}; {len(received)} bytes came before")
        received += fragment.data
        if len(received) > total:
            raise BitstreamError(f"picture parts exceed the picture's {total} bytes")
        if len(received) < total:
            self._keep(sha256, total, received)
            return None
        if hashlib.sha256(received).hexdigest() != sha256:
            raise BitstreamError("picture does not match its SHA-256")
        return ReferencePicture(sha256, bytes(received))

    def _keep(self, sha256: str, total: int, received: bytearray) -> None:
        self._pending[sha256] = total, received
        if len(self._pending) > MAX_PENDING_PICTURES:
            del self._pending[next(iter(self._pending))]


def _message_from_proto(control: Control) -> ControlMessage | None:
    match control.WhichOneof("kind"):
        case "hello":
            return _hello(control.hello)
        case "reference_status":
            status = control.reference_status
            return ReferenceStatus(_sha256(status.sha256), status.accepted, _text(status.reason, MAX_REASON_BYTES))
        case "clock":
            return _clock(control.clock)
        case "bye":
            return Bye(_text(control.bye.reason, MAX_REASON_BYTES))
    return None


def _hello(hello: HelloProto) -> Hello:
    _check_range("number of references", len(hello.reference_sha256s), 0, MAX_REFERENCES)
    _check_range("most references", hello.max_references, 0, MAX_REFERENCES)
    return Hello(
        wire_version=hello.wire_version,
        model_sha256=_sha256(hello.model_sha256),
        config_name=_text(hello.config_name, MAX_NAME_BYTES),
        role=_name_of(hello.role, _ROLES, "role"),
        reference_sha256s=tuple(_sha256(digest) for digest in hello.reference_sha256s),
        max_references=hello.max_references,
    )


def _clock(clock: ClockProto) -> Clock:
    _check_range("frame number", clock.frame_number, 0, NUM_NUMBERS - 1)
    _check_range("pts", clock.pts, 0, MAX_TIME)
    _check_range("clock rate", clock.clock_rate_hz, 1, MAX_CLOCK_RATE_HZ)
    _check_range("capture time", clock.capture_time_us, 0, MAX_TIME)
    media = _name_of(clock.media, _MEDIA, "media")
    return Clock(media, clock.frame_number, clock.pts, clock.clock_rate_hz, clock.capture_time_us)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BitstreamError(f"{what} is {value}; it must lie in [{low}, {high}]")


def _name_of(value: int, names: Mapping[str, int], what: str) -> str:
    for name, number in names.items():
        if number == value:
            return name
    raise BitstreamError(f"{what} is {value}; it must be one of {', '.join(names)}")


def _sha256(digest: bytes) -> str:
    if len(digest) != 32:
        raise BitstreamError(f"a SHA-256 has {len(digest)} bytes; it must have 32")
    return digest.hex()


def _text(text: str, max_bytes: int) -> str:
    """Check the length of a peer's text, and take from it what would move a terminal's cursor."""
    if len(text.encode()) > max_bytes:
        raise BitstreamError(f"a text has more than {max_bytes} bytes")
    return _one_line(text)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _cut(text: str) -> str:
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
