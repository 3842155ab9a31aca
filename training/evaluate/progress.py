"""Evaluation, many clips on the screen: a progress bar, and a line for each clip that cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.evaluate.pool import Item, Row, Work, each


def with_progress(
    work: Work[Item], items: Sequence[Item], jobs: int, screen: Console, noun: str = "clips"
) -> dict[str, Row | str]:
    """Measure clips, or parts of the work on them, under a bar, with a line for each that cannot be measured."""
    results: dict[str, Row | str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(noun))
    counter = TextColumn("{task.fields[frames]} frames")
    with Progress(*columns, counter, TimeRemainingColumn(), console=screen) as progress:
        task, frames = progress.add_task("measuring", total=len(items), frames=0), 0

        def advance(more: int) -> None:
            nonlocal frames
            frames += more
            progress.update(task, frames=frames)

        for item, row in each(work, items, jobs, advance):
            results[item.name] = row
            progress.advance(task)
            if isinstance(row, str):
                progress.console.print(f"{item.name}: {row}", highlight=False, soft_wrap=True)
    return results
