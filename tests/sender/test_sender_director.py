from __future__ import annotations

import asyncio

import numpy as np
import pytest

from codec import Model
from codec.rtc import HEADER_BYTES
from codec.structs import QuantisedKeypoints
from sender.config import CodingConfig
from sender.delivery import LinkUse
from sender.director import HELD_INTERVAL_S, Director
from sender.face import FramedPicture
from sender.gain import GainCheck
from sender.held import HeldReferences
from sender.pace import Pace
from sender.reconstruct import Reconstructor
from sender.references import Candidate
from sender.stats import Book
from sender.supply import ReferenceSupply
from sender.watch import Watch


def picture(time_s: float, *, has_face: bool | None = True, num_faces: int = 1) -> FramedPicture:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return FramedPicture(rgb, round(time_s * 1e6), has_face, num_faces)


class Stage:
    """A director on a clock of its own."""

    def __init__(self, coding: CodingConfig | None = None, *, can_send_video: bool = True) -> None:
        self.now_s = 0.0
        self.holds: list[str] = []
        self.book = Book()
        self.pace = Pace(25)
        self.director = Director(coding or CodingConfig(mode="auto"), self.pace, self.book, lambda: self.now_s)
        self.director.attach(self.holds.append, can_send_video=can_send_video)
        self.sent: list[FramedPicture] = []

    @property
    def mode(self) -> str:
        return self.director.mode

    def run(self, seconds: float, bps: int, *, has_face: bool | None = True, num_faces: int = 1) -> None:
        self.sent.clear()
        for _ in range(round(25 * seconds)):
            self.director.note_report(bps)
            directed = self.director.direct(picture(self.now_s, has_face=has_face, num_faces=num_faces))
            if directed is not None:
                self.sent.append(directed)
                self.director.note_sent(600 if directed.video_bps else 20, is_video=directed.video_bps is not None)
            self.now_s += 0.04


def test_keypoints_on_a_thin_link_and_video_on_a_wide_one() -> None:
    stage = Stage()
    stage.run(3, 20_000)
    assert stage.mode == "keypoints"
    assert all(sent.video_bps is None for sent in stage.sent)
    stage.run(3, 150_000)
    assert stage.mode == "video"
    bps = stage.sent[-1].video_bps
    assert bps is not None
    assert bps + 25 * HEADER_BYTES * 8 == pytest.approx(0.85 * 150_000, abs=2_000)
    stage.run(1, 20_000)
    assert stage.mode == "keypoints"
    assert [change["mode"] for change in stage.book.mode_changes] == ["video", "keypoints"]
    assert stage.holds == []


def test_video_is_bounded_by_its_own_and_by_the_user_s_limit() -> None:
    stage = Stage()
    stage.run(3, 5_000_000)
    assert stage.sent[-1].video_bps == 250_000 - 25 * HEADER_BYTES * 8
    stage = Stage(CodingConfig(mode="auto", max_kbps=30))
    stage.run(3, 5_000_000)
    assert stage.mode == "keypoints"
    assert stage.director.bandwidth_bps == 30_000


def test_a_thin_link_takes_fewer_pictures_of_video() -> None:
    stage = Stage()
    stage.run(3, 60_000)
    assert stage.mode == "video"
    assert stage.pace.interval_s == pytest.approx(1 / 15)
    stage.run(3, 200_000)
    assert stage.pace.interval_s == pytest.approx(1 / 25)


def test_without_a_face_the_last_good_picture_is_held_and_people_are_told() -> None:
    stage = Stage()
    stage.run(2, 12_000)
    last_good = stage.sent[-1].capture_time_us
    stage.run(4, 12_000, has_face=False, num_faces=0)
    assert stage.mode == "hold"
    assert stage.holds == ["no face is seen"]
    held = [sent for sent in stage.sent if sent.rgb is not None and sent.has_face]
    assert last_good < held[0].capture_time_us
    times = np.diff([sent.capture_time_us / 1e6 for sent in held])
    assert times.min() >= HELD_INTERVAL_S - 0.001
    stage.run(2.5, 12_000)
    assert stage.mode == "keypoints"
    assert stage.holds == ["no face is seen", ""]


def test_a_second_face_goes_as_video_where_there_is_room() -> None:
    stage = Stage()
    stage.run(2, 28_000)
    assert stage.mode == "keypoints"
    stage.run(3, 28_000, num_faces=2)
    assert stage.mode == "video"
    stage.run(3, 28_000)
    assert stage.mode == "keypoints"
    assert stage.holds == []


def test_video_that_stalls_is_given_up() -> None:
    stage = Stage()
    stage.run(3, 150_000)
    assert stage.mode == "video"
    for _ in range(15):
        directed = stage.director.direct(picture(stage.now_s))
        assert directed is not None
        stage.director.note_sent(600, is_video=directed.video_bps is not None)
        stage.now_s += 0.04
    assert stage.mode == "keypoints"


def test_padding_only_where_it_may_lead_to_video() -> None:
    def padding(stage: Stage, bps: int) -> int:
        total = 0
        for _ in range(150):
            stage.run(0.04, bps)
            total += stage.director.padding_bytes()
        return total

    assert padding(Stage(), 25_000) > 500
    assert padding(Stage(CodingConfig(mode="keypoints")), 25_000) == 0
    assert padding(Stage(can_send_video=False), 25_000) == 0
    assert padding(Stage(), 500_000) == 0


def test_a_peer_without_video_gets_keypoints() -> None:
    stage = Stage(can_send_video=False)
    stage.run(3, 500_000)
    assert stage.mode == "keypoints"
    assert stage.sent[-1].video_bps is None
    stage.director.detach()
    assert stage.mode == "keypoints"


async def test_the_newest_picture_is_looked_at(tiny_model: Model) -> None:
    stage = Stage()
    reconstructor = Reconstructor(tiny_model)
    check = GainCheck(reconstructor, 50)
    supply = ReferenceSupply(tiny_model.config, 4, stage.book, check, lambda: LinkUse(20_000.0, 17_000.0))
    reference = check.code(Candidate(picture(0).rgb, np.zeros((20, 2)), 1.0))
    held = HeldReferences(4)
    held.send(reference)
    held.acknowledge(reference.sha256)
    supply.__dict__["_held"] = held
    stage.run(0.04, 20_000)
    looked = asyncio.Event()
    judge = stage.director.judge
    errors: list[float] = []

    def note(worst_error: float, time_s: float) -> None:
        errors.append(worst_error)
        looked.set()

    judge.__dict__["note_reconstruction"] = note
    task = asyncio.create_task(Watch(stage.director, supply, reconstructor).run())
    async with asyncio.timeout(20):
        await looked.wait()
    task.cancel()
    assert 0 < errors[0] <= 2
    distances: list[float] = []

    def note_distance(distance: float) -> None:
        distances.append(distance)
        looked.set()

    judge.__dict__["note_distance"] = note_distance
    looked.clear()
    reconstructor.picture_s = 5.0
    stage.run(0.04, 20_000)
    task = asyncio.create_task(Watch(stage.director, supply, reconstructor).run())
    async with asyncio.timeout(20):
        await looked.wait()
    task.cancel()
    assert distances[0] > 0
    assert isinstance(reconstructor.find(picture(0).rgb), QuantisedKeypoints)
