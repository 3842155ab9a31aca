"""A model ready to code with: the networks, their config, their identity, their device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.bitstream.priors import Priors, generic_priors, load_priors
from codec.config import CodecConfig
from codec.errors import WeightsError
from codec.model.generator import Generator
from codec.model.keypoints import are_on_a_face
from codec.model.weights import EMBEDDED, choose_device, load_weights


@dataclass(frozen=True, slots=True)
class Model:
    """Networks with the identity that both ends of a call confirm.

    Attributes:
        generator: all networks, in evaluation mode.
        config: their shape.
        sha256: SHA-256 of the weights file, 64 hex digits.
        device: where they run.
        priors: what both ends know of keypoints beforehand; they have an identity of their own.
    """

    generator: Generator
    config: CodecConfig
    sha256: str
    device: torch.device
    priors: Priors


def load_model(path: Path | None = None, device: str = "auto") -> Model:
    """Load weights.

    Args:
        path: a ``.safetensors`` file with its JSON beside it, and its priors (``NAME.priors.safetensors``); without
            these the embedded ones where keypoints are alike, else generic ones that cost more bits. None for the
            embedded default.
        device: "auto" (the GPU when there is one), "cpu", "cuda", "mps".

    Raises:
        WeightsError: no such file or device, damaged, or not matching its config.
    """
    chosen = choose_device(device)
    path = EMBEDDED if path is None else path
    generator, config, sha256 = load_weights(path)
    generator = generator.to(chosen).to(memory_format=torch.channels_last).requires_grad_(False)
    return Model(generator, config, sha256, chosen, _priors_beside(path, config))


def random_model(config: CodecConfig, seed: int = 0, device: str = "cpu") -> Model:
    """Return an untrained model whose identity is that of its config and seed; for tests and timings."""
    chosen = choose_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(config)
    identity = hashlib.sha256(f"{config.to_json()}{seed}".encode()).hexdigest()
    generator = generator.eval().to(chosen).requires_grad_(False)
    return Model(generator, config, identity, chosen, generic_priors(config.num_keypoints))


def default_priors(config: CodecConfig) -> Priors:
    """Return the priors of models without a file of their own.

    Raises:
        WeightsError: the embedded file cannot be read.
    """
    if are_on_a_face(config):
        return load_priors(EMBEDDED.with_suffix(".priors.safetensors"))  # another detector's, same places on a face
    return generic_priors(config.num_keypoints)


def _priors_beside(path: Path, config: CodecConfig) -> Priors:
    priors_path = path.with_suffix(".priors.safetensors")
    if not priors_path.exists():
        return default_priors(config)
    priors = load_priors(priors_path)
    if priors.num_keypoints != config.num_keypoints:
        raise WeightsError(
            f"priors: {priors_path} is for {priors.num_keypoints} keypoints; the model has {config.num_keypoints}"
        )
    return priors
