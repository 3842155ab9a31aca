"""Command line of the preference study: ``python -m training.evaluate.study make`` and ``... read``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from codec import load_model
from codec.errors import TrainingError, WarpcallError
from training.evaluate.cache import check_place, write_json
from training.evaluate.clips import find_clips
from training.evaluate.report import versions
from training.evaluate.study.answers import find_answers, load_study, read_answers
from training.evaluate.study.config import OURS, MakeConfig, ReadConfig
from training.evaluate.study.material import Material
from training.evaluate.study.page import key, write_page
from training.evaluate.study.plan import plan
from training.evaluate.study.preference import Preference, attentive, preferences

Command = Annotated[MakeConfig, tyro.conf.subcommand("make")] | Annotated[ReadConfig, tyro.conf.subcommand("read")]


def make(config: MakeConfig, command: str, screen: Console) -> None:
    """Make the page and its key.

    Raises:
        TrainingError: no clip can be used.
        WeightsError: the model's weights cannot be used.
        OutputError: a file cannot be written.
    """
    paths = find_clips(config.clips, config.limit)
    check_place(config.out / "study.json")
    model, material = load_model(config.weights, config.device), Material()
    for path in track(paths, description="videos", console=screen):
        try:
            material.add_clip(path, model, dict(config.others), config.references, config.seconds)
        except TrainingError as error:
            screen.print(f"{path.name}: {error}", highlight=False, soft_wrap=True)
    people = plan(
        material.pairs,
        material.checks,
        answers=config.answers,
        questions=config.questions,
        check_every=config.check_every,
        seed=config.seed,
    )
    settings = {
        "model": {"config": model.config.name, "sha256": model.sha256},
        "versions": versions(),
        "references": config.references,
        "seconds": config.seconds,
        "answers": config.answers,
        "limit_s": config.limit_s,
        "seed": config.seed,
    }
    write_page(config.out / "page", people, material, config.limit_s, config.embed)
    write_json(config.out / "study.json", key(people, command, settings))
    screen.print(
        f"wrote {config.out / 'page' / 'index.html'} for {len(people)} people (numbers 1 to {len(people)}), "
        f"{len(material.pairs)} pairs, {config.answers} answers each; the key is {config.out / 'study.json'}",
        highlight=False,
        soft_wrap=True,
    )


def read(config: ReadConfig, command: str, screen: Console) -> None:
    """Print what people prefer.

    Raises:
        TrainingError: the key cannot be read, or no file holds answers that fit.
        OutputError: the result cannot be written.
    """
    try:
        study = load_study(config.study)
    except TrainingError as error:
        raise TrainingError(f"{config.study} {error}") from error
    people, refused = read_answers(study, find_answers(config.answers))
    for name, reason in refused.items():
        screen.print(f"{name} {reason}", highlight=False, markup=False, soft_wrap=True)
    kept, left_out = attentive(people, config.checks)
    for one in left_out:
        screen.print(f"person {one.person} is left out: {one.checks_right:.0%} of the checks right", highlight=False)
    if not kept:
        raise TrainingError("there are no answers to count")
    found = preferences(kept, config.confidence)
    Console(width=max(120, screen.width)).print(_table(found, config.confidence))
    if config.out is not None:
        write_json(config.out, _document(config, command, found, len(kept), len(left_out), refused))
        screen.print(f"wrote {config.out}", highlight=False)


def _document(
    config: ReadConfig, command: str, found: list[Preference], kept: int, left_out: int, refused: dict[str, str]
) -> dict[str, Any]:
    return {
        "format": "warpcall preference 1",
        "command": command,
        "confidence": config.confidence,
        "interval": "Wilson",
        "test": "exact binomial, two-sided, against one half",
        "num_people": kept,
        "num_people_left_out": left_out,
        "refused": refused,
        "preferences": [dataclasses.asdict(preference) for preference in found],
    }


def _table(found: Sequence[Preference], confidence: float) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    headings = (
        f"{OURS} against",
        "for ours",
        "share",
        f"{confidence:.0%} interval",
        "p",
        "clips won",
        "none",
        "median",
    )
    for heading in headings:
        drawn.add_column(heading, justify="left" if heading == headings[0] else "right", no_wrap=True)
    for one in found:
        drawn.add_row(
            one.other,
            f"{one.num_ours} of {one.num_answers}",
            *_sure(one),
            f"{one.num_clips_ours} of {one.num_clips}" + (f", {one.num_clips_tied} tied" if one.num_clips_tied else ""),
            str(one.num_none),
            "-" if one.median_s is None else f"{one.median_s:.1f} s",
        )
    return drawn


def _sure(one: Preference) -> tuple[str, str, str]:
    if one.share is None or one.low is None or one.high is None or one.p_value is None:
        return "-", "-", "-"
    return f"{one.share:.1%}", f"{one.low:.1%} to {one.high:.1%}", f"{one.p_value:.2g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after a failure told in one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    screen = Console(stderr=True)
    command = shlex.join(["python", "-m", "training.evaluate.study", *words])
    try:
        config = tyro.cli(Command, prog="python -m training.evaluate.study", args=words, description=__doc__)
        if isinstance(config, MakeConfig):
            make(config, command, screen)
        else:
            read(config, command, screen)
    except WarpcallError as error:
        if "--debug" in words:
            raise
        screen.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        screen.print("stopped", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
