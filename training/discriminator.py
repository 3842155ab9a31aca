"""Patch discriminator over one or more scales (face-vid2vid, section 3.3 and supplement A.2).

    image -> strided 4x4 convs with spectral norm -> one score a patch, and the features on the way

One scale at 256x256, two at 512x512. Strided layers double the channels from ``width`` up to 512; one more layer keeps
the size, and a last one scores. Spectral norm is Miyato et al.'s (2018), PyTorch's own. Shape legend: B batch,
C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

MAX_WIDTH = 512
SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the discriminator of one scale says of pictures.

    Attributes:
        scores_BHW: one score a patch; high is real.
        features: maps after each layer but the last.
    """

    scores_BHW: Tensor
    features: tuple[Tensor, ...]

    def __getitem__(self, index: slice) -> Judgement:
        """Return a slice of the batch."""
        return Judgement(self.scores_BHW[index], tuple(feature[index] for feature in self.features))


class PatchDiscriminator(nn.Module):
    """Score overlapping patches of pictures.

    Args:
        width: channels after the first layer.
        num_layers: strided layers.
    """

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        widths = [3] + [min(width << layer, MAX_WIDTH) for layer in range(num_layers + 1)]
        self.layers = nn.ModuleList(
            spectral_norm(
                nn.Conv2d(widths[i], widths[i + 1], 4 if i < num_layers else 3, 2 if i < num_layers else 1, 1)
            )
            for i in range(num_layers + 1)
        )
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image_BCHW: Tensor) -> Judgement:
        """Judge pictures in [0, 1]."""
        features, x_BCHW = [], image_BCHW * 2 - 1
        for layer in self.layers:
            x_BCHW = F.leaky_relu(layer(x_BCHW), SLOPE)
            features.append(x_BCHW)
        return Judgement(self.score(x_BCHW)[:, 0], tuple(features))


class Discriminator(nn.Module):
    """Patch discriminators of their own weights at the picture's size, half of it, ...

    Args:
        num_scales: how many.
        width: channels after the first layer of each.
        num_layers: strided layers of each.
    """

    def __init__(self, num_scales: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width, num_layers) for _ in range(num_scales))

    def forward(self, image_BCHW: Tensor) -> list[Judgement]:
        """Judge pictures (B, 3, S, S) in [0, 1] at every scale."""
        judgements = []
        for number, scale in enumerate(self.scales):
            judgements.append(scale(F.avg_pool2d(image_BCHW, 1 << number) if number else image_BCHW))
        return judgements
