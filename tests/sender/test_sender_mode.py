"""When pictures go as keypoints, as video, or not at all: the link, the judge, the switch."""

from __future__ import annotations

import itertools

import pytest

from sender.link import STALLED_BPS, START_BPS, Link, Probe
from sender.mode import LEAST_VIDEO_BPS, Choice, ModeSwitch
from sender.quality import FAR, GOOD, MORE_FACES, NO_FACE, UNLIKE, QualityJudge, Verdict

CROSSOVER_BPS = 40_000.0
POOR, HOPELESS = Verdict(UNLIKE), Verdict(NO_FACE, is_hopeless=True)


def test_nothing_is_known_before_the_first_report() -> None:
    link = Link()
    assert not link.is_known
    assert link.bps == START_BPS
    link.note_video_sent(0.0)
    assert not link.has_stalled(100.0)


def test_video_that_nobody_answers_is_a_stall() -> None:
    link = Link()
    link.note_report(200_000, 0.0)
    assert not link.has_stalled(5.0)  # nothing was sent
    link.note_video_sent(5.0)
    link.note_video_sent(5.3)
    assert not link.has_stalled(5.3)
    assert link.has_stalled(5.5)
    assert link.bps == STALLED_BPS
    link.note_report(15_000, 5.6)
    assert not link.has_stalled(9.0)
    link.begin_anew()
    assert not link.is_known


def ramp(probe: Probe, link_bps: float, sent_bps: float, seconds: float, start_s: float = 0.0) -> list[float]:
    """Run a probe over a link; the estimate is what came through, four times a second, half a second late."""
    padding, estimate = [], sent_bps
    for index in range(round(25 * seconds)):
        padding.append(probe.padding_bps(estimate, sent_bps, start_s + index / 25))
        if index % 6 == 0 and index > 12:
            came = sent_bps + padding[-12]
            estimate = max(estimate, came) if came <= link_bps else 0.85 * link_bps
    return padding


def test_a_probe_fills_the_link_up_step_by_step() -> None:
    probe = Probe(50_000)
    padding = ramp(probe, 500_000, 17_000, 8.0)
    begun = next(index for index, bps in enumerate(padding) if bps > 0)
    assert begun == pytest.approx(3.0 * 25, abs=2)
    assert max(padding) == pytest.approx(50_000 - 17_000)
    rising = padding[begun : begun + 25]
    assert rising == sorted(rising)
    assert rising[0] < 8_000
    assert padding[-1] == 0


def test_a_probe_that_fails_stops_at_once_and_comes_back_later_and_later() -> None:
    probe = Probe(50_000)
    padding = ramp(probe, 22_000, 17_000, 60.0)
    starts = [index / 25 for index in range(1, len(padding)) if padding[index] > 0 and padding[index - 1] == 0]
    assert 3 <= len(starts) <= 4
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(gaps))
    assert max(padding) < 25_000
    assert sum(bps > 0 for bps in padding) / 25 < 6.0
    assert probe.num_probes == len(starts)


def test_a_probe_that_hears_nothing_stops() -> None:
    probe = Probe(50_000)
    ramp(probe, 500_000, 17_000, 3.2)
    assert probe.is_running
    assert probe.padding_bps(17_000, 17_000, 3.6, silent_s=5.0) > 0  # it has only begun
    assert probe.padding_bps(17_000, 17_000, 4.0, silent_s=5.0) == 0
    assert not probe.is_running


def test_a_link_that_is_better_than_it_was_is_tried_at_once() -> None:
    probe = Probe(50_000)
    ramp(probe, 22_000, 17_000, 40.0)
    assert max(probe.padding_bps(20_000, 17_000, 40.0 + index / 25) for index in range(25)) == 0
    probe.padding_bps(32_000, 17_000, 41.0)
    assert probe.is_running


def test_a_probe_that_is_cancelled_waits() -> None:
    probe = Probe(50_000)
    ramp(probe, 500_000, 17_000, 4.0)
    assert probe.is_running
    probe.cancel(4.0)
    assert not probe.is_running
    assert max(ramp(probe, 500_000, 17_000, 2.9, start_s=4.0)) == 0


def test_no_probe_where_nothing_is_sent_or_nothing_is_wanted() -> None:
    assert max(ramp(Probe(50_000), 500_000, 0.0, 10.0)) == 0
    assert max(ramp(Probe(10_000), 500_000, 17_000, 10.0)) == 0


@pytest.mark.parametrize("choice", ["keypoints", "video"])
def test_the_user_s_choice_stands(choice: Choice) -> None:
    switch = ModeSwitch(choice, CROSSOVER_BPS)
    for bps in (1_000.0, 1_000_000.0):
        assert switch.choose(bps, False, HOPELESS, bps) == choice


def test_the_switch_has_hysteresis() -> None:
    switch = ModeSwitch("auto", CROSSOVER_BPS)
    modes = [
        switch.choose(bps, False, GOOD, 5.0 * time_s)
        for time_s, bps in enumerate([20e3, 42e3, 45e3, 47e3, 42e3, 36e3, 33e3, 36e3, 45e3, 47e3])
    ]
    short = "".join(mode[0] for mode in modes)
    assert short == "kkkvvvkkkv"


def test_it_goes_down_at_once_and_up_after_a_moment() -> None:
    switch = ModeSwitch("auto", CROSSOVER_BPS)
    assert switch.choose(1e6, False, GOOD, 0.0) == "keypoints"
    assert switch.choose(1e6, False, GOOD, 1.1) == "video"
    assert switch.choose(1e6, True, GOOD, 1.2) == "keypoints"
    assert switch.choose(1e6, False, GOOD, 5.1) == "keypoints"  # video was too much a moment ago
    assert switch.choose(1e6, False, GOOD, 5.3) == "video"
    assert switch.choose(10e3, False, GOOD, 5.4) == "keypoints"


@pytest.mark.parametrize(
    ("bps", "verdict", "mode"),
    [
        (30_000, POOR, "video"),
        (30_000, HOPELESS, "video"),
        (LEAST_VIDEO_BPS - 1, POOR, "keypoints"),
        (LEAST_VIDEO_BPS - 1, HOPELESS, "hold"),
        (100_000, HOPELESS, "video"),
    ],
)
def test_what_keypoints_cannot_show_goes_as_video_or_is_held(bps: float, verdict: Verdict, mode: str) -> None:
    switch = ModeSwitch("auto", CROSSOVER_BPS)
    assert switch.choose(bps, False, GOOD, 0.0) == "keypoints"
    assert switch.choose(bps, False, verdict, 2.0) == mode
    assert switch.choose(8_000, False, GOOD, 4.0) == "keypoints"


def test_a_face_that_is_missed_once_changes_nothing() -> None:
    judge = QualityJudge()
    judge.note_face(True, 1)
    assert judge.verdict(0.0) == GOOD
    judge.note_face(False, 0)
    assert judge.is_doubtful
    assert judge.verdict(1.0) == GOOD
    judge.note_face(True, 1)
    assert judge.verdict(1.5) == GOOD
    judge.note_face(False, 0)
    assert judge.verdict(1.6) == GOOD


def test_no_face_and_a_second_one_are_hopeless_until_it_is_over_for_a_while() -> None:
    judge = QualityJudge()
    for has_face, num_faces, reason in ((False, 0, NO_FACE), (True, 2, MORE_FACES)):
        judge.note_face(has_face, num_faces)
        judge.verdict(10.0)
        assert judge.verdict(10.8) == Verdict(reason, is_hopeless=True)
        judge.note_face(True, 1)
        assert judge.verdict(11.0).reason == reason
        assert judge.verdict(12.6) == GOOD
        judge = QualityJudge()


def test_nobody_looks_for_faces() -> None:
    judge = QualityJudge()
    judge.note_face(None, None)
    assert (judge.verdict(0.0), judge.verdict(9.0), judge.is_doubtful) == (GOOD, GOOD, False)


def look(judge: QualityJudge, errors: list[float], start_s: float) -> float:
    for index, error in enumerate(errors):
        judge.note_reconstruction(error, start_s + index)
        judge.verdict(start_s + index)
    return start_s + len(errors)


def test_a_picture_far_worse_than_usual_twice_in_a_row_speaks_against_keypoints() -> None:
    judge = QualityJudge()
    now_s = look(judge, [0.3, 0.35, 0.4] * 4 + [0.95, 0.3], 0.0)
    assert judge.verdict(now_s) == GOOD
    now_s = look(judge, [0.95, 0.95, 0.95], now_s)
    assert judge.verdict(now_s) == Verdict(UNLIKE, is_hopeless=True)
    now_s = look(judge, [0.3, 0.3, 0.3], now_s)
    assert judge.verdict(now_s) == GOOD


def test_poor_is_not_hopeless() -> None:
    judge = QualityJudge()
    now_s = look(judge, [0.46] * 12 + [0.75] * 3, 0.0)
    assert judge.verdict(now_s) == Verdict(UNLIKE, is_hopeless=False)


def test_where_all_pictures_are_bad_none_is_unusual() -> None:
    judge = QualityJudge()
    assert judge.verdict(look(judge, [0.9, 0.8, 1.0] * 10, 0.0)) == GOOD


def test_other_references_begin_anew() -> None:
    judge = QualityJudge()
    now_s = look(judge, [0.3] * 12 + [0.95] * 3, 0.0)
    assert judge.verdict(now_s).reason
    judge.forget_reconstructions()
    assert judge.usual_error is None
    judge.verdict(now_s)
    assert judge.verdict(now_s + 2) == GOOD


def test_a_slow_machine_judges_by_distance() -> None:
    judge = QualityJudge()
    judge.note_distance(0.5)
    judge.verdict(0.0)
    assert judge.verdict(1.0) == Verdict(FAR)
    judge.note_distance(0.01)
    judge.verdict(1.0)
    assert judge.verdict(3.0) == GOOD
