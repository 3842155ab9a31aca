"""Command line of the evaluations: ``python -m training.evaluate COMMAND``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from codec import load_model
from codec.errors import TrainingError, WarpcallError
from training.evaluate.cache import check_place, write_json, write_text
from training.evaluate.clips import find_clips, read_clip
from training.evaluate.config import RateDistortionConfig, ReconstructConfig, StripConfig
from training.evaluate.plot import draw
from training.evaluate.pool import Row, Work, each
from training.evaluate.rate_distortion import measure_rates, open_run
from training.evaluate.reconstruct import measure, open_workbench
from training.evaluate.report import document, rate_document, rate_markdown, rate_table, tables
from training.evaluate.strip import strip_of, write_strip

Command = (
    Annotated[ReconstructConfig, tyro.conf.subcommand("reconstruct")]
    | Annotated[RateDistortionConfig, tyro.conf.subcommand("rd")]
    | Annotated[StripConfig, tyro.conf.subcommand("strip")]
)

TABLE_WIDTH = 120


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


def reconstruct(config: ReconstructConfig, command: str, screen: Console) -> None:
    """Measure a folder of clips and write the result.

    Raises:
        TrainingError: no clip, no metric weights, or no clip could be measured.
        WeightsError: the model's weights cannot be used.
        OutputError: a result cannot be written.
    """
    paths = find_clips(config.clips, config.limit)
    check_place(config.out)
    workbench = open_workbench(config)
    results = with_progress(partial(measure, config), paths, config.jobs, screen)
    result = document(config, command, workbench, results)
    write_json(config.out, result)
    if len(result["skipped"]) == len(paths):
        raise TrainingError(f"none of {len(paths)} clip(s) could be measured; {config.out} gives the reasons")
    for drawn in tables(result):
        Console(width=max(TABLE_WIDTH, screen.width)).print(drawn)
    screen.print(f"wrote {config.out}", highlight=False)


def rate_distortion(config: RateDistortionConfig, command: str, screen: Console) -> None:
    """Measure bitrate against quality on a folder of clips and write JSON and curves.

    Raises:
        TrainingError: no clip, no metric weights, no matplotlib, or no clip could be measured.
        WeightsError: the model's weights cannot be used.
        OutputError: a result cannot be written.
    """
    paths = find_clips(config.clips, config.limit)
    check_place(config.out / "rd.json")
    run = open_run(config)
    results = with_progress(partial(measure_rates, config), paths, config.jobs, screen)
    result = rate_document(config, command, run, results)
    write_json(config.out / "rd.json", result)
    if len(result["skipped"]) == len(paths):
        raise TrainingError(
            f"none of {len(paths)} clip(s) could be measured; {config.out / 'rd.json'} gives the reasons"
        )
    for name, reason in result["failures"].items():
        screen.print(f"{name} bit/s: {reason}", highlight=False, soft_wrap=True)
    Console(width=max(TABLE_WIDTH, screen.width)).print(rate_table(result["points"]))
    write_text(config.out / "rd.md", rate_markdown(result))
    size = run.model.config.image_size
    title = f"{len(paths) - len(result['skipped'])} clip(s), first {config.seconds:g} s, {size} x {size}"
    draw(result["points"], title, [config.out / "rd.png", config.out / "rd.svg"])
    screen.print(f"wrote {config.out / 'rd.json'}, rd.md, rd.png and rd.svg", highlight=False)


def strip(config: StripConfig, screen: Console) -> None:
    """Draw one clip.

    Raises:
        TrainingError: the clip cannot be read or is too short.
        WeightsError: the model's weights cannot be used.
        OutputError: the picture cannot be written.
    """
    model = load_model(config.weights, config.device)
    try:
        clip = read_clip(config.clip, model.config.image_size)
        drawn = strip_of(clip, model, config.references, config.frames)
    except TrainingError as error:
        raise TrainingError(f"{config.clip.name}: {error}") from error
    write_strip(drawn, config.out)
    screen.print(f"wrote {config.out}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after a failure told in one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    screen = Console(stderr=True)
    debug = "--debug" in words
    command = shlex.join(["python", "-m", "training.evaluate", *words])
    try:
        config = tyro.cli(Command, prog="python -m training.evaluate", args=words, description=__doc__)
        if isinstance(config, ReconstructConfig):
            reconstruct(config, command, screen)
        elif isinstance(config, RateDistortionConfig):
            rate_distortion(config, command, screen)
        else:
            strip(config, screen)
    except WarpcallError as error:
        if debug:
            raise
        screen.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        screen.print("stopped; measured clips are kept, and the same command goes on from there", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
