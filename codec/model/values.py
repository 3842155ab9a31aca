"""Value encoder: source image at full resolution to source features (supplement, figure 9: three conv layers)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.blocks import normalisation
from codec.model.grid import resize


class ValueEncoder(nn.Module):
    """Three 3x3 convs, strided down to the attention's grid."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        width = config.value_dim
        widths = (3, max(width // 4, 16), max(width // 2, 32), width)
        halvings = config.attention_stride.bit_length() - 1
        strides = tuple(2 if layer >= 3 - halvings else 1 for layer in range(3))
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=strides[i], padding=1) for i in range(3)
        )
        self.norms = nn.ModuleList(normalisation(widths[i + 1], config.batch_norm) for i in range(3))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Encode images.

        Args:
            image_BCHW: (B, 3, S, S) in [0, 1].

        Returns:
            (B, N, value_dim), one vector a cell of the attention's grid.
        """
        x_BCHW = image_BCHW * 2 - 1
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_BCHW = F.relu(norm(conv(x_BCHW)))
        return resize(x_BCHW, self.config.grid_size).flatten(2).transpose(1, 2)
