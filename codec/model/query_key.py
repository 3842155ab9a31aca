"""Query and key networks: where each cell of the driving or of a source picture lies, and what is there.

    driving keypoints -> K Gaussian maps ----------------> U-net -> projection = query
    source keypoints  -> K Gaussian maps + source image -> U-net -> projection = key

The driving image is never used: it is not at the receiver (implicit warping, section 3).

Ours, when ``canonical_motion`` is on: each network also says at which point of a common *canonical* frame each of its
cells lies: the cell's own centre, moved by the keypoints near it towards their canonical places (a first-order motion
model as in FOMM, section 3.1, without Jacobians), and by a small free residual. The attention encodes that position.
Two cells with equal canonical positions match, and an untrained network matches equal cells: it starts as the still
picture, which a plain one takes hours to reach.

Shape legend: B batch, K keypoints, C channels or (x, y), H height, W width, N = H * W cells of the attention's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.grid import cell_centres, resize
from codec.model.keypoints import anchors, spatial_representation
from codec.model.unet import UNet
from codec.structs import Keypoints

FREE_MOTION = 0.25
STILL_LOGIT = 2.0


@dataclass(frozen=True, slots=True)
class Located:
    """What a query or key network says of each cell.

    Attributes:
        content_BNC: projected features.
        position_BNC: (B, N, 2) position in the canonical frame; the cell's own centre without canonical motion.
        bias_BN: how much a cell asks to be chosen; 0 where unused.
    """

    content_BNC: Tensor
    position_BNC: Tensor
    bias_BN: Tensor


class CellNetwork(nn.Module):
    """Body that query and key networks share.

    Args:
        config: the model's shape.
        image_channels: channels of a picture seen beside the keypoints; 0 for none.
        content_dim: channels of the projection.
    """

    def __init__(self, config: CodecConfig, image_channels: int, content_dim: int) -> None:
        super().__init__()
        self.config = config
        self.body = UNet(
            config.num_keypoints + image_channels,
            config.unet_width,
            config.unet_max_width,
            config.unet_blocks,
            config.batch_norm,
        )
        self.content = nn.Conv2d(self.body.out_channels, content_dim, 1)
        if config.canonical_motion:
            self.motion = nn.Conv2d(self.body.out_channels, config.num_keypoints + 3, 3, padding=1)
            nn.init.normal_(self.motion.weight, std=1e-3)
            nn.init.zeros_(self.motion.bias) if self.motion.bias is not None else None

    def locate(self, keypoints: Keypoints, canonical_KC: Tensor | None, image_BCHW: Tensor | None) -> Located:
        """Describe every cell of the attention's grid.

        Args:
            keypoints: locations (B, K, 2) and strengths (B, K).
            canonical_KC: (K, 2) places of the keypoints in the canonical frame, or None without canonical motion.
            image_BCHW: the picture, (B, 3, H, W) in [0, 1], or None.
        """
        maps_BCHW = spatial_representation(keypoints, self.config.unet_size, self.config.keypoint_variance)
        if image_BCHW is not None:
            picture_BCHW = resize(image_BCHW, self.config.unet_size) * 2 - 1
            maps_BCHW = torch.cat((maps_BCHW, picture_BCHW), dim=1)
        features_BCHW = self.body(maps_BCHW)
        content_BNC = self.cells(self.content(features_BCHW))
        grid = self.config.grid_size
        centres_NC = cell_centres(grid, grid, keypoints.locations_BKC).reshape(-1, 2)
        if canonical_KC is None:
            position_BNC = centres_NC.expand(content_BNC.shape[0], -1, -1)
            return Located(content_BNC, position_BNC, torch.zeros_like(position_BNC[..., 0]))
        motion_BCHW = self.motion(features_BCHW).float()
        still_BCHW = motion_BCHW.new_full((motion_BCHW.shape[0], 1, *motion_BCHW.shape[2:]), STILL_LOGIT)
        num_keypoints = self.config.num_keypoints
        share_BKHW = torch.cat((motion_BCHW[:, :num_keypoints], still_BCHW), dim=1).softmax(1)
        move_BKC = canonical_KC - keypoints.locations_BKC
        moved_BCHW = torch.einsum("bkhw,bkc->bchw", share_BKHW[:, :num_keypoints], move_BKC)
        moved_BCHW = moved_BCHW + FREE_MOTION * torch.tanh(motion_BCHW[:, num_keypoints : num_keypoints + 2])
        position_BNC = centres_NC + self.cells(moved_BCHW)
        return Located(
            content_BNC, position_BNC, self.cells(motion_BCHW[:, num_keypoints + 2 : num_keypoints + 3])[..., 0]
        )

    def cells(self, maps_BCHW: Tensor) -> Tensor:
        """Bring maps to the attention's grid and flatten it, (B, N, C)."""
        return resize(maps_BCHW, self.config.grid_size).flatten(2).transpose(1, 2)


class QueryNetwork(CellNetwork):
    """Query from driving keypoints alone."""

    def __init__(self, config: CodecConfig, content_dim: int) -> None:
        super().__init__(config, 0, content_dim)

    def forward(self, keypoints: Keypoints, canonical_KC: Tensor | None) -> Located:
        """Describe the cells of the picture to be made; see ``locate``."""
        return self.locate(keypoints, canonical_KC, None)


class KeyNetwork(CellNetwork):
    """Key from source keypoints and source image."""

    def __init__(self, config: CodecConfig, content_dim: int) -> None:
        super().__init__(config, 3, content_dim)

    def forward(self, keypoints: Keypoints, canonical_KC: Tensor | None, image_BCHW: Tensor) -> Located:
        """Describe the cells of a source picture; see ``locate``."""
        return self.locate(keypoints, canonical_KC, image_BCHW)


def canonical_places(config: CodecConfig) -> Tensor:
    """Return where the canonical places of the keypoints start: their anchors, (K, 2)."""
    return anchors(config.num_keypoints)
