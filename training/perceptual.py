"""VGG features and their distance over a pyramid of sizes (Johnson et al. 2016, as in FOMM, section 3.3).

Weights are torchvision's VGG-19, downloaded once, or any VGG convolutions in a safetensors file
(``features.N.weight``, ``features.N.bias``, torchvision's numbering), so that machines without a network can train.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codec.errors import TrainingError
from codec.model.grid import resize

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class VggFeatures(nn.Module):
    """Feature maps after the first ReLU of each VGG stage.

    Args:
        state: ``features.N.weight`` and ``features.N.bias`` of the convolutions.
        num_stages: stages to compute, 1 to 5.
    """

    mean_C11: Tensor
    deviation_C11: Tensor

    def __init__(self, state: dict[str, Tensor], num_stages: int) -> None:
        super().__init__()
        numbers = sorted(int(name.split(".")[1]) for name in state if re.fullmatch(r"features\.\d+\.weight", name))
        stages: list[list[nn.Conv2d]] = [[]]
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            weight, bias = state[f"features.{number}.weight"].float(), state[f"features.{number}.bias"].float()
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            conv.load_state_dict({"weight": weight, "bias": bias})
            stages[-1].append(conv)
            if following is not None and following - number == 3:
                stages.append([])
        stages = stages[:num_stages]
        stages[-1] = stages[-1][:1]
        self.stage_lengths = [len(stage) for stage in stages]
        self.convs = nn.ModuleList(conv for stage in stages for conv in stage)
        self.register_buffer("mean_C11", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("deviation_C11", torch.tensor(DEVIATION).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Return one feature map a stage for images in [0, 1]."""
        x_BCHW = (image_BCHW - self.mean_C11) / self.deviation_C11
        features, convs = [], iter(self.convs)
        for number, length in enumerate(self.stage_lengths):
            if number:
                x_BCHW = F.max_pool2d(x_BCHW, 2)
            for layer in range(length):
                x_BCHW = F.relu(next(convs)(x_BCHW))
                if layer == 0:
                    features.append(x_BCHW)
        return features


class PerceptualLoss(nn.Module):
    """L1 distance of VGG features, summed over stages and sizes.

    Args:
        features: the network.
        sizes: heights (= widths) in pixels at which pictures are compared.
        crop_share: share of the comparisons at less than the whole size that cut a window out, instead of shrinking the
            pictures: fine detail is seen at the price of a small picture.
    """

    def __init__(self, features: VggFeatures, sizes: tuple[int, ...], crop_share: float = 0.0) -> None:
        super().__init__()
        self.features, self.sizes, self.crop_share = features, sizes, crop_share

    def forward(self, image_BCHW: Tensor, target_BCHW: Tensor, draws: torch.Generator | None = None) -> Tensor:
        """Return the distance of two batches of pictures in [0, 1].

        Args:
            image_BCHW: made.
            target_BCHW: wanted.
            draws: chooses the windows.
        """
        distances = []
        for size in self.sizes:
            image, target = self.view(image_BCHW, target_BCHW, size, draws)
            with torch.no_grad():
                wanted = self.features(target)
            found = self.features(image)
            distances += [(a - b).float().abs().mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(distances).sum()

    def view(
        self, image_BCHW: Tensor, target_BCHW: Tensor, size: int, draws: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return both at ``size``: shrunk, or the same window of both."""
        room = image_BCHW.shape[-1] - size
        chance, x, y = torch.rand(3, generator=draws).tolist()
        if room <= 0 or chance >= self.crop_share:
            return resize(image_BCHW, size), resize(target_BCHW, size)
        left, top = int(x * (room + 1)), int(y * (room + 1))
        rows, columns = slice(top, top + size), slice(left, left + size)
        return image_BCHW[..., rows, columns], target_BCHW[..., rows, columns]


def load_vgg(path: Path | None) -> dict[str, Tensor]:
    """Read VGG convolutions from a file, or torchvision's VGG-19 from its cache or the network.

    Raises:
        TrainingError: there are no such weights to be had.
    """
    if path is not None:
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"VGG weights: {path} cannot be read: {error}") from error
        if "features.0.weight" not in state:
            raise TrainingError(f"VGG weights: {path} has no tensor features.0.weight")
        return state
    from torchvision.models import VGG19_Weights, vgg19

    try:
        return dict(vgg19(weights=VGG19_Weights.IMAGENET1K_V1).state_dict())
    except OSError as error:
        raise TrainingError(f"VGG weights: VGG-19 cannot be downloaded ({error}); give a file with --vgg") from error
