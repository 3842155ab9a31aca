"""What a run begins from and goes on from: checkpoints, and released weights (whole or in part).

state -> save_checkpoint -> checkpoint.pt -> load_checkpoint -> state;  .safetensors -> load_initial -> generator
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from codec.config import CodecConfig
from codec.errors import TrainingError
from codec.model.weights import load_weights
from training.config import TrainConfig

logger = logging.getLogger(__name__)

FORMAT = 2


def save_checkpoint(path: Path, config: TrainConfig, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before stays whole until this one is on the disk.

    Args:
        path: file to write.
        config: of the run.
        state: tensors, numbers and state dicts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save({"format": FORMAT, "config": config.to_json(), **state}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote for the same networks; other settings may differ, and are logged.

    Raises:
        TrainingError: it cannot be read, or belongs to another config.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(f"{path} cannot be read: {reason}") from error
    if state.get("format") != FORMAT:
        raise TrainingError(f"{path} was written by another version; begin a new run with --init and its weights")
    before, now = json.loads(state["config"]), json.loads(config.to_json())
    changed = [name for name in now if before.get(name) != now[name]]
    decisive = [name for name in changed if name in ("codec", "picture_size") or name.startswith("discriminator")]
    if bool(before["losses"]["gan"]) != bool(now["losses"]["gan"]):
        decisive.append("losses.gan")
    if decisive:
        raise TrainingError(f"{path} was written by another config: {', '.join(decisive)} differ")
    if changed:
        logger.info("settings that differ from the checkpoint's: %s", ", ".join(changed))
    return state


def load_initial(generator: nn.Module, codec: CodecConfig, path: Path, *, partial: bool) -> None:
    """Start from released weights; the picture's size may differ, the networks only when ``partial``.

    Args:
        generator: takes the weights.
        codec: its shape.
        path: a ``.safetensors`` file.
        partial: leave parameters that the file lacks, or has in another shape, as they are; they are logged.

    Raises:
        TrainingError: they are of another config, or cannot be read.
        WeightsError: they are damaged.
    """
    if partial:
        load_matching(generator, path)
        return
    released, config, _ = load_weights(path)
    if at_size(config, codec.image_size, codec) != codec:
        raise TrainingError(f"{path} was trained for another config than {codec.name}; see --init-partial")
    generator.load_state_dict(released.state_dict())


def load_matching(network: nn.Module, path: Path) -> None:
    """Load the tensors of a weights file that fit by name and shape; log which parameters stay as they began.

    Raises:
        TrainingError: the file cannot be read, or no tensor fits.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise TrainingError(f"{path} has no tensor that fits this model")
    network.load_state_dict(fitting, strict=False)
    left = sorted(own.keys() - fitting.keys())
    if left:
        logger.info("left at their start, as %s has none that fit: %s", path.name, ", ".join(left))


def at_size(config: CodecConfig, picture_size: int, like: CodecConfig | None = None) -> CodecConfig:
    """Return the same networks for pictures of another size.

    Args:
        config: the networks.
        picture_size: height and width, pixels.
        like: takes its name and the sizes of detector and U-nets, which hold no weights, from this one.
    """
    if like is None:
        return dataclasses.replace(config, image_size=picture_size)
    return dataclasses.replace(
        config,
        name=like.name,
        image_size=picture_size,
        detector_size=like.detector_size,
        unet_size=like.unet_size,
    )
