"""Hourglass with skip connections: the body of keypoint detector, query and key networks (supplement, figures 8, 9)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from codec.model.blocks import DownBlock, UpBlock


class UNet(nn.Module):
    """DownBlocks, then UpBlocks, each UpBlock seeing the map of its own size from the way down.

    Args:
        in_channels: channels of the input.
        width: channels after the first DownBlock; doubled by each further one.
        max_width: upper limit of the channels.
        num_blocks: DownBlocks, and UpBlocks.
        batch_norm: whether blocks are normalised.
    """

    def __init__(self, in_channels: int, width: int, max_width: int, num_blocks: int, batch_norm: bool) -> None:
        super().__init__()
        widths = [in_channels] + [min(max_width, width << i) for i in range(num_blocks)]
        self.down = nn.ModuleList(DownBlock(narrow, wide, batch_norm) for narrow, wide in pairwise(widths))
        ups = []
        channels = widths[-1]
        for level in reversed(range(num_blocks)):
            up_width = min(max_width, width << max(level - 1, 0))
            ups.append(UpBlock(channels, up_width, batch_norm))
            channels = up_width + widths[level]
        self.up = nn.ModuleList(ups)
        self.out_channels = channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W); the input is the last of the output's channels."""
        skips = [x_BCHW]
        for block in self.down:
            skips.append(block(skips[-1]))
        y_BCHW = skips.pop()
        for block in self.up:
            y_BCHW = torch.cat((block(y_BCHW), skips.pop()), dim=1)
        return y_BCHW
