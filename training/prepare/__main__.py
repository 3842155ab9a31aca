"""Prepare training data: ``python -m training.prepare NAME``.

python -m training.prepare folder --clips VIDEOS --out PREPARED
python -m training.prepare talkinghead-1kh --lists data_list --videos VIDEOS --out PREPARED
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from codec.errors import WarpcallError
from training.prepare.config import FolderConfig, PrepareConfig, TalkingHeadConfig, TedTalkConfig, VoxCeleb2Config
from training.prepare.run import Summary, prepare
from training.prepare.split import SPLITS

Command = (
    Annotated[TalkingHeadConfig, tyro.conf.subcommand("talkinghead-1kh")]
    | Annotated[VoxCeleb2Config, tyro.conf.subcommand("voxceleb2")]
    | Annotated[TedTalkConfig, tyro.conf.subcommand("tedtalk")]
    | Annotated[FolderConfig, tyro.conf.subcommand("folder")]
)


def table(summary: Summary) -> Table:
    """Return what was prepared, by split."""
    rows = Table("split", "clips", "identities", "minutes")
    for split in SPLITS:
        clips = [clip for clip in summary.clips if clip.split == split]
        minutes = sum(clip.cut.stop_s - clip.cut.start_s for clip in clips) / 60
        rows.add_row(split, str(len(clips)), str(len({clip.identity for clip in clips})), f"{minutes:.1f}")
    return rows


def report(summary: Summary, config: PrepareConfig, screen: Console) -> None:
    """Say what was prepared and what was left out."""
    screen.print(table(summary))
    for reason, count in summary.reasons.most_common(10):
        screen.print(f"left out: {count} x {reason}", highlight=False, markup=False, soft_wrap=True)
    if summary.faults:
        screen.print(
            f"{len(summary.faults)} cannot be used; the next run tries them again", highlight=False, markup=False
        )
    screen.print(
        f"wrote {config.out}, with manifest.csv and left_out.csv", highlight=False, markup=False, soft_wrap=True
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare one set; return 0, or 1 after a failure told in one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    screen = Console(stderr=True)
    try:
        config = tyro.cli(Command, prog="python -m training.prepare", args=words, description=__doc__)
        report(prepare(config, screen), config, screen)
    except WarpcallError as error:
        if "--debug" in words:
            raise
        screen.print(f"error: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        screen.print(
            "stopped; what is finished is kept, and the same command goes on from there", highlight=False, markup=False
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
