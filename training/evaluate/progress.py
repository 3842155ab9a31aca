"""Evaluation, many clips on the screen: a progress bar, and a line for each clip that cannot be measured."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.evaluate.pool import Row, Work, each


def with_progress(work: Work, paths: list[Path], jobs: int, screen: Console) -> dict[str, Row | str]:
    """Measure clips under a progress bar, with a line for each that cannot be measured."""
    results: dict[str, Row | str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("clips"))
    counter = TextColumn("{task.fields[frames]} frames")
    with Progress(*columns, counter, TimeRemainingColumn(), console=screen) as progress:
        task, frames = progress.add_task("measuring", total=len(paths), frames=0), 0

        def advance(more: int) -> None:
            nonlocal frames
            frames += more
            progress.update(task, frames=frames)

        for path, row in each(work, paths, jobs, advance):
            results[path.name] = row
            progress.advance(task)
            if isinstance(row, str):
                progress.console.print(f"{path.name}: {row}", highlight=False, soft_wrap=True)
    return results
