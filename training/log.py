"""What a run writes down: ``stats.jsonl`` (the truth), TensorBoard (a view of it), and a line or bar to watch.

figures of a step -> RunLog.step -> a line of stats.jsonl, TensorBoard scalars, progress
"""

from __future__ import annotations

import json
import logging
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0


class RunLog:
    """Writes a run's figures; use it as a context manager.

    Args:
        folder: of the run.
        step: that the run goes on from; lines past it, of a run that was killed, are dropped.
        num_steps: of the whole run.
        tensorboard: whether to write TensorBoard events.
        quiet: write nothing (all processes but the first).
    """

    def __init__(self, folder: Path, step: int, num_steps: int, *, tensorboard: bool, quiet: bool = False) -> None:
        self.path, self.quiet = folder / "stats.jsonl", quiet
        self._board: Any = None
        self._spoke_s = -LINE_EVERY_S
        if quiet:
            return
        folder.mkdir(parents=True, exist_ok=True)
        drop_after(self.path, step)
        self._file = self.path.open("a")
        if tensorboard:
            self._board = open_board(folder, step)
        self._progress = progress_bar()
        self._task = self._progress.add_task("training", total=num_steps, completed=step, figures="")

    def __enter__(self) -> RunLog:
        if not self.quiet and self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.quiet:
            return
        if self._progress.console.is_terminal:
            self._progress.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Write a step's figures."""
        if self.quiet:
            return
        self._write({"step": step, **{name: float(f"{value:.6g}") for name, value in figures.items()}})
        words = summary(figures)
        self._progress.update(self._task, completed=step, figures=words)
        if not self._progress.console.is_terminal and time.monotonic() - self._spoke_s >= LINE_EVERY_S:
            self._spoke_s = time.monotonic()
            logger.info("step %d: %s", step, words)

    def held_out(self, step: int, figures: dict[str, float]) -> None:
        """Write what was measured on the held-out store, on a line of its own."""
        if self.quiet:
            return
        self._write({"step": step, **{name: float(f"{value:.6g}") for name, value in figures.items()}})
        logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def picture(self, step: int, rgb_HWC: npt.NDArray[np.uint8]) -> None:
        """Show a picture in TensorBoard too."""
        if self._board is not None:
            self._board.add_image("pictures", rgb_HWC, step, dataformats="HWC")

    def _write(self, line: dict[str, float]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in line.items():
                self._board.add_scalar(name, value, int(line["step"]))


def summary(figures: dict[str, float]) -> str:
    """Say how a step went in a few words."""
    gain = figures["psnr_db"] - figures["frozen_psnr_db"]
    return (
        f"loss {figures['total']:.3f}, {figures['psnr_db']:.2f} dB ({gain:+.2f} over the reference), "
        f"{figures['samples_per_s']:.1f} samples/s, waits {100 * figures['wait_share']:.1f}%"
    )


def drop_after(path: Path, step: int) -> None:
    """Drop the lines of steps past ``step``, and a last one that was cut short."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for line in kept if json.loads(line)["step"] <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept))
    partial.replace(path)


def open_board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, which hides events past ``step``; None where it is not installed."""
    if find_spec("tensorboard") is None:
        logger.warning("no TensorBoard events: pip install tensorboard, or give --no-tensorboard")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def progress_bar() -> Progress:
    """Return the bar of a run."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True))
