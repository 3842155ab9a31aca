"""Data preparation: plan, work, and put everything in its place.

PrepareConfig -> plan -> each(prepare_task) -> records -> identities -> splits -> place, manifest -> Summary
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from codec.errors import OutputError, TrainingError
from training.prepare.config import FolderConfig, PrepareConfig
from training.prepare.executor import each
from training.prepare.identity import clusters, model_folder, name_clusters
from training.prepare.place import Placed, find_clips, place, read_manifest, tidy, write_manifest
from training.prepare.plan import plan
from training.prepare.record import Cut, LeftOut, load_record, load_records, record_path, write_whole
from training.prepare.split import split_identities
from training.prepare.task import Task
from training.prepare.work import prepare_task

SHOWN_FAULTS = 20
DECIDING = ("size", "min_square", "min_s", "max_s", "max_fps", "crf", "crop", "identity", "body")
"""Settings that decide the clips; the others may change from run to run."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a prepared folder holds.

    Attributes:
        clips: placed.
        left_out: stretches that became no clip.
        faults: videos that could not be worked on; the next run tries again.
    """

    clips: tuple[Placed, ...]
    left_out: tuple[LeftOut, ...]
    faults: tuple[str, ...]

    @property
    def reasons(self) -> Counter[str]:
        """How many stretches were left out for which reason."""
        return Counter(row.reason for row in self.left_out)


def prepare(config: PrepareConfig, screen: Console) -> Summary:
    """Prepare a set, or go on with it.

    Args:
        config: of the set.
        screen: for the progress bar and the names of what cannot be used.

    Raises:
        TrainingError: a list, folder or package is missing, other settings were used here, or no clip came out.
        OutputError: a clip or record cannot be written.
    """
    if isinstance(config, FolderConfig) and config.identity == "faces":
        model_folder()
    tasks, faults = plan(config)
    check_settings(config)
    for fault in faults[:SHOWN_FAULTS]:
        screen.print(f"left out: {fault}", highlight=False, markup=False, soft_wrap=True)
    if len(faults) > SHOWN_FAULTS:
        screen.print(
            f"left out: {len(faults) - SHOWN_FAULTS} more, named in left_out.csv", highlight=False, markup=False
        )
    faults += work_on(config, tasks, screen)
    return finish(config, faults)


def check_settings(config: PrepareConfig) -> None:
    """Make sure that a folder is prepared with one set of settings.

    Raises:
        TrainingError: the folder was begun with others.
        OutputError: it cannot be written.
    """
    path = config.out / "settings.json"
    settings = {name: getattr(config, name) for name in DECIDING if hasattr(config, name)}
    settings = {"set": type(config).__name__.removesuffix("Config"), **settings}
    try:
        before = json.loads(path.read_text())
    except FileNotFoundError:
        write_whole(path, json.dumps(settings, indent=1) + "\n")
        return
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read: {error}") from error
    for name, value in settings.items():
        if before.get(name) != value:
            raise TrainingError(
                f"{config.out} was begun with {name} {before.get(name)}, not {value}; use another --out"
            )


def work_on(config: PrepareConfig, tasks: list[Task], screen: Console) -> list[str]:
    """Do what is still to be done, under a progress bar; return what could not be worked on."""
    todo = [task for task in tasks if load_record(record_path(config.out, task.key)).lacks(task)]
    jobs = min(config.jobs or os.cpu_count() or 1, max(len(todo), 1))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("videos,"))
    counts = TextColumn("{task.fields[clips]} clips, {task.fields[bad]} bad")
    faults: list[str] = []
    with Progress(*columns, counts, TimeElapsedColumn(), TimeRemainingColumn(), console=screen) as progress:
        bar = progress.add_task("preparing", total=len(tasks), completed=len(tasks) - len(todo), clips=0, bad=0)
        clips = 0
        for task, outcome in each(partial(prepare_task, config), todo, jobs, config.ray_address):
            clips += outcome.num_clips
            if outcome.fault is not None:
                faults.append(f"{task.source}: {outcome.fault}")
                progress.console.print(f"left out: {faults[-1]}", highlight=False, markup=False, soft_wrap=True)
            progress.update(bar, advance=1, clips=clips, bad=len(faults))
    return faults


def finish(config: PrepareConfig, faults: list[str]) -> Summary:
    """Find out who is who, split, move the clips and write the manifest.

    Raises:
        TrainingError: there is no clip.
        OutputError: a file cannot be moved or written.
    """
    records = list(load_records(config.out))
    lying = find_clips(config.out)
    cuts = [cut for record in records for rows in record.clips.values() for cut in rows if cut.name in lying]
    left_out = [row for record in records for rows in record.left_out.values() for row in rows]
    left_out += [LeftOut(*_source_and_reason(fault)) for fault in faults]
    placed, published_twice = placements(config, cuts)
    place(config.out, placed)
    tidy(config.out, (cut.name for cut in cuts))
    left_out += published_twice
    write_manifest(config.out, placed, left_out)
    if not placed:
        reasons = Counter(row.reason for row in left_out).most_common(1)
        raise TrainingError("no clip came out" + (f"; most often: {reasons[0][0]}" if reasons else ""))
    return Summary(tuple(placed), tuple(left_out), tuple(faults))


def placements(config: PrepareConfig, cuts: list[Cut]) -> tuple[list[Placed], list[LeftOut]]:
    """Return where each clip belongs, and clips that belong nowhere since their person is in both partitions."""
    earlier = read_manifest(config.out)
    identities = identities_of(config, cuts, {name: identity for name, (identity, _) in earlier.items()})
    published: dict[str, set[str]] = {identity: set() for identity in identities.values()}
    before: dict[str, set[str]] = {identity: set() for identity in published}
    for cut in cuts:
        if cut.partition is not None:
            published[identities[cut.name]].add(cut.partition)
        if cut.name in earlier:
            before[identities[cut.name]].add(earlier[cut.name][1])
    splits = split_identities(published, before, config.val_share, config.test_share)
    placed, twice = [], []
    for cut in cuts:
        identity = identities[cut.name]
        if splits[identity] == "test" and cut.partition == "train":
            reason = f"{identity} is in the published test partition as well"
            twice.append(LeftOut(cut.source, cut.start_s, cut.stop_s, reason))
        else:
            placed.append(Placed(cut, identity, splits[identity]))
    return placed, twice


def identities_of(config: PrepareConfig, cuts: list[Cut], earlier: dict[str, str]) -> dict[str, str]:
    """Return each clip's identity: published, named, by face, or its video."""
    named = {cut.name: cut.identity or cut.name.split("-")[0] for cut in cuts}
    embedded = [cut for cut in cuts if cut.embedding]
    if embedded and isinstance(config, FolderConfig):
        labels = clusters([cut.embedding for cut in embedded], config.same_face)
        named |= name_clusters(labels, [cut.name for cut in embedded], earlier)
    return named


def _source_and_reason(fault: str) -> tuple[str, float, float, str]:
    source, _, reason = fault.partition(": ")
    return source, 0.0, 0.0, reason
