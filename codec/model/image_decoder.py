"""Decoder: warped features to image (supplement, figure 9: residual blocks, then upsampling blocks).

Ours, when ``warped_pixels`` is on: the picture made of the references' own pixels is seen at every size on the way up
(rearranged to channels), and the decoder's picture is that one times a gain that it learns, plus what it paints.
Detail that is carried need not be painted. Gain and paint start at 1 and all but 0. (Blending by a mask failed: while
the paint is still grey the mask saturates at "carry" within forty steps, and the painter gets no gradient any more.
So did starting with paint of .02: it does harm at first, and the network learns to shut its ReLUs for good, 9 in 10 of
the last map's after 500 steps; hence the leak. Nor may Adam's first steps, all of one size, paint much: hence the
scale.) With ``still_background`` the carried picture has a fourth channel that
says where it is invented.

Shape legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.blocks import ResBlock, UpBlock, normalisation, start_near_zero

LEAK = 0.2
PAINT_DEVIATION = 1e-5
PAINT_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class Painted:
    """The decoder's picture.

    Attributes:
        image_BCHW: (B, 3, S, S), about [0, 1], not clamped.
        carry_BCHW: (B, 1, S, S), gain of the carried pixels in [0, 2], or None without warped pixels.
    """

    image_BCHW: Tensor
    carry_BCHW: Tensor | None


class ImageDecoder(nn.Module):
    """Residual blocks on the attention's grid, then up to the picture."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        width, norm = config.decoder_width, config.batch_norm
        self.halvings = config.attention_stride.bit_length() - 1
        channels = 4 if config.still_background else 3
        carried = channels * config.attention_stride**2 if config.warped_pixels else 0
        leak = LEAK if config.still_background else 0.0
        self.leak, self.scale = leak, PAINT_SCALE if config.still_background else 1.0
        self.enter = nn.Conv2d(config.value_dim + carried, width, 1)
        self.blocks = nn.Sequential(*(ResBlock(width, norm) for _ in range(config.decoder_blocks)))
        ups, mixes = [], []
        shrink = 1 if config.warped_pixels else 0
        for level in range(self.halvings - shrink):
            narrow = max(width >> (level + 1), 16)
            ups.append(UpBlock(max(width >> level, 16), narrow, norm, leak))
            if config.warped_pixels:
                factor = config.attention_stride >> (level + 1)
                mixes.append(nn.Conv2d(narrow + channels * factor**2, narrow, 3, padding=1))
            else:
                mixes.append(nn.Conv2d(narrow, narrow, 3, padding=1))
        self.ups, self.mixes = nn.ModuleList(ups), nn.ModuleList(mixes)
        self.norms = nn.ModuleList(normalisation(mix.out_channels, norm) for mix in mixes)
        last = max(width >> (self.halvings - shrink), 16)
        self.paint = nn.Conv2d(
            last, 16 if config.warped_pixels else 3, 3 if config.warped_pixels else 7, padding="same"
        )
        if config.warped_pixels:
            start_near_zero(self.paint, PAINT_DEVIATION)

    def forward(self, features_BCHW: Tensor, warped_BCHW: Tensor | None) -> Painted:
        """Paint the picture.

        Args:
            features_BCHW: (B, value_dim, grid, grid).
            warped_BCHW: the references' warped pixels, (B, 3 or 4, S, S) in [0, 1], or None.
        """
        if warped_BCHW is None:
            x_BCHW = self.blocks(self.enter(features_BCHW))
            for up, mix, norm in zip(self.ups, self.mixes, self.norms, strict=True):
                x_BCHW = F.relu(norm(mix(up(x_BCHW))))
            return Painted(torch.sigmoid(self.paint(x_BCHW).float()), None)
        signed_BCHW = warped_BCHW * 2 - 1
        stride = self.config.attention_stride
        x_BCHW = self.enter(torch.cat((features_BCHW, F.pixel_unshuffle(signed_BCHW, stride)), dim=1))
        x_BCHW = self.blocks(x_BCHW)
        for level, (up, mix, norm) in enumerate(zip(self.ups, self.mixes, self.norms, strict=True)):
            carried_BCHW = F.pixel_unshuffle(signed_BCHW, stride >> (level + 1))
            x_BCHW = F.leaky_relu(norm(mix(torch.cat((up(x_BCHW), carried_BCHW), dim=1))), self.leak)
        painted_BCHW = F.pixel_shuffle(self.scale * self.paint(x_BCHW).float(), 2)
        carry_BCHW = 2 * torch.sigmoid(painted_BCHW[:, 3:])
        return Painted(carry_BCHW * warped_BCHW[:, :3] + painted_BCHW[:, :3], carry_BCHW)
