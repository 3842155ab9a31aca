"""Command line of the evaluations: ``python -m training.evaluate COMMAND``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import tyro
from rich.console import Console

from codec import load_model
from codec.errors import TrainingError, WarpcallError
from training.evaluate.animate import animate, open_animation, pair
from training.evaluate.animate_report import animate_document, animate_table
from training.evaluate.cache import check_place, write_json, write_text
from training.evaluate.clips import find_clips, read_clip, spread
from training.evaluate.config import RateDistortionConfig, ReadmeConfig, ReconstructConfig, StripConfig
from training.evaluate.page import page
from training.evaluate.plot import draw_curves
from training.evaluate.progress import with_progress
from training.evaluate.protocol_config import AnimateConfig, ProtocolConfig, TablesConfig
from training.evaluate.protocols import reconstruction, test_clips
from training.evaluate.rate_distortion import OURS, open_run
from training.evaluate.rate_report import rate_document, rate_markdown, rate_table
from training.evaluate.rate_row import Part, measure_part, measure_rates
from training.evaluate.readme import write_readme
from training.evaluate.reconstruct import measure, open_workbench
from training.evaluate.report import document, tables
from training.evaluate.strip import strip_of, write_strip
from training.evaluate.tables import load_result, markdown

Command = (
    Annotated[ReconstructConfig, tyro.conf.subcommand("reconstruct")]
    | Annotated[RateDistortionConfig, tyro.conf.subcommand("rd")]
    | Annotated[ProtocolConfig, tyro.conf.subcommand("protocol")]
    | Annotated[AnimateConfig, tyro.conf.subcommand("animate")]
    | Annotated[TablesConfig, tyro.conf.subcommand("tables")]
    | Annotated[StripConfig, tyro.conf.subcommand("strip")]
    | Annotated[ReadmeConfig, tyro.conf.subcommand("readme")]
)

TABLE_WIDTH = 150


def reconstruct(
    config: ReconstructConfig, command: str, screen: Console, protocol: ProtocolConfig | None = None
) -> None:
    """Measure a folder of clips, or a dataset's test list, and write the result.

    Raises:
        TrainingError: no clip, no metric weights, or no clip could be measured.
        WeightsError: the model's weights cannot be used.
        OutputError: a result cannot be written.
    """
    paths = find_clips(config.clips, config.limit) if protocol is None else test_clips(protocol)
    check_place(config.out)
    workbench = open_workbench(config)
    results = with_progress(partial(measure, config), paths, config.jobs, screen)
    result = document(config, command, workbench, results)
    if protocol is not None:
        result["dataset"] = protocol.dataset
    write_json(config.out, result)
    if len(result["skipped"]) == len(paths):
        raise TrainingError(f"none of {len(paths)} clip(s) could be measured; {config.out} gives the reasons")
    for drawn in tables(result):
        Console(width=max(TABLE_WIDTH, screen.width)).print(drawn)
    screen.print(f"wrote {config.out}", highlight=False)


def rate_distortion(config: RateDistortionConfig, command: str, screen: Console) -> None:
    """Measure bitrate against quality on a folder of clips and write JSON, tables, curves and the page.

    Raises:
        TrainingError: no clip, metric weights, ffmpeg or matplotlib, or no clip could be measured.
        WeightsError: the model's weights cannot be used.
        OutputError: a result cannot be written.
    """
    paths = find_clips(config.clips, config.limit, config.match)
    check_place(config.out / "rd.json")
    run = open_run(config)
    shown = frozenset(path.name for path in spread(paths, config.videos))
    if config.jobs > 1:
        parts = [Part(path, coder) for path in paths for coder in (*reversed(config.peers), OURS)]
        with_progress(partial(measure_part, config), parts, config.jobs, screen, "parts")
    results = with_progress(partial(measure_rates, config, shown), paths, config.jobs, screen)
    result = rate_document(config, command, run, results)
    write_json(config.out / "rd.json", result)
    if len(result["skipped"]) == len(paths):
        raise TrainingError(
            f"none of {len(paths)} clip(s) could be measured; {config.out / 'rd.json'} gives the reasons"
        )
    for reason, number in result["failures"].items():
        screen.print(f"{number} point(s) are missing: {reason}", highlight=False, soft_wrap=True)
    Console(width=max(TABLE_WIDTH, screen.width)).print(rate_table(result["points"]))
    for sentence in result["headline"]:
        screen.print(sentence, highlight=False)
    write_text(config.out / "rd.md", rate_markdown(result))
    size = run.model.config.image_size
    title = f"{len(paths) - len(result['skipped'])} clip(s), first {config.seconds:g} s, {size} x {size}"
    drawn = draw_curves(result["points"], title, config.out)
    write_text(config.out / "index.html", page(result, title, drawn))
    screen.print(f"wrote {config.out / 'rd.json'}, rd.md, curves and index.html", highlight=False)


def animation(config: AnimateConfig, command: str, screen: Console) -> None:
    """Animate each clip by another person's and write the result.

    Raises:
        TrainingError: no pair of clips, no metric weights, or no clip could be animated.
        WeightsError: the model's weights cannot be used.
        OutputError: a result cannot be written.
    """
    drivers = pair(config)
    check_place(config.out)
    opened = open_animation(config)
    paths = [config.clips / name for name in drivers]
    results = with_progress(partial(animate, config, drivers), paths, config.jobs, screen)
    result = animate_document(opened, command, results)
    write_json(config.out, result)
    if len(result["skipped"]) == len(paths):
        raise TrainingError(f"none of {len(paths)} clip(s) could be animated; {config.out} gives the reasons")
    Console(width=max(TABLE_WIDTH, screen.width)).print(animate_table(result))
    screen.print(f"wrote {config.out}", highlight=False)


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
        elif isinstance(config, ProtocolConfig):
            reconstruct(reconstruction(config), command, screen, config)
        elif isinstance(config, AnimateConfig):
            animation(config, command, screen)
        elif isinstance(config, TablesConfig):
            print(markdown([load_result(path) for path in config.results]), end="")
        elif isinstance(config, ReadmeConfig):
            print(write_readme(config), end="")
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
