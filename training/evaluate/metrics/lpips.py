"""LPIPS-Alex: how different two pictures look to AlexNet.

    pictures -> LpipsAlex.features -> Features -> LpipsAlex.distance -> (B,)

Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018, version 0.1: five taps of AlexNet after ReLU, each normalised over its channels; squared differences weighed by a
learned linear layer, averaged over space and summed over taps. Weights come from a folder, or from the ``lpips``
package and torchvision's download; results name which. Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from codec.errors import TrainingError

WEIGHTS_NAME = "lpips_alex.safetensors"

# Index of each convolution in torchvision's AlexNet, channels in and out, kernel, stride, padding; a 3x3 pool of
# stride 2 comes before the second and the third.
CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
POOLED = (1, 2)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10

Features = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class LpipsSource:
    """Where the weights came from.

    Attributes:
        name: file or package, for people.
        sha256: of the weights as this module uses them, 64 hex digits.
    """

    name: str
    sha256: str


class LpipsAlex:
    """The metric with its weights.

    Args:
        weights: ``features.N.weight`` and ``.bias`` of torchvision's AlexNet, and ``linN.weight`` of LPIPS v0.1.
        source: where they came from.
        device: to run on.

    Raises:
        TrainingError: a tensor is missing or has the wrong shape.
    """

    def __init__(self, weights: dict[str, Tensor], source: LpipsSource, device: torch.device) -> None:
        _check(weights, source.name)
        self.source = source
        self.device = device
        self._weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
        self._shift_C11 = torch.tensor(SHIFT, device=device)[:, None, None]
        self._scale_C11 = torch.tensor(SCALE, device=device)[:, None, None]

    @torch.inference_mode()
    def features(self, image_BCHW: Tensor) -> Features:
        """Return the five normalised taps.

        Args:
            image_BCHW: RGB in [0, 1], 32 pixels or more each way.
        """
        x_BCHW = (image_BCHW.to(self.device) * 2 - 1 - self._shift_C11) / self._scale_C11
        taps = []
        for layer, (index, _, _, _, stride, padding) in enumerate(CONVOLUTIONS):
            if layer in POOLED:
                x_BCHW = functional.max_pool2d(x_BCHW, kernel_size=3, stride=2)
            weight, bias = self._weights[f"features.{index}.weight"], self._weights[f"features.{index}.bias"]
            x_BCHW = functional.relu(functional.conv2d(x_BCHW, weight, bias, stride, padding))
            taps.append(x_BCHW / (x_BCHW.square().sum(dim=1, keepdim=True).sqrt() + EPSILON))
        return tuple(taps)

    @torch.inference_mode()
    def distance(self, a: Features, b: Features) -> Tensor:
        """Return the distance of each pair, (B,), on the CPU in float64; 0 is alike."""
        total_B = torch.zeros(max(len(a[0]), len(b[0])), device=self.device)
        for layer, (tap_a_BCHW, tap_b_BCHW) in enumerate(zip(a, b, strict=True)):
            weight_C = self._weights[f"lin{layer}.weight"].flatten()
            total_B = total_B + torch.einsum("bchw,c->bhw", (tap_a_BCHW - tap_b_BCHW).square(), weight_C).mean(
                dim=(1, 2)
            )
        return total_B.double().cpu()


def load_lpips(folder: Path | None, device: torch.device) -> LpipsAlex:
    """Load the metric.

    Args:
        folder: holds ``lpips_alex.safetensors``; None takes the ``lpips`` package, which downloads AlexNet.
        device: to run on.

    Raises:
        TrainingError: no weights are to be had; the message says how to get them.
    """
    weights, name = _from_package() if folder is None else _from_folder(folder)
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].float().contiguous().numpy().tobytes())
    return LpipsAlex(weights, LpipsSource(name, digest.hexdigest()), device)


def _from_folder(folder: Path) -> tuple[dict[str, Tensor], str]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise TrainingError(f"{folder} holds no {WEIGHTS_NAME}")
    try:
        return load_file(path), path.name
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def _from_package() -> tuple[dict[str, Tensor], str]:
    try:
        package: Any = importlib.import_module("lpips")
        state = package.LPIPS(net="alex", version="0.1", verbose=False).state_dict()
    except (ImportError, OSError) as error:
        raise TrainingError(
            f"no LPIPS weights ({error}): pip install lpips on a machine with a network, "
            f"or give --loss-weights a folder with {WEIGHTS_NAME}"
        ) from error
    weights = {}
    for layer, (index, *_) in enumerate(CONVOLUTIONS):
        for part in ("weight", "bias"):
            weights[f"features.{index}.{part}"] = state[f"net.slice{layer + 1}.{index}.{part}"]
        weights[f"lin{layer}.weight"] = state[f"lin{layer}.model.1.weight"]
    return weights, f"lpips {getattr(package, '__version__', '')}".strip() + " with torchvision's AlexNet"


def _check(weights: dict[str, Tensor], name: str) -> None:
    for layer, (index, channels_in, channels_out, kernel, _, _) in enumerate(CONVOLUTIONS):
        for key, count in (
            (f"features.{index}.weight", channels_out * channels_in * kernel * kernel),
            (f"features.{index}.bias", channels_out),
            (f"lin{layer}.weight", channels_out),
        ):
            if key not in weights or weights[key].numel() != count:
                raise TrainingError(f"{name}: {key} is missing or has the wrong shape; these are no LPIPS-Alex weights")
