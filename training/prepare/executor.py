"""Data preparation, many videos: one after the other, in processes of this machine, or on a Ray cluster.

    work, tasks -> each -> (task, outcome), ... as they come

Only a few tasks more than can run are handed out at a time, so that a set of any length fits into memory.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

import torch

from codec.errors import TrainingError
from training.prepare.task import Task

REACH_S = 5.0
"""A Ray cluster that does not answer within this time is not there."""
AHEAD = 2
"""Tasks handed out for each that can run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        num_clips: clips that it made.
        fault: why the video could not be worked on; the next run tries again.
    """

    num_clips: int
    fault: str | None = None


ShouldStop = Callable[[], bool]
Work = Callable[[Task, ShouldStop], Outcome]


def each(work: Work, tasks: Iterable[Task], jobs: int, ray_address: str | None) -> Iterator[tuple[Task, Outcome]]:
    """Give each task's outcome as they come; when the caller leaves, unfinished tasks are stopped.

    Args:
        work: does one task; asks now and then whether it should stop. Pickled but for one job.
        tasks: what is to be done.
        jobs: processes; 1 works in this one.
        ray_address: of a Ray cluster, or local for one on this machine with ``jobs`` workers; None takes processes.

    Raises:
        TrainingError: a worker died, or Ray is not to be had.
    """
    if ray_address is not None:
        return _on_ray(work, tasks, jobs, ray_address)
    if jobs == 1:
        return ((task, work(task, _never)) for task in tasks)
    return _in_processes(work, tasks, jobs)


def _in_processes(work: Work, tasks: Iterable[Task], jobs: int) -> Iterator[tuple[Task, Outcome]]:
    context = get_context("spawn")
    stop = context.Event()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting = iter(tasks)
    with ProcessPoolExecutor(jobs, context, _start_worker, (stop, threads)) as pool:
        try:
            flight: dict[Future[Outcome], Task] = {}
            while True:
                for task in itertools.islice(waiting, AHEAD * jobs - len(flight)):
                    flight[pool.submit(_in_worker, work, task)] = task
                if not flight:
                    return
                for future in wait(flight, return_when=FIRST_COMPLETED).done:
                    yield flight.pop(future), future.result()
        except BrokenProcessPool as error:
            raise TrainingError("a worker process died, perhaps for want of memory; try fewer --jobs") from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_stop: Event | None = None


def _start_worker(stop: Event, threads: int) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one tells the others
    torch.set_num_threads(threads)


def _in_worker(work: Work, task: Task) -> Outcome:
    assert _stop is not None
    if _stop.is_set():
        raise KeyboardInterrupt
    return work(task, _stop.is_set)


def _never() -> bool:
    return False


def _on_ray(work: Work, tasks: Iterable[Task], jobs: int, address: str) -> Iterator[tuple[Task, Outcome]]:
    if find_spec("ray") is None:
        raise TrainingError("--ray-address needs Ray: pip install 'warpcall[ray]'")
    _check_reachable(address)
    ray: Any = import_module("ray")
    try:
        if address == "local":
            ray.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise TrainingError(f"no Ray cluster at {address}: {str(error).splitlines()[0]}") from error
    try:
        remote = ray.remote(num_cpus=1)(_in_ray_worker)
        shared, waiting = ray.put(work), iter(tasks)
        flight: dict[Any, Task] = {}
        while True:
            room = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1) - len(flight)
            for task in itertools.islice(waiting, max(room, 0)):
                flight[remote.remote(shared, task)] = task
            if not flight:
                return
            for done in ray.wait(list(flight))[0]:
                yield flight.pop(done), ray.get(done)
    except ray.exceptions.RayError as error:
        raise TrainingError(f"a Ray worker failed: {str(error).splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Try a HOST:PORT; Ray itself tries for minutes, and ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise TrainingError(f"no Ray cluster at {address}: {error}") from error


def _in_ray_worker(work: Work, task: Task) -> Outcome:
    torch.set_num_threads(1)
    return work(task, _never)
