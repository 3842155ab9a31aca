from __future__ import annotations

import fractions
import queue
import threading

import av
import numpy as np
import pytest
import torch
from aiortc.jitterbuffer import JitterFrame
from av.frame import Frame

from codec import Encoder, Model
from codec.config import STEPS, Step
from codec.encoder import Encoder as PatchedEncoder
from codec.errors import BitstreamError
from codec.frames import Rgb, frame_from_rgb
from codec.references import reference_tags
from codec.rtc import Plugin, ReceivedFrame, square_rgb
from codec.rtc.adapters import DecoderAdapter, EncoderAdapter
from codec.rtc.payload import MAX_PAYLOAD_BYTES, RtpPayload
from codec.structs import EncodedFrame, Integers, Keypoints

TIMEOUT_S = 20.0


class Receiver:
    """What a track gets of a decoder."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.frames: list[av.VideoFrame] = []
        self.guesses: queue.Queue[ReceivedFrame] = queue.Queue()
        self.num_requests = 0
        self.acknowledged: list[int] = []
        self.adapter = DecoderAdapter(plugin, self._request, self._deliver, self.acknowledged.append)
        self._delivered = threading.Semaphore(0)

    def _request(self) -> None:
        self.num_requests += 1

    def _deliver(self, frame: av.VideoFrame) -> None:
        if isinstance(frame.opaque, ReceivedFrame) and frame.opaque.coded.is_concealed:
            self.guesses.put(frame.opaque)
            return
        self.frames.append(frame)
        self._delivered.release()

    def feed(self, payload: bytes, timestamp: int = 0, packets_since_last: int = 1) -> None:
        arrived = RtpPayload.arrived(payload)
        arrived.packets_since_last = packets_since_last
        assert self.adapter.decode(JitterFrame(arrived, timestamp)) == []

    @property
    def numbers(self) -> list[tuple[int, int]]:
        """Numbers and times of the frames."""
        opaques = [frame.opaque for frame in self.frames]
        return [(opaque.coded.number, opaque.pts) for opaque in opaques if isinstance(opaque, ReceivedFrame)]

    def wait(self) -> av.VideoFrame:
        assert self._delivered.acquire(timeout=TIMEOUT_S)
        return self.frames[-1]


@pytest.fixture
def messages(tiny_model: Model) -> list[EncodedFrame]:
    encoder = Encoder(tiny_model)
    size = tiny_model.config.image_size
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return [encoder.encode(np.roll(picture, shift, axis=1)) for shift in range(8)]


def frame_of(rgb: Rgb, pts: int | None = 0) -> av.VideoFrame:
    frame = frame_from_rgb(rgb)
    frame.pts = pts
    frame.time_base = fractions.Fraction(1, 30)
    return frame


def noise(width: int, height: int) -> Rgb:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_message_goes_from_adapter_to_adapter(tiny_model: Model) -> None:
    reports: list[tuple[EncodedFrame, int, object]] = []
    plugin = Plugin(
        tiny_model, pictures="deferred", on_encoded=lambda encoded, pts, opaque: reports.append((encoded, pts, opaque))
    )
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    for index in range(3):
        frame = frame_of(np.roll(noise(64, 64), index, axis=0), pts=index)
        frame.opaque = f"frame {index}"
        [payload], timestamp = sender.encode(frame)
        assert timestamp == 3000 * index
        receiver.feed(payload, timestamp)
    assert [(pts, opaque) for _, pts, opaque in reports] == [(0, "frame 0"), (3000, "frame 1"), (6000, "frame 2")]
    received = [frame.opaque for frame in receiver.frames]
    assert all(isinstance(opaque, ReceivedFrame) for opaque in received)
    for (encoded, pts, _), opaque in zip(reports, received, strict=True):
        assert isinstance(opaque, ReceivedFrame)
        assert (opaque.coded.number, opaque.pts) == (encoded.number, pts)
        np.testing.assert_array_equal(opaque.coded.keypoints.values_K3, encoded.keypoints.values_K3)
    counts = plugin.stats.snapshot()
    assert (counts.frames_sent, counts.frames_received, counts.keyframes_sent) == (3, 3, 1)
    assert counts.payload_bytes_sent == counts.payload_bytes_received == sum(len(e.payload) for e, _, _ in reports)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 64), (320, 180), (180, 320), (48, 40), (1280, 720)])
def test_the_centre_square_of_any_picture_is_coded(width: int, height: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 200
    square = square_rgb(av.VideoFrame.from_ndarray(pixels, format="rgb24"), 64)
    assert square.shape == (64, 64, 3)
    assert square[2:-2, 2:-2].min() > 190


def test_a_keyframe_is_sent_on_request_only(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model)
    sender = EncoderAdapter(plugin)
    frame = frame_of(noise(64, 64))
    for force_keyframe in (False, False, True, False):
        assert sender.encode(frame, force_keyframe)[0]
    assert plugin.stats.snapshot().keyframes_sent == 2


@pytest.mark.parametrize(
    "bad",
    [av.AudioFrame(samples=8), frame_of(np.zeros((64, 64, 3), np.uint8), pts=None)],
    ids=["audio", "no pts"],
)
def test_a_frame_that_cannot_be_coded_is_left_out(tiny_model: Model, bad: Frame) -> None:
    plugin = Plugin(tiny_model)
    sender = EncoderAdapter(plugin)
    assert sender.encode(bad) == ([], 0)
    assert sender.encode(frame_of(noise(64, 64)))[0]
    assert plugin.stats.snapshot().encode_failures == 1


def test_a_failing_encoder_is_followed_by_a_keyframe(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Plugin(tiny_model)
    sender = EncoderAdapter(plugin)
    frame = frame_of(noise(64, 64))
    assert sender.encode(frame)[0]
    with monkeypatch.context() as patch:
        patch.setattr(PatchedEncoder, "write", lambda *_, **__: 1 // 0)
        assert [sender.encode(frame, force_keyframe=True) for _ in range(3)] == [([], 0)] * 3
    assert sender.encode(frame)[0]
    counts = plugin.stats.snapshot()
    assert (counts.encode_failures, counts.frames_sent, counts.keyframes_sent) == (3, 2, 2)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "a frame was not encoded: ZeroDivisionError: integer division or modulo by zero"
    ]


def test_a_failing_callback_costs_no_frame(tiny_model: Model, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the program's fault")

    plugin = Plugin(tiny_model, on_encoded=fail, on_target_bitrate=fail)
    sender = EncoderAdapter(plugin)
    assert sender.encode(frame_of(noise(64, 64)))[0]
    sender.target_bitrate = 30_000
    assert sender.target_bitrate == 30_000
    assert plugin.stats.snapshot().frames_sent == 1
    assert caplog.messages == ["a callback of the program failed: RuntimeError: the program's fault"]


def test_the_target_bitrate_is_reported(tiny_model: Model) -> None:
    asked: list[int] = []
    EncoderAdapter(Plugin(tiny_model, on_target_bitrate=asked.append)).target_bitrate = 12_345
    assert asked == [12_345]


def test_coded_packets_can_be_sent(tiny_model: Model, messages: list[EncodedFrame]) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    packet = av.Packet(messages[0].payload)
    packet.pts, packet.time_base = 2, fractions.Fraction(1, 30)
    payloads, timestamp = sender.pack(packet)
    assert (payloads, timestamp) == ([messages[0].payload], 6000)
    receiver.feed(payloads[0])
    assert len(receiver.frames) == 1
    assert sender.pack(av.Packet(bytes(MAX_PAYLOAD_BYTES + 1))) == ([], 0)
    assert plugin.stats.snapshot().encode_failures == 1


def test_every_truncation_and_bit_flip_is_survived(tiny_model: Model, messages: list[EncodedFrame]) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    receiver = Receiver(plugin)
    receiver.feed(messages[0].payload)
    num_fed = 1
    for message in (messages[0], messages[1]):
        payload = message.payload
        flips = [
            payload[:position] + bytes([payload[position] ^ 1 << bit]) + payload[position + 1 :]
            for position in range(len(payload))
            for bit in range(8)
        ]
        truncations = [payload[:size] for size in range(len(payload))]
        extensions = [payload + b"\x00", payload * 2, payload + bytes(MAX_PAYLOAD_BYTES), bytes(65_000)]
        for hostile in flips + truncations + extensions:
            receiver.feed(hostile)
            num_fed += 1
    counts = plugin.stats.snapshot()
    # Some flips are frames like any other, and a message may have several.
    assert counts.undecodable_dropped <= num_fed <= counts.frames_received + counts.undecodable_dropped
    assert counts.undecodable_dropped > num_fed // 4
    assert receiver.num_requests == counts.keyframes_requested > 0
    num_before = len(receiver.frames)
    receiver.feed(messages[0].payload)
    receiver.feed(messages[1].payload)
    assert len(receiver.frames) == num_before + 2


def test_without_any_frame_a_keyframe_is_asked_for_once(tiny_model: Model, messages: list[EncodedFrame]) -> None:
    receiver = Receiver(Plugin(tiny_model, pictures="deferred"))
    assert not messages[2].is_keyframe
    for message in messages[2:]:
        receiver.feed(message.payload)
    assert receiver.num_requests == 1
    assert receiver.acknowledged == []
    receiver.feed(messages[0].payload)
    assert len(receiver.frames) == 1


def test_a_missing_base_is_answered_by_the_newest_frame_that_is_there(
    tiny_model: Model, messages: list[EncodedFrame]
) -> None:
    receiver = Receiver(Plugin(tiny_model, pictures="deferred"))
    receiver.feed(messages[0].payload)
    receiver.feed(messages[1].payload)
    assert receiver.acknowledged == []
    receiver.feed(messages[4].payload, packets_since_last=3)
    receiver.feed(messages[5].payload)
    assert receiver.acknowledged == [messages[1].number]
    assert receiver.num_requests == 0


def test_after_an_acknowledgement_no_loss_matters(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    payloads = [sender.encode(frame_of(np.roll(noise(64, 64), i, axis=0), pts=i))[0][0] for i in range(9)]
    receiver.feed(payloads[0])
    receiver.feed(payloads[8], packets_since_last=8)
    assert len(receiver.frames) == 1
    [number] = receiver.acknowledged
    sender.note_acknowledged(number)
    [payload], timestamp = sender.encode(frame_of(noise(64, 64), pts=9))
    receiver.feed(payload, timestamp, packets_since_last=1)
    assert [number for number, _ in receiver.numbers] == [0, 7, 8, 9]
    assert plugin.stats.snapshot().keyframes_sent == 1


def test_a_receiver_that_has_nothing_of_use_gets_a_keyframe(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    sender = EncoderAdapter(plugin)
    for index in range(3):
        sender.encode(frame_of(noise(64, 64), pts=index))
    sender.note_acknowledged(40_000)
    sender.encode(frame_of(noise(64, 64), pts=3))
    assert plugin.stats.snapshot().keyframes_sent == 2


def test_lost_frames_come_with_the_next_packet_at_their_own_times(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", repeats=2)
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    coded = [sender.encode(frame_of(np.roll(noise(64, 64), i, axis=0), pts=i)) for i in range(6)]
    for index, since_last in ((0, 1), (1, 1), (4, 3), (5, 1)):
        receiver.feed(coded[index][0][0], coded[index][1], since_last)
    assert receiver.numbers == [(index, 3000 * index) for index in range(6)]
    assert plugin.stats.snapshot().frames_recovered == 2


def test_pictures_share_a_packet(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", repeats=0, frames_per_packet=3)
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    for index in range(10):
        payloads, timestamp = sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index))
        assert len(payloads) == (index % 3 == 0)
        for payload in payloads:
            receiver.feed(payload, timestamp)
    assert receiver.numbers == [(i, 3000 * i) for i in range(10)]
    counts = plugin.stats.snapshot()
    assert (counts.frames_sent, counts.frames_received, counts.frames_recovered) == (10, 10, 0)


def test_pictures_that_share_a_packet_are_interpolated_where_nothing_moves(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", repeats=0, frames_per_packet=3)
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    for index in range(7):
        payloads, timestamp = sender.encode(frame_of(noise(64, 64), pts=index))
        for payload in payloads:
            receiver.feed(payload, timestamp)
    assert receiver.numbers == [(i, 3000 * i) for i in range(7)]
    assert plugin.stats.snapshot().frames_interpolated == 4


def test_how_many_pictures_share_a_packet_may_change_in_a_call(tiny_model: Model) -> None:
    shared = iter([1, 1, 3, 3, 3, 3, 2, 2, 2, 1])
    plugin = Plugin(tiny_model, pictures="deferred", repeats=0, frames_per_packet=lambda: next(shared))
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    sent = []
    for index in range(9):
        payloads, timestamp = sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index))
        sent.append(len(payloads))
        for payload in payloads:
            receiver.feed(payload, timestamp)
    assert sent == [1, 0, 0, 1, 0, 1, 0, 1, 1]
    assert receiver.numbers == [(i, 3000 * i) for i in range(9)]


def test_the_step_may_change_in_a_call(tiny_model: Model) -> None:
    names: list[Step] = ["fine", "fine", "usual", "coarse", "coarse", "usual"]
    steps = iter(names)
    plugin = Plugin(tiny_model, pictures="deferred", repeats=1, step=lambda: next(steps))
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    scales = []
    for index in range(len(names)):
        [payload], timestamp = sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index))
        receiver.feed(payload, timestamp)
        scales.append(sender._encoder.writer.scale)
    assert scales == [STEPS.index(name) for name in names]
    assert receiver.numbers == [(i, 3000 * i) for i in range(len(names))]


def test_a_frame_that_does_not_come_is_guessed_for_its_time(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    coded = [sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index)) for index in range(3)]
    for [payload], timestamp in coded:  # together, however long the network took
        receiver.feed(payload, timestamp)
    guesses = [receiver.guesses.get(timeout=TIMEOUT_S) for _ in range(3)]
    assert [(guess.coded.number, guess.pts) for guess in guesses] == [(3, 9000), (4, 12000), (5, 15000)]
    assert all(guess.coded.base == 2 for guess in guesses)
    assert plugin.stats.snapshot().frames_concealed >= 3
    receiver.adapter.close()


def test_nothing_is_guessed_where_that_is_not_wanted(tiny_model: Model) -> None:
    before = set(threading.enumerate())  # tests before this one may have left theirs
    plugin = Plugin(tiny_model, pictures="deferred", conceal=False)
    sender, receiver = EncoderAdapter(plugin), Receiver(plugin)
    for index in range(3):
        [payload], timestamp = sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index))
        receiver.feed(payload, timestamp)
    assert not any(thread.name == "warpcall-concealer" for thread in set(threading.enumerate()) - before)
    assert receiver.guesses.empty()


def test_keypoints_are_aligned_to_what_the_receiver_holds(tiny_model: Model) -> None:
    pictures = [np.roll(noise(64, 64), index, axis=0) for index in range(5)]
    found: dict[str, list[Integers]] = {}
    for align, num_aligned in (("on", 2), ("off", 0)):
        values = found.setdefault(align, [])
        plugin = Plugin(
            tiny_model,
            align=align,  # type: ignore[arg-type]
            on_encoded=lambda encoded, *_, values=values: values.append(encoded.keypoints.values_K3),
        )
        sender = EncoderAdapter(plugin)
        for index, rgb in enumerate(pictures):
            plugin.sent_references.replace([("ab" * 32, pictures[0])] if 2 <= index < 4 else [])
            sender.encode(frame_of(rgb, pts=index), force_keyframe=True)
        assert plugin.stats.snapshot().frames_aligned == num_aligned
        assert plugin.stats.snapshot().encode_failures == 0
    alike = [np.array_equal(on, off) for on, off in zip(found["on"], found["off"], strict=True)]
    assert alike == [True, True, False, False, True]


def test_alignment_can_be_switched_off_and_rests_where_there_is_no_time(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for align, slow_s, expected in (("off", 0.0, 0), ("auto", 0.0, 20), ("auto", 0.05, 8)):
        named: set[int] = set()
        plugin = Plugin(
            tiny_model,
            pictures="deferred",
            align=align,  # type: ignore[arg-type]
            on_encoded=lambda encoded, *_, named=named: named.add(encoded.reference),
        )
        plugin.sent_references.replace([("ab" * 32, noise(64, 64))])
        sender, clock_s = EncoderAdapter(plugin), [0.0]

        def tick(clock_s: list[float] = clock_s, slow_s: float = slow_s) -> float:
            clock_s[0] += slow_s
            return clock_s[0]

        with monkeypatch.context() as patch:
            patch.setattr("codec.rtc.adapters.time.monotonic", tick)
            if not slow_s:
                patch.setattr("codec.rtc.adapters.time.monotonic", lambda: 0.0)
            for index in range(20):
                sender.encode(frame_of(np.roll(noise(64, 64), index, axis=0), pts=index))
        assert plugin.stats.snapshot().frames_aligned == expected
        assert plugin.stats.snapshot().encode_failures == 0
        assert named == ({0} if align == "off" else set(reference_tags(["ab" * 32])))  # named without time, too


def test_a_face_at_rest_is_sent_now_and_then(tiny_model: Model) -> None:
    plugin = Plugin(tiny_model, pictures="deferred", rest_fps=10)
    sender = EncoderAdapter(plugin)
    still = [len(sender.encode(frame_of(noise(64, 64), pts=index))[0]) for index in range(9)]
    assert still == [1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert len(sender.encode(frame_of(noise(64, 64), pts=0))[0]) == 1
    assert len(sender.encode(frame_of(255 - noise(64, 64), pts=9), force_keyframe=True)[0]) == 1
    assert plugin.stats.snapshot().frames_at_rest == 6


def test_a_face_that_moves_is_not_at_rest(tiny_model: Model) -> None:
    writer = Encoder(tiny_model).writer
    locations, strengths = torch.zeros(1, 20, 2), torch.full((1, 20), 0.5)
    assert not writer.is_at_rest(Keypoints(locations, strengths))
    writer.write(Keypoints(locations, strengths))
    writer.write(Keypoints(locations, strengths))
    assert writer.is_at_rest(Keypoints(locations, strengths))
    assert not writer.is_at_rest(Keypoints(locations + 0.1, strengths))


def test_bytes_that_came_another_way_are_refused(tiny_model: Model, messages: list[EncodedFrame]) -> None:
    plugin = Plugin(tiny_model, pictures="deferred")
    receiver = Receiver(plugin)
    assert receiver.adapter.decode(JitterFrame(messages[0].payload, 0)) == []
    assert plugin.stats.snapshot().undecodable_dropped == 1


def test_inline_pictures_carry_their_frame(tiny_model: Model, reference: Rgb, messages: list[EncodedFrame]) -> None:
    receiver = Receiver(Plugin(tiny_model, references=[reference]))
    receiver.feed(messages[0].payload, 9000)
    picture = receiver.wait()
    receiver.adapter.close()
    assert (picture.width, picture.height, picture.pts) == (64, 64, 9000)
    assert isinstance(picture.opaque, ReceivedFrame)
    assert picture.opaque.coded.number == messages[0].number


def test_references_may_come_during_the_call(tiny_model: Model, reference: Rgb, messages: list[EncodedFrame]) -> None:
    plugin = Plugin(tiny_model)
    receiver = Receiver(plugin)
    receiver.feed(messages[0].payload)
    while not plugin.stats.snapshot().pictures_without_references:
        threading.Event().wait(0.001)
    assert not receiver.frames
    plugin.references = [reference]
    receiver.feed(messages[1].payload)
    first = receiver.wait().to_ndarray(format="rgb24")
    plugin.references.add("another", np.ascontiguousarray(reference[::-1]))
    plugin.references = [reference[::-1]]
    receiver.feed(messages[2].payload)
    second = receiver.wait().to_ndarray(format="rgb24")
    receiver.adapter.close()
    assert np.abs(first.astype(int) - second.astype(int)).max() > 0


def test_a_failing_generator_is_survived(
    tiny_model: Model, reference: Rgb, messages: list[EncodedFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Plugin(tiny_model, references=[reference])
    receiver = Receiver(plugin)

    def fail(*_: object) -> Rgb:
        raise BitstreamError("keypoints of another world")

    with monkeypatch.context() as patch:
        patch.setattr("codec.decoder.Decoder.generate", fail)
        receiver.feed(messages[0].payload)
        while not plugin.stats.snapshot().generator_failures:
            threading.Event().wait(0.001)
    receiver.feed(messages[1].payload)
    receiver.wait()
    receiver.adapter.close()
    assert plugin.stats.snapshot().pictures_generated == 1


def test_a_reference_of_the_wrong_size_is_survived(tiny_model: Model, messages: list[EncodedFrame]) -> None:
    plugin = Plugin(tiny_model, references=[noise(32, 32)])
    receiver = Receiver(plugin)
    receiver.feed(messages[0].payload)
    while not plugin.stats.snapshot().generator_failures:
        threading.Event().wait(0.001)
    plugin.references = [noise(64, 64)]
    receiver.feed(messages[1].payload)
    receiver.wait()
    receiver.adapter.close()
