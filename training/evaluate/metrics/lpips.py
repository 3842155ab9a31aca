"""LPIPS: how different two pictures look to AlexNet or to VGG-16.

    pictures -> Lpips.features -> Features -> Lpips.distance -> (B,)

Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018, version 0.1: five taps after ReLU, each normalised over its channels; squared differences weighed by a learned
linear layer, averaged over space and summed over taps. The code is ours so that a source or a reference is looked at
once however many pictures it is compared with; the weights come from a folder, or from the ``lpips`` package and
torchvision's download; results name which. Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.errors import TrainingError
from training.evaluate.metrics.convolutions import ALEXNET, VGG16, Network
from training.evaluate.metrics.weights import WeightsSource, load_tensors, tensors_sha256

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
SMALLEST = 1e-30
"""Of a squared norm: the square root's gradient at 0 is not finite."""

Features = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """LPIPS with one network.

    Attributes:
        name: of the metric in results.
        network: whose taps are compared.
        package_name: the network's in the ``lpips`` package.
        title: the network's for people.
        file: of its weights in a folder.
    """

    name: str
    network: Network
    package_name: str
    title: str
    file: str


ALEX = Variant("lpips_alex", ALEXNET, "alex", "AlexNet", "lpips_alex.safetensors")
VGG = Variant("lpips_vgg", VGG16, "vgg", "VGG-16", "vgg16_lpips_fp16.safetensors")


class Lpips:
    """The metric with its weights.

    Args:
        variant: which network.
        weights: ``features.N.weight`` and ``.bias`` of torchvision's network, and ``linN.weight`` of LPIPS v0.1.
        source: where they came from.
        device: to run on.

    Raises:
        TrainingError: a tensor is missing or has the wrong shape.
    """

    def __init__(
        self, variant: Variant, weights: dict[str, Tensor], source: WeightsSource, device: torch.device
    ) -> None:
        _check(variant, weights, source.name)
        self.variant, self.source, self.device = variant, source, device
        self._weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
        self._shift_C11 = torch.tensor(SHIFT, device=device)[:, None, None]
        self._scale_C11 = torch.tensor(SCALE, device=device)[:, None, None]

    @torch.inference_mode()
    def features(self, image_BCHW: Tensor) -> Features:
        """Return the five normalised taps.

        Args:
            image_BCHW: RGB in [0, 1], 32 pixels or more each way.
        """
        return self._taps(image_BCHW)

    @torch.inference_mode()
    def distance(self, a: Features, b: Features) -> Tensor:
        """Return the distance of each pair, (B,), on the CPU in float64; 0 is alike."""
        return self._distance(a, b).double().cpu()

    def loss(self, image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        """Return the mean distance of two batches of pictures, with gradients to the first."""
        with torch.autocast(self.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._taps(target_BCHW.float())
            return self._distance(self._taps(image_BCHW.float()), wanted).mean()

    def weighted(self, difference_BCHW: Tensor, tap: int) -> Tensor:
        """Return a difference of a tap's features such that its squares sum to what the tap adds to the distance."""
        weight_C11 = self._weights[f"lin{tap}.weight"].flatten()[:, None, None]
        return difference_BCHW * (weight_C11 / (difference_BCHW.shape[-2] * difference_BCHW.shape[-1])).sqrt()

    def _taps(self, image_BCHW: Tensor) -> Features:
        x_BCHW = (image_BCHW.to(self.device) * 2 - 1 - self._shift_C11) / self._scale_C11
        network = self.variant.network
        return tuple(
            tap_BCHW / (tap_BCHW.square().sum(dim=1, keepdim=True).clamp(min=SMALLEST).sqrt() + EPSILON)
            for tap_BCHW in network.taps(self._weights, x_BCHW, network.max_pool)
        )

    def _distance(self, a: Features, b: Features) -> Tensor:
        total_B = torch.zeros(max(len(a[0]), len(b[0])), device=self.device)
        for layer, (tap_a_BCHW, tap_b_BCHW) in enumerate(zip(a, b, strict=True)):
            weight_C = self._weights[f"lin{layer}.weight"].flatten()
            total_B = total_B + torch.einsum("bchw,c->bhw", (tap_a_BCHW - tap_b_BCHW).square(), weight_C).mean(
                dim=(1, 2)
            )
        return total_B


def load_lpips(folder: Path | None, device: torch.device, variant: Variant = ALEX) -> Lpips:
    """Load the metric.

    Args:
        folder: holds the variant's file; None takes the ``lpips`` package, which downloads the network.
        device: to run on.
        variant: which network.

    Raises:
        TrainingError: no weights are to be had; the message says how to get them.
    """
    weights, name = _from_package(variant) if folder is None else _from_folder(folder, variant)
    return Lpips(variant, weights, WeightsSource(name, tensors_sha256(weights)), device)


def _from_folder(folder: Path, variant: Variant) -> tuple[dict[str, Tensor], str]:
    return load_tensors(folder / variant.file), variant.file


def _from_package(variant: Variant) -> tuple[dict[str, Tensor], str]:
    try:
        package: Any = importlib.import_module("lpips")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks torchvision in a way that torchvision has given up
            state = package.LPIPS(net=variant.package_name, version="0.1", verbose=False).state_dict()
    except (ImportError, OSError) as error:
        raise TrainingError(
            f"no LPIPS weights ({error}): pip install lpips on a machine with a network, "
            f"or give --loss-weights a folder with {variant.file}"
        ) from error
    weights = {}
    for number, stage in enumerate(variant.network.stages):
        for layer in stage:
            for key in (layer.weight, layer.bias):
                weights[key] = state[key.replace("features", f"net.slice{number + 1}")]
        weights[f"lin{number}.weight"] = state[f"lin{number}.model.1.weight"]
    return weights, f"lpips {getattr(package, '__version__', '')}".strip() + f" with torchvision's {variant.title}"


def _check(variant: Variant, weights: dict[str, Tensor], name: str) -> None:
    variant.network.check(weights, name)
    for number, stage in enumerate(variant.network.stages):
        key = f"lin{number}.weight"
        if key not in weights or weights[key].numel() != stage[-1].channels_out:
            raise TrainingError(f"{name}: {key} is missing or has the wrong shape; this is no {variant.name}")
