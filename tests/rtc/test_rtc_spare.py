from __future__ import annotations

from codec.rtc.spare import FIRST_REST_S, LEAST_TRIED, TIMES_REMEMBERED, SpareTime

FPS = 25


def run(spare: SpareTime, seconds: float, spent_s: float, start_s: float = 0.0) -> list[bool]:
    allowed = []
    for index in range(round(seconds * FPS)):
        allowed.append(spare.is_enough(start_s + index / FPS))
        if allowed[-1]:
            spare.note(spent_s)
    return allowed


def test_work_that_fits_is_always_done() -> None:
    assert all(run(SpareTime(), 20, spent_s=0.02))


def test_work_that_takes_too_long_rests_longer_and_longer() -> None:
    allowed = run(SpareTime(), 30, spent_s=0.05)
    assert all(allowed[:LEAST_TRIED])
    changes = [index for index in range(1, len(allowed)) if allowed[index] != allowed[index - 1]]
    rests = [(b - a) / FPS for a, b in zip(changes[::2], changes[1::2], strict=False)]
    assert [round(rest) for rest in rests] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]


def test_one_slow_picture_stops_nothing() -> None:
    spare = SpareTime()
    run(spare, 4, spent_s=0.02)
    spare.note(0.5)
    assert all(run(spare, 4, spent_s=0.02, start_s=4))


def test_pictures_that_come_late_because_of_the_work_are_no_excuse() -> None:
    spare = SpareTime()
    assert all(run(spare, 1, spent_s=0.005))
    times_s = [1 + index / 10 for index in range(60)]
    allowed = []
    for time_s in times_s:
        allowed.append(spare.is_enough(time_s))
        if allowed[-1]:
            spare.note(0.055)
    assert not any(allowed[TIMES_REMEMBERED:40])


def test_a_clock_that_begins_anew_ends_no_call() -> None:
    spare = SpareTime()
    run(spare, 1, spent_s=0.05, start_s=1000)
    allowed = run(spare, 30, spent_s=0.01, start_s=0)
    assert all(allowed[round((FIRST_REST_S * 2 + 1) * FPS) :])
