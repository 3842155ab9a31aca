"""Stage 5 of 8: frames and control messages to protobuf, and back.

    coded frames   --frame_to_bytes--> bytes --frame_from_bytes--> coded frames
    ControlMessage --pack_control--> [bytes] --ControlAssembler.feed--> ControlMessage

The only module that knows the protobuf classes. What comes from the network is checked here field by field; the rest
of the codec sees ``codec.structs`` alone.
"""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from codec.bitstream.fields import (
    FRAGMENT_BYTES,
    MAX_CLOCK_RATE_HZ,
    MAX_CONTROL_BYTES,
    MAX_NAME_BYTES,
    MAX_PENDING_PICTURES,
    MAX_REASON_BYTES,
    MAX_REFERENCES,
    MAX_TIME,
    NUM_NUMBERS,
    check_range,
    cut,
    name_of,
    one_line,
    peer_text,
    sha256_hex,
)
from codec.bitstream.pack import pack, unpack
from codec.bitstream.picture import MAX_PICTURE_BYTES
from codec.errors import BitstreamError, ConfigError
from codec.structs import (
    Bye,
    Clock,
    ControlMessage,
    Hello,
    Hold,
    ReferencePicture,
    ReferenceSelection,
    ReferenceStatus,
)
from proto.control_pb2 import Clock as ClockProto
from proto.control_pb2 import Control
from proto.control_pb2 import Hello as HelloProto
from proto.frame_pb2 import Frame

_ROLES = {"sender": HelloProto.ROLE_SENDER, "receiver": HelloProto.ROLE_RECEIVER}
_MEDIA = {"video": ClockProto.MEDIA_VIDEO, "audio": ClockProto.MEDIA_AUDIO}


def frame_to_bytes(coded: bytes) -> bytes:
    """Serialise the frames of one message."""
    return Frame(coded=coded).SerializeToString()


def frame_from_bytes(message: bytes) -> bytes:
    """Parse the frames of one message.

    Raises:
        BitstreamError: not a ``Frame``.
    """
    try:
        return Frame.FromString(message).coded
    except DecodeError as error:
        raise BitstreamError("frame is not a protobuf message of its kind") from error


def pack_control(message: ControlMessage, *, part_bytes: int = FRAGMENT_BYTES) -> list[bytes]:
    """Serialise a control message as data-channel messages of at most 16 kB: one, or several for a big picture.

    Text is made one printable line, and a reason that is too long is cut.

    Args:
        message: what to say.
        part_bytes: of a picture that go into one data-channel message at most.

    Raises:
        ConfigError: a field that no reader would accept.
    """
    if isinstance(message, ReferencePicture):
        return _pack_picture(message, part_bytes)
    control = _control_proto(message)
    try:
        packed = pack(control.SerializeToString())
        _message_from_proto(control)
    except BitstreamError as error:
        raise ConfigError(f"{type(message).__name__} cannot be sent: {error}") from error
    return [packed]


def _control_proto(message: Hello | ReferenceStatus | Clock | Bye | ReferenceSelection | Hold) -> Control:
    try:
        match message:
            case Hello():
                return Control(hello=_hello_proto(message))
            case ReferenceStatus():
                control = Control()
                control.reference_status.sha256 = bytes.fromhex(message.sha256)
                control.reference_status.accepted = message.accepted
                control.reference_status.reason = cut(one_line(message.reason), MAX_REASON_BYTES)
                return control
            case Clock():
                return Control(clock=_clock_proto(message))
            case Bye():
                control = Control()
                control.bye.reason = cut(one_line(message.reason), MAX_REASON_BYTES)
                return control
            case ReferenceSelection():
                control = Control()
                control.reference_selection.sha256s.extend(map(bytes.fromhex, message.sha256s))
                return control
            case Hold():
                control = Control()
                control.hold.SetInParent()
                control.hold.reason = cut(one_line(message.reason), MAX_REASON_BYTES)
                return control
    except (KeyError, ValueError, OverflowError) as error:
        raise ConfigError(f"{type(message).__name__} cannot be sent: {error}") from error


def _hello_proto(message: Hello) -> HelloProto:
    return HelloProto(
        wire_version=message.wire_version,
        model_sha256=bytes.fromhex(message.model_sha256),
        config_name=one_line(message.config_name),
        role=_ROLES[message.role],
        reference_sha256s=[bytes.fromhex(sha256) for sha256 in message.reference_sha256s],
        max_references=message.max_references,
        priors_sha256=bytes.fromhex(message.priors_sha256),
    )


def _clock_proto(message: Clock) -> ClockProto:
    return ClockProto(
        media=_MEDIA[message.media],
        frame_number=message.frame_number,
        pts=message.pts,
        clock_rate_hz=message.clock_rate_hz,
        capture_time_us=message.capture_time_us,
    )


def _pack_picture(picture: ReferencePicture, part_bytes: int) -> list[bytes]:
    total = len(picture.data)
    if not 0 < total <= MAX_PICTURE_BYTES:
        raise ConfigError(f"reference picture has {total} bytes; it must have 1 to {MAX_PICTURE_BYTES}")
    if not 1 <= part_bytes <= FRAGMENT_BYTES:
        raise ConfigError(f"part_bytes is {part_bytes}; it must lie in [1, {FRAGMENT_BYTES}]")
    digest = hashlib.sha256(picture.data)
    if digest.hexdigest() != picture.sha256:
        raise ConfigError(f"picture's sha256 is {picture.sha256!r}, but its data hash to {digest.hexdigest()}")
    packed = []
    for offset in range(0, total, part_bytes):
        control = Control()
        control.reference_fragment.sha256 = digest.digest()
        control.reference_fragment.total_bytes = total
        control.reference_fragment.offset = offset
        control.reference_fragment.data = picture.data[offset : offset + part_bytes]
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
        sha256 = sha256_hex(fragment.sha256)
        check_range("picture size", fragment.total_bytes, 1, MAX_PICTURE_BYTES)
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
            return ReferenceStatus(
                sha256_hex(status.sha256), status.accepted, peer_text(status.reason, MAX_REASON_BYTES)
            )
        case "clock":
            return _clock(control.clock)
        case "bye":
            return Bye(peer_text(control.bye.reason, MAX_REASON_BYTES))
        case "reference_selection":
            digests = control.reference_selection.sha256s
            check_range("number of references", len(digests), 1, MAX_REFERENCES)
            return ReferenceSelection(tuple(sha256_hex(digest) for digest in digests))
        case "hold":
            return Hold(peer_text(control.hold.reason, MAX_REASON_BYTES))
    return None


def _hello(hello: HelloProto) -> Hello:
    check_range("number of references", len(hello.reference_sha256s), 0, MAX_REFERENCES)
    check_range("most references", hello.max_references, 0, MAX_REFERENCES)
    return Hello(
        wire_version=hello.wire_version,
        model_sha256=sha256_hex(hello.model_sha256),
        config_name=peer_text(hello.config_name, MAX_NAME_BYTES),
        role=name_of(hello.role, _ROLES, "role"),
        reference_sha256s=tuple(sha256_hex(digest) for digest in hello.reference_sha256s),
        max_references=hello.max_references,
        priors_sha256=sha256_hex(hello.priors_sha256),
    )


def _clock(clock: ClockProto) -> Clock:
    check_range("frame number", clock.frame_number, 0, NUM_NUMBERS - 1)
    check_range("pts", clock.pts, 0, MAX_TIME)
    check_range("clock rate", clock.clock_rate_hz, 1, MAX_CLOCK_RATE_HZ)
    check_range("capture time", clock.capture_time_us, 0, MAX_TIME)
    media = name_of(clock.media, _MEDIA, "media")
    return Clock(media, clock.frame_number, clock.pts, clock.clock_rate_hz, clock.capture_time_us)
