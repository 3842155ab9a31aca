"""Measure weights with the shipped evaluation: ``python -m training.evaluate reconstruct``, and read its result.

    weights, folder of clips -> training.evaluate reconstruct -> JSON -> overall figures

What is measured is what ships: the command line is called as a person calls it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codec.errors import TrainingError
from training.evaluate.__main__ import main as evaluate

Figures = dict[str, Any]


def measure_weights(
    weights: Path, clips: Path, out: Path, *, references: int, every: int, loss_weights: Path | None, device: str
) -> Figures:
    """Send and receive clips with some weights and return the means over clips.

    Args:
        weights: a ``.safetensors`` file.
        clips: folder of square mp4 clips.
        out: JSON file to write.
        references: number of reference pictures.
        every: score one pair of neighbouring frames out of this many.
        loss_weights: folder with LPIPS's weights, or None to download them.
        device: where networks run.

    Raises:
        TrainingError: the evaluation failed; it has said why.
    """
    words = ["reconstruct", "--clips", clips, "--out", out, "--weights", weights, "--references", references]
    words += ["--every", every, "--device", device]
    if loss_weights is not None:
        words += ["--loss-weights", loss_weights]
    if evaluate([str(word) for word in words]):
        raise TrainingError(f"{weights} could not be measured on {clips}")
    figures: Figures = json.loads(out.read_text())["overall"][str(references)]
    return figures
