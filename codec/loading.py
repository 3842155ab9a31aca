"""A model ready to code with: the networks, their config, their identity, their device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.config import CodecConfig
from codec.model.generator import Generator
from codec.model.weights import EMBEDDED, choose_device, load_weights


@dataclass(frozen=True, slots=True)
class Model:
    """Networks with the identity that both ends of a call confirm.

    Attributes:
        generator: all networks, in evaluation mode.
        config: their shape.
        sha256: SHA-256 of the weights file, 64 hex digits.
        device: where they run.
    """

    generator: Generator
    config: CodecConfig
    sha256: str
    device: torch.device


def load_model(path: Path | None = None, device: str = "auto") -> Model:
    """Load weights.

    Args:
        path: a ``.safetensors`` file with its JSON beside it; None for the embedded default.
        device: "auto" (the GPU when there is one), "cpu", "cuda", "mps".

    Raises:
        WeightsError: no such file or device, damaged, or not matching its config.
    """
    chosen = choose_device(device)
    generator, config, sha256 = load_weights(EMBEDDED if path is None else path)
    return Model(
        generator.to(chosen).to(memory_format=torch.channels_last).requires_grad_(False), config, sha256, chosen
    )


def random_model(config: CodecConfig, seed: int = 0, device: str = "cpu") -> Model:
    """Return an untrained model whose identity is that of its config and seed; for tests and timings."""
    chosen = choose_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(config)
    identity = hashlib.sha256(f"{config.to_json()}{seed}".encode()).hexdigest()
    return Model(generator.eval().to(chosen).requires_grad_(False), config, identity, chosen)
