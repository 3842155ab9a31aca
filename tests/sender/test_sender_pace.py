from __future__ import annotations

import pytest

from codec.rtc import HEADER_BYTES
from sender.pace import Pace


def admitted(pace: Pace, camera_fps: float, seconds: float = 20.0) -> float:
    """Pictures a second that pass."""
    count = round(camera_fps * seconds)
    return sum(pace.admit(100.0 + index / camera_fps) for index in range(count)) / seconds


@pytest.mark.parametrize(
    ("fps", "camera_fps", "expected"), [(0, 30, 30), (30, 25, 25), (15, 30, 15), (20, 30, 20), (10, 25, 10)]
)
def test_the_rate_is_limited(fps: float, camera_fps: float, expected: float) -> None:
    assert admitted(Pace(fps), camera_fps) == pytest.approx(expected, abs=0.1)


def test_a_pause_of_the_camera_is_not_made_up_for() -> None:
    pace = Pace(10)
    assert pace.admit(0.0)
    assert pace.admit(60.0)
    assert sum(pace.admit(60.0 + index / 30) for index in range(1, 31)) <= 11


@pytest.mark.parametrize(("frames_per_packet", "expected"), [(1, 12.5), (2, 25), (4, 30)])
def test_the_wire_limit_counts_headers(frames_per_packet: int, expected: float) -> None:
    pace = Pace(30, 8_000, frames_per_packet)
    for _ in range(200):
        pace.note_payload(22)
    assert 8_000 / (8 * (22 + HEADER_BYTES)) == 12.5
    assert admitted(pace, 30) == pytest.approx(expected, abs=0.2)
    assert pace.frames_per_packet == frames_per_packet


@pytest.mark.parametrize(
    ("max_wire_bps", "shared", "fps"), [(0, 1, 30), (16_000, 1, 25), (12_000, 2, 30), (8_000, 3, 30), (4_000, 3, 18.75)]
)
def test_pictures_share_packets_before_there_are_fewer_of_them(max_wire_bps: float, shared: int, fps: float) -> None:
    pace = Pace(30, max_wire_bps)
    for _ in range(200):
        pace.note_payload(22)
    assert pace.frames_per_packet == shared
    assert admitted(pace, 30) == pytest.approx(fps, abs=0.2)


@pytest.mark.parametrize(
    ("max_wire_bps", "frames_per_packet", "step"),
    [(0, 0, "usual"), (16_000, 0, "usual"), (8_000, 0, "usual"), (4_000, 0, "coarse"), (16_000, 1, "coarse")],
)
def test_the_step_is_coarse_before_pictures_are_left_out(
    max_wire_bps: float, frames_per_packet: int, step: str
) -> None:
    pace = Pace(30, max_wire_bps, frames_per_packet)
    for _ in range(200):
        pace.note_payload(12)
    assert pace.step == step
    assert Pace(30, max_wire_bps, frames_per_packet, "fine").step == "fine"


def test_the_step_does_not_flutter() -> None:
    pace = Pace(30)
    for kbps, step in (
        (9.0, "usual"),
        (7.0, "coarse"),
        (8.2, "coarse"),
        (9.4, "coarse"),
        (11.5, "usual"),
        (8.9, "usual"),
    ):
        pace.note_peer_bitrate(round(1000 * kbps))
        assert pace.step == step, kbps


def test_the_peers_alarm_slows_the_pictures_to_a_floor() -> None:
    pace = Pace(30, frames_per_packet=1)
    for _ in range(200):
        pace.note_payload(30)
    pace.note_peer_bitrate(8_800)
    assert admitted(pace, 30) == pytest.approx(10, abs=0.2)  # a fifth is left for reports and references
    pace.note_peer_bitrate(10)
    assert pace.interval_s == pytest.approx(0.2)
    pace.note_peer_bitrate(100_000)
    assert pace.interval_s == pytest.approx(1 / 30)


def test_video_takes_fewer_pictures_on_a_thin_link_alone() -> None:
    pace = Pace(25)
    pace.note_mode(is_video=True)
    pace.note_peer_bitrate(40_000)
    assert pace.interval_s == pytest.approx(1 / 15)
    pace.note_peer_bitrate(200_000)
    assert pace.interval_s == pytest.approx(1 / 25)
    pace.note_mode(is_video=False)
    pace.note_peer_bitrate(2_500)
    assert pace.interval_s > 1 / 25


def test_a_held_picture_waits_for_no_other() -> None:
    pace = Pace(30, 8_000)
    assert pace.frames_per_packet == 3
    pace.note_mode(is_held=True)
    pace.note_payload(20)
    assert pace.frames_per_packet == 1
    pace.note_mode()
    assert pace.frames_per_packet == 1
    pace.note_payload(20)
    assert pace.frames_per_packet == 3
