"""Stages 6 and 7 of 8: the codec behind aiortc's two codec interfaces.

    av.VideoFrame -> EncoderAdapter.encode -> RTP payloads
    JitterFrame   -> DecoderAdapter.decode -> ReceivedFrame -> (inline: generator thread) -> av.VideoFrame

These are boundaries where no exception may pass: in aiortc anything but ``av.FFmpegError`` from ``decode`` ends the
decoder thread without a word, and anything at all from ``encode`` stops the track. So both catch everything, log each
kind once, count, see to a keyframe, and go on. ``decode`` only parses (about a tenth of a millisecond).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import av
from aiortc.codecs.base import Decoder as RtpDecoder
from aiortc.codecs.base import Encoder as RtpEncoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from av.frame import Frame
from av.packet import Packet
from av.stream import Stream

from codec.bitstream.fields import NUM_NUMBERS
from codec.config import CLOCK_RATE_HZ, STEPS
from codec.decoder import Decoder
from codec.encoder import Encoder
from codec.errors import BitstreamError, ConfigError, MissingBaseError
from codec.frames import Rgb, frame_from_rgb
from codec.references import ReferenceSet, reference_tags
from codec.rtc.acknowledge import Acknowledger
from codec.rtc.conceal import Concealer
from codec.rtc.payload import NEW_STREAM, RtpPayload, pack_payload, unpack_payload
from codec.rtc.pictures import NewestWorker
from codec.rtc.plugin import Plugin
from codec.rtc.spare import SpareTime
from codec.rtc.square import square_rgb
from codec.rtc.stats import FailureLog, KeyframeRequests
from codec.rtc.switching import StreamCodec
from codec.rtc.video import RateH264Encoder
from codec.structs import CodedFrame, EncodedFrame, Keypoints

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.2
"""Frames of one packet wait no longer for their turn: a sender that paused is not waited for."""
KEYFRAMES_AFTER_VIDEO = 5


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A parsed frame as the receiver gets it, on the ``opaque`` of the frames of its track.

    Attributes:
        coded: the frame's number, base and keypoints.
        pts: timestamp in 1/90000 s since the first frame received (aiortc hides the sender's own origin).
        arrival_time_s: seconds since the epoch at which the packet came in.
        wait_s: how long after that it is due: frames that share a packet are shown one after the other.
    """

    coded: CodedFrame
    pts: int
    arrival_time_s: float
    wait_s: float = 0.0

    @property
    def is_time_guessed(self) -> bool:
        """Whether the timestamp is a guess: of a frame that is one itself, or whose own packet did not come."""
        return self.coded.is_concealed or self.coded.is_repeated


@dataclass(frozen=True, slots=True)
class Last:
    """The newest frame that was read.

    Attributes:
        number: its own.
        timestamp: in 1/90000 s.
        interval: between frames of late, in 1/90000 s; 0 while unknown.
    """

    number: int
    timestamp: int
    interval: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a picture is told by.

    Attributes:
        keypoints: of the picture.
        reference: tag of the nearest reference; 0 for none.
        is_aligned: whether the keypoints are aligned to that.
    """

    keypoints: Keypoints
    reference: int = 0
    is_aligned: bool = False


class ReferenceFollower:
    """Hands one end the pictures of a reference set whenever they have changed."""

    def __init__(self) -> None:
        self._applied: tuple[str, ...] = ()

    def follow(self, references: ReferenceSet, end: Encoder | Decoder) -> None:
        """Let an end use the pictures of this moment.

        Raises:
            ConfigError: one has another size than the model's; it is not tried again.
        """
        pictures = references.pictures
        sha256s = tuple(sha256 for sha256, _ in pictures)
        if sha256s != self._applied:
            self._applied = sha256s
            end.set_references([rgb for _, rgb in pictures], reference_tags(sha256s))


class EncoderAdapter(RtpEncoder):
    """Encodes the frames of one sent track; aiortc calls it in an executor thread, one frame at a time.

    Args:
        plugin: the model and the program's choices.
        codec: of the stream, for a stream that may change to conventional video; None for keypoints alone.
    """

    def __init__(self, plugin: Plugin, codec: StreamCodec | None = None) -> None:
        self._plugin = plugin
        self._codec = codec
        self._video = RateH264Encoder()
        self._is_video = False
        self._num_keyframes_due = 0
        self._failures = FailureLog(logger, "a frame was not encoded")
        self._reports = FailureLog(logger, "a callback of the program failed")
        self._is_keyframe_due = False
        self._acknowledged: int | None = None
        self._follower = ReferenceFollower()
        self._spare_time = SpareTime()
        self._target_bitrate = 0
        self._last_timestamp: int | None = None

    @cached_property
    def _encoder(self) -> Encoder:
        plugin = self._plugin
        return Encoder(plugin.model, repeats=plugin.repeats, frames_per_packet=plugin.choose_frames_per_packet())

    def note_acknowledged(self, number: int) -> None:
        """Take note that the receiver has a frame; called on the event loop.

        The messages to come are predicted from it, as long as it is kept. A receiver that has none of the kept ones
        can read no other frame than a keyframe.
        """
        if not self._encoder.writer.holds(number):
            self._is_keyframe_due = True
            self._acknowledged = None
        else:
            self._acknowledged = number

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Encode one frame of any size and format.

        Args:
            frame: the picture; its centre square is coded.
            force_keyframe: whether the peer asked for a keyframe.

        Returns:
            The RTP payloads (one; none when the frame could not be encoded) and the timestamp in 1/90000 s.
        """
        self._is_keyframe_due |= force_keyframe
        try:
            return self._encode(frame)
        except Exception as error:  # named boundary: an exception would stop the track
            self._failures.note(error)
            self._plugin.stats.add(encode_failures=1)
            self._is_keyframe_due = True
            return [], 0

    def pack(self, packet: Packet[Stream]) -> tuple[list[bytes], int]:
        """Give an already coded message to RTP, for tracks that deliver packets instead of frames."""
        try:
            payloads = pack_payload(bytes(packet))
            timestamp = _timestamp(packet)
        except Exception as error:  # named boundary: an exception would stop the track
            self._failures.note(error)
            self._plugin.stats.add(encode_failures=1)
            return [], 0
        self._plugin.stats.add(frames_sent=1, payload_bytes_sent=len(payloads[0]))
        return payloads, timestamp

    @property
    def target_bitrate(self) -> int:
        """Bits per second that the peer asked for last (REMB); 0 before that."""
        return self._target_bitrate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._target_bitrate = bitrate
        if self._plugin.on_target_bitrate is not None:
            try:
                self._plugin.on_target_bitrate(bitrate)
            except Exception as error:  # named boundary: aiortc's RTCP handler knows no exceptions
                self._reports.note(error)

    def _encode(self, frame: Frame) -> tuple[list[bytes], int]:
        if not isinstance(frame, av.VideoFrame):
            raise BitstreamError(f"a track gave a {type(frame).__name__}; this codec codes video frames")
        video_bps = None if self._plugin.choose_codec is None else self._plugin.choose_codec(frame.opaque)
        if video_bps is not None and self._codec is not None and self._codec.video_type is not None:
            return self._encode_video(frame, video_bps)
        self._change(is_video=False)
        timestamp = _timestamp(frame)
        rgb = square_rgb(frame, self._plugin.model.config.image_size)
        told, must_stand_alone = self._find(rgb, timestamp), self._must_stand_alone()
        if not must_stand_alone and self._may_rest(told, timestamp):
            self._plugin.stats.add(frames_at_rest=1)
            return [], timestamp
        self._last_timestamp = timestamp
        self._encoder.writer.frames_per_packet = self._plugin.choose_frames_per_packet()
        self._encoder.writer.scale = STEPS.index(self._plugin.choose_step())
        written = self._encoder.write(
            told.keypoints, told.reference, force_keyframe=must_stand_alone, base_number=self._acknowledged
        )
        encoded = replace(written, is_aligned=told.is_aligned)
        payloads = pack_payload(encoded.payload) if encoded.payload else []
        self._is_keyframe_due = False
        self._plugin.stats.add(
            frames_sent=1,
            frames_aligned=int(told.is_aligned),
            keyframes_sent=int(encoded.is_keyframe),
            payload_bytes_sent=len(encoded.payload),
        )
        self._report(encoded, timestamp, frame.opaque)
        return payloads, timestamp

    def _find(self, rgb: Rgb, timestamp: int) -> Told:
        """Find a picture's keypoints, aligned to what the receiver holds where there is time."""
        if self._plugin.align != "off":
            self._follower.follow(self._plugin.sent_references, self._encoder)
        started_s = time.monotonic()
        keypoints = self._encoder.detect(rgb)
        if not self._encoder.aligns:
            return Told(keypoints)
        if self._plugin.align == "auto" and not self._spare_time.is_enough(timestamp / CLOCK_RATE_HZ):
            return Told(keypoints, self._encoder.choose(rgb))
        aligned, reference = self._encoder.align(keypoints, rgb)
        self._spare_time.note(time.monotonic() - started_s)
        return Told(aligned, reference, is_aligned=True)

    def _may_rest(self, told: Told, timestamp: int) -> bool:
        """Return whether a face that keeps still needs no picture yet."""
        rest_fps, last = self._plugin.rest_fps, self._last_timestamp
        if rest_fps <= 0 or last is None or not 0 <= timestamp - last < CLOCK_RATE_HZ / rest_fps:
            return False  # due again, or the clock of the source began anew
        return self._encoder.writer.is_at_rest(told.keypoints, told.reference)

    def _encode_video(self, frame: av.VideoFrame, bps: int) -> tuple[list[bytes], int]:
        self._change(is_video=True)
        timestamp = _timestamp(frame)
        self._video.target_bitrate = bps
        is_keyframe, self._is_keyframe_due = self._is_keyframe_due, False
        payloads, _ = self._video.encode(frame, is_keyframe)
        size_bytes = sum(map(len, payloads))
        self._plugin.stats.add(video_frames_sent=1, video_bytes_sent=size_bytes)
        if self._plugin.on_video_encoded is not None:
            try:
                self._plugin.on_video_encoded(size_bytes, is_keyframe, timestamp, frame.opaque)
            except Exception as error:  # named boundary: the program's fault must not cost the frame
                self._reports.note(error)
        return payloads, timestamp

    def _change(self, *, is_video: bool) -> None:
        """Take the other codec for this frame, which then stands alone.

        So do the next few keypoints: where video was too much for the link, its queue is full, and the first are lost.
        """
        if is_video == self._is_video or self._codec is None:
            return
        self._is_video = is_video
        self._is_keyframe_due = True
        self._num_keyframes_due = KEYFRAMES_AFTER_VIDEO
        self._video.restart()
        self._codec.choose(is_video=is_video)

    def _must_stand_alone(self) -> bool:
        self._num_keyframes_due -= 1
        return self._is_keyframe_due or self._num_keyframes_due >= 0

    def _report(self, encoded: EncodedFrame, timestamp: int, opaque: object) -> None:
        if self._plugin.on_encoded is None:
            return
        try:
            self._plugin.on_encoded(encoded, timestamp, opaque)
        except Exception as error:  # named boundary: the program's fault must not cost the frame
            self._reports.note(error)


class DecoderAdapter(RtpDecoder):
    """Decodes the frames of one received track; aiortc calls it in the track's decoder thread.

    Args:
        plugin: the model and the program's choices.
        request_keyframe: asks the peer for a keyframe; called from the decoder thread.
        deliver: hands a frame to the track; called from the decoder thread or the generator thread.
        acknowledge: tells the peer the number of a frame that is here; called from the decoder thread.
    """

    def __init__(
        self,
        plugin: Plugin,
        request_keyframe: Callable[[], None],
        deliver: Callable[[av.VideoFrame], None],
        acknowledge: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._plugin = plugin
        self._deliver = deliver
        self._failures = FailureLog(logger, "a received frame was dropped")
        self._keyframe_requests = KeyframeRequests(request_keyframe)
        self._acknowledger = Acknowledger(acknowledge)
        self._worker = NewestWorker(self._show, name="warpcall-generator")
        self._concealer = Concealer(self._conceal)
        self._last: Last | None = None
        self._follower = ReferenceFollower()

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._plugin.model)

    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        """Parse one frame and pass it on.

        Args:
            encoded_frame: one packet's payload and timestamp.

        Returns:
            Always an empty list: frames go to the track by ``deliver``, so that a picture need not wait for the
            next packet.
        """
        try:
            frames = self._parse(encoded_frame)
            self._plugin.stats.add(frames_received=len(frames), payload_bytes_received=len(encoded_frame.data))
            if any(received.coded.is_keyframe for received in frames):
                self._keyframe_requests.answered()
            for received in frames if self._plugin.pictures == "deferred" else frames[-1:]:
                self._pass_on(received)
        except MissingBaseError as error:
            self._failures.note(error)
            self._plugin.stats.add(undecodable_dropped=1)
            self._complain()
        except Exception as error:  # named boundary: an exception would end aiortc's decoder thread
            self._failures.note(error)
            self._plugin.stats.add(undecodable_dropped=1)
            if self._keyframe_requests.ask():
                self._plugin.stats.add(keyframes_requested=1)
        return []

    def give_way(self) -> None:
        """Guess no frames: the stream goes on as conventional video."""
        self._concealer.pause()

    def close(self) -> None:
        """End the generator thread after the picture at hand, without waiting for it."""
        self._concealer.close()
        self._worker.close()

    def _pass_on(self, received: ReceivedFrame) -> None:
        """Give a frame to the program, or to the generator."""
        if self._plugin.pictures == "deferred":
            self._deliver(_placeholder(received))
        elif self._worker.put(received):
            self._plugin.stats.add(pictures_superseded=1)

    def _conceal(self, distance: int) -> None:
        """Pass on a guess of a frame that did not come; runs in the concealer's thread."""
        try:
            guessed, last = self._decoder.reader.guess(distance), self._last
            if guessed is not None and last is not None and guessed.base == last.number:
                pts = last.timestamp + distance * last.interval
                self._plugin.stats.add(frames_concealed=1)
                self._pass_on(ReceivedFrame(guessed, pts, time.time()))
        except Exception as error:  # named boundary: the top of the concealer's thread
            self._failures.note(error)

    def _complain(self) -> None:
        """Say which frame there is, so that the next message is coded from it; without any, ask for a keyframe."""
        newest = self._decoder.reader.newest
        if newest is not None:
            self._acknowledger.note_missing_base(newest)
        elif self._keyframe_requests.ask():
            self._plugin.stats.add(keyframes_requested=1)

    def _parse(self, encoded_frame: JitterFrame) -> list[ReceivedFrame]:
        """Read the frames of a packet; those before its newest get their times from the frames around them."""
        data, timestamp = encoded_frame.data, encoded_frame.timestamp
        if not isinstance(data, RtpPayload):
            raise BitstreamError(f"{len(data)} bytes that did not come as an RTP payload of this codec")
        frames = self._decoder.parse_all(unpack_payload(data), data.packets_since_last)
        newest = frames[-1].number
        is_new = data.packets_since_last >= NEW_STREAM
        self._acknowledger.note_packet(newest, 1 if is_new else data.packets_since_last)
        last = self._last or Last(newest - 1, timestamp, 0)
        last_timestamp = last.timestamp
        span = max((newest - last.number) % NUM_NUMBERS, len(frames))
        received, first_pts = [], None
        for frame in frames:
            back = (newest - frame.number) % NUM_NUMBERS
            pts = timestamp - (timestamp - last_timestamp) * back // span
            first_pts = pts if first_pts is None and not frame.is_repeated else first_pts
            wait_s = 0.0 if first_pts is None else min((pts - first_pts) / CLOCK_RATE_HZ, MAX_WAIT_S)
            received.append(ReceivedFrame(frame, pts, data.arrival_time_s, wait_s))
        self._plugin.stats.add(
            frames_recovered=sum(frame.is_repeated for frame in frames),
            frames_interpolated=sum(frame.is_interpolated for frame in frames),
        )
        self._last = Last(newest, timestamp, (timestamp - last_timestamp) // span)
        if self._plugin.conceal and self._last.interval > 0:
            interval_s = self._last.interval / CLOCK_RATE_HZ
            num_fresh = sum(not frame.is_repeated for frame in frames)
            self._concealer.note_packet(is_due_in_s=num_fresh * interval_s, interval_s=interval_s)
        return received

    def _show(self, received: ReceivedFrame) -> None:
        """Make a picture and deliver it; runs in the generator thread."""
        try:
            self._follower.follow(self._plugin.references, self._decoder)
            if not self._decoder.num_references:
                self._plugin.stats.add(pictures_without_references=1)
                return
            picture = frame_from_rgb(self._decoder.generate(received.coded))
            picture.pts = received.pts
            picture.time_base = VIDEO_TIME_BASE
            picture.opaque = received
            self._plugin.stats.add(pictures_generated=1)
            self._deliver(picture)
        except Exception as error:  # named boundary: the top of the generator thread
            self._failures.note(error)
            self._plugin.stats.add(generator_failures=1)


def _timestamp(data: Frame | Packet[Stream]) -> int:
    if data.pts is None or data.time_base is None:
        raise ConfigError("a track gave a frame without pts or time_base")
    return convert_timebase(data.pts, data.time_base, VIDEO_TIME_BASE)


def _placeholder(received: ReceivedFrame) -> av.VideoFrame:
    frame = av.VideoFrame(16, 16, "gray")
    frame.pts = received.pts
    frame.time_base = VIDEO_TIME_BASE
    frame.opaque = received
    return frame
