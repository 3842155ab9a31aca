from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest

from codec.errors import TrainingError
from training.prepare import executor
from training.prepare.executor import Outcome, ShouldStop, each
from training.prepare.task import Task


def task(name: str) -> Task:
    return Task(name, name, None, ())


def work(folder: Path, task: Task, should_stop: ShouldStop) -> Outcome:
    if task.key == "deadly":
        os._exit(9)
    if task.key == "endless":
        (folder / "begun").touch()
        while not should_stop():
            pass
        (folder / "stopped").touch()
    return Outcome(len(task.key), "is bad" if task.key == "bad" else None)


def test_one_job_works_in_order(tmp_path: Path) -> None:
    done = list(each(partial(work, tmp_path), [task("a"), task("bad"), task("bcd")], 1, None))
    assert [(of.key, outcome) for of, outcome in done] == [
        ("a", Outcome(1)),
        ("bad", Outcome(3, "is bad")),
        ("bcd", Outcome(3)),
    ]


def test_without_ray_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="needs Ray: pip install"):
        list(each(partial(work, tmp_path), [task("a")], 1, "auto"))


def test_a_ray_cluster_that_is_not_there_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "find_spec", lambda name: name)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(TrainingError, match=f"no Ray cluster at {address}: .*refused"):
            list(each(partial(work, tmp_path), [task("a")], 2, address))


@pytest.mark.slow
def test_processes_do_all_and_stop_when_left(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(9)]
    done = {of.key for of, _ in each(partial(work, tmp_path), map(task, names), 2, None)}
    assert done == set(names)
    outcomes = each(partial(work, tmp_path), [task("a"), task("endless"), *map(task, names)], 2, None)
    next(iter(outcomes))
    while not (tmp_path / "begun").exists():
        pass
    outcomes.close()  # type: ignore[attr-defined]
    assert (tmp_path / "stopped").exists()


@pytest.mark.slow
def test_a_dying_worker_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a worker process died"):
        list(each(partial(work, tmp_path), [task("deadly")], 2, None))
