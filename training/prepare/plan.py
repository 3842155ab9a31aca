"""Data preparation, first step: from the settings of a set to what is to be cut out of which video.

PrepareConfig -> lists or folder -> Task, Task, ... and what cannot be planned
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from codec.errors import TrainingError
from training.prepare.config import (
    FolderConfig,
    PrepareConfig,
    PublishedConfig,
    TalkingHeadConfig,
    TedTalkConfig,
    VoxCeleb2Config,
)
from training.prepare.download import check_downloader, find_videos
from training.prepare.folder import folder_tasks
from training.prepare.metadata import read_metadata
from training.prepare.talkinghead import PARTITIONS, read_tubes
from training.prepare.task import ChunkFrames, Span, Task, keys_of
from training.prepare.voxceleb import read_annotations

Spans = Mapping[str, list[Span]]


def plan(config: PrepareConfig) -> tuple[list[Task], list[str]]:
    """Plan a set.

    Returns:
        The tasks, and one line for each video, row or file that cannot be used.

    Raises:
        TrainingError: a list or folder cannot be used, or there is nothing to do.
    """
    if isinstance(config, FolderConfig):
        tasks, faults = folder_tasks(config.clips, config.identity, config.out)
    elif isinstance(config, PublishedConfig):
        spans, faults = _published(config)
        tasks, missing = published_tasks(spans, find_videos(config.videos))
        if config.download:
            check_downloader((task.source for task in missing), config.videos)
            tasks += missing
        else:
            faults += [f"{task.source}: is not in {config.videos}" for task in missing]
    else:
        raise TypeError(f"no set has settings of the type {type(config).__name__}")
    if not tasks:
        raise TrainingError(f"nothing to prepare; {len(faults)} cannot be used, the first: {faults[0]}")
    return tasks, faults


def _published(config: PublishedConfig) -> tuple[Spans, list[str]]:
    """Read the lists of a published set: spans by YouTube id, and what cannot be read."""
    if isinstance(config, TalkingHeadConfig):
        parts = [read_tubes(config.lists / f"{part}_video_tubes.txt", PARTITIONS[part]) for part in config.parts]
    elif isinstance(config, VoxCeleb2Config):
        lists = [(config.list, "train")] + ([(config.test_list, "test")] if config.test_list else [])
        parts = [
            read_annotations(path, partition) if path.is_dir() else read_metadata(path, people=True)
            for path, partition in lists
        ]
    elif isinstance(config, TedTalkConfig):
        parts = [read_metadata(config.list, people=False)]
    else:
        raise TypeError(f"no set has settings of the type {type(config).__name__}")
    spans: dict[str, list[Span]] = {}
    for part, _ in parts:
        for video, more in part.items():
            spans.setdefault(video, []).extend(more)
    faults = [fault for _, faults in parts for fault in faults]
    if not spans and not faults:
        raise TrainingError("the list is empty")
    return spans, faults


def published_tasks(spans: Spans, found: Mapping[str, Path]) -> tuple[list[Task], list[Task]]:
    """Return the tasks of videos that are there, and of those that are missing.

    Args:
        spans: by YouTube id.
        found: files by their names without suffix. Besides whole videos, the pieces of a minute that TalkingHead-1KH's
            own scripts leave (ID_0000, ID_0001, ...) are taken.
    """
    keys = keys_of({video: video for video in spans})
    there, missing = [], []
    for video, wanted in spans.items():
        key = keys[video]
        mine = _unique([dataclasses.replace(span, identity=key) if span.identity is None else span for span in wanted])
        if video in found:
            there.append(Task(key, video, found[video], mine))
            continue
        pieces: dict[str, list[Span]] = {}
        for span in mine:
            piece = f"{video}_{span.when.chunk:04d}" if isinstance(span.when, ChunkFrames) else ""
            pieces.setdefault(piece if piece in found else "", []).append(span)
        absent = pieces.pop("", [])
        there += [
            Task(f"{key}.{piece[-4:]}", piece, found[piece], tuple(_first_chunk(span) for span in parts))
            for piece, parts in pieces.items()
        ]
        if absent:
            missing.append(Task(key, video, None, tuple(absent)))
    return there, missing


def _first_chunk(span: Span) -> Span:
    assert isinstance(span.when, ChunkFrames)
    return dataclasses.replace(span, when=dataclasses.replace(span.when, chunk=0))


def _unique(spans: list[Span]) -> tuple[Span, ...]:
    """Drop repeated lines; number spans that differ but are called the same."""
    count: dict[str, int] = {}
    unique = []
    for span in dict.fromkeys(spans):
        count[span.name] = count.get(span.name, 0) + 1
        number = count[span.name]
        unique.append(span if number == 1 else dataclasses.replace(span, name=f"{span.name}.{number}"))
    return tuple(unique)
