"""Weights on disk: safetensors, with the config and a SHA-256 in a JSON file beside them; never a pickle.

    NAME.safetensors   half-precision tensors
    NAME.json          {"config": {...}, "sha256": "...", "provenance": {...}}

The SHA-256 of the safetensors file is the model's identity on the wire.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from codec.config import CodecConfig
from codec.errors import ConfigError, WeightsError
from codec.model.generator import Generator

EMBEDDED = Path(__file__).parent.parent / "weights" / "compact-256.safetensors"


def save_weights(path: Path, state: dict[str, Tensor], config: CodecConfig, provenance: dict[str, Any]) -> str:
    """Write weights (half precision; vectors and scalars, which are few, in full) and the JSON beside them.

    Args:
        path: a ``.safetensors`` file.
        state: the generator's state dict.
        config: its shape.
        provenance: how the weights came to be: command, data, steps.

    Returns:
        SHA-256 of the safetensors file, 64 hex digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {
        name: (tensor.half() if tensor.ndim > 1 else tensor.clone()).contiguous().cpu()
        for name, tensor in state.items()
    }
    partial = path.with_suffix(".partial")
    save_file(halves, partial)
    sha256 = hashlib.sha256(partial.read_bytes()).hexdigest()
    partial.replace(path)
    description = {"config": asdict(config), "sha256": sha256, "provenance": provenance}
    path.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n")
    return sha256


def load_weights(path: Path) -> tuple[Generator, CodecConfig, str]:
    """Read weights and check them against their JSON.

    Args:
        path: a ``.safetensors`` file with its ``.json`` beside it.

    Returns:
        The generator (float32, evaluation mode, on the CPU), its config, and the SHA-256 of its weights.

    Raises:
        WeightsError: a file is missing or damaged, or weights and config do not match.
    """
    description_path = path.with_suffix(".json")
    for needed in (path, description_path):
        if not needed.is_file():
            raise WeightsError(f"weights: {needed} does not exist")
    try:
        description = json.loads(description_path.read_text())
        config = CodecConfig.from_json(json.dumps(description["config"]))
        expected = str(description["sha256"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise WeightsError(f"weights: {description_path} is not a description of weights: {error}") from error
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != expected:
        raise WeightsError(f"weights: {path} is damaged: its SHA-256 is not the one in {description_path.name}")
    generator = Generator(config)
    try:
        state = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
        generator.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"weights: {path} does not match its config: {reason}") from error
    return generator.eval(), config, sha256


def choose_device(name: str) -> torch.device:
    """Turn "auto" or a device's name into a device.

    Raises:
        WeightsError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WeightsError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
