"""The three blocks that every network is made of (supplement, section C and figures 8 and 9).

DownBlock: 3x3 conv, then 2x2 max-pool. UpBlock: 3x3 conv, then 2x bilinear. ResBlock: pre-activation, two 3x3 convs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def normalisation(channels: int, batch_norm: bool) -> nn.Module:
    """Return a batch norm, or nothing."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def start_near_zero(conv: nn.Conv2d, deviation: float = 1e-3) -> None:
    """Let a conv begin with hardly any output: its branch starts as if it were not there."""
    nn.init.normal_(conv.weight, std=deviation)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class DownBlock(nn.Module):
    """Halve height and width: 3x3 conv, norm, ReLU, 2x2 max-pool."""

    def __init__(self, in_channels: int, out_channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = normalisation(out_channels, batch_norm)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H/2, W/2)."""
        return F.max_pool2d(F.relu(self.norm(self.conv(x_BCHW))), 2)


class UpBlock(nn.Module):
    """Double height and width: 3x3 conv, norm, ReLU (with a leak, where one is given), 2x bilinear."""

    def __init__(self, in_channels: int, out_channels: int, batch_norm: bool, leak: float = 0.0) -> None:
        super().__init__()
        self.leak = leak
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = normalisation(out_channels, batch_norm)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2 H, 2 W)."""
        y_BCHW = F.leaky_relu(self.norm(self.conv(x_BCHW)), self.leak)
        return F.interpolate(y_BCHW, scale_factor=2, mode="bilinear", align_corners=False)


class ResBlock(nn.Module):
    """Pre-activation residual block; starts as the identity."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.norm1 = normalisation(channels, batch_norm)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = normalisation(channels, batch_norm)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        start_near_zero(self.conv2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y_BCHW = self.conv1(F.relu(self.norm1(x_BCHW)))
        y_BCHW = self.conv2(F.relu(self.norm2(y_BCHW)))
        z_BCHW: Tensor = x_BCHW + y_BCHW
        return z_BCHW
