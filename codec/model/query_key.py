"""Query and key networks: what is at each cell of the driving or of a source picture, and where it is found.

    driving keypoints -> K Gaussian maps ----------------> U-net -> projection = query
    source keypoints  -> K Gaussian maps + source image -> U-net -> projection = key

The driving image is never used: it is not at the receiver (implicit warping, section 3).

Ours, when ``keypoint_motion`` is on: the query network also says which keypoints each cell moves with. Cell p of the
driving picture is expected in reference r at p + sum_k s_k(p) (x_k^r - x_k) plus a small free residual: a motion model
of order zero, as FOMM's (section 3.1) without Jacobians. The shares s_k begin as inverse distances to the keypoints
(Shepard's interpolation), against a share that stands still; the U-net corrects them. The attention encodes the
expected position, so an untrained network already moves the face by its keypoints, where a plain one takes hours to
learn to copy.

With ``rigid_motion`` the head is first moved as a whole, by the similarity m (shift, turn, scale) that takes driving to
reference keypoints best, and keypoints tell the rest: p is expected at p + a(p) (m(p) - p) + sum_k s_k(p) (x_k^r -
m(x_k)), where the share 1 - a stands still. Without it, hair and ears, which no keypoint is near, stay behind when a
head turns or comes closer.

Shape legend: B batch, R references, K keypoints, C channels or (x, y), H height, W width, N = H * W cells of the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.blocks import start_near_zero
from codec.model.grid import cell_centres, resize
from codec.model.keypoints import spatial_representation
from codec.model.unet import UNet
from codec.structs import Keypoints

FREE_MOTION = 0.25
FALLOFF = 2.0
NEAREST = 0.05
STILL_DISTANCE = 0.35
FAR_DISTANCE = 0.6
SMALLEST_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class Query:
    """What the query network says of each cell of the driving picture.

    Attributes:
        content_BNC: projected features.
        shares_BNK: share of each keypoint in the cell's motion; they sum to less than 1. None without keypoint motion.
        rigid_BN1: share of the head's motion as a whole, or None without rigid motion.
        free_BNC: (B, N, 2) free residual of the expected position, or None.
    """

    content_BNC: Tensor
    shares_BNK: Tensor | None
    rigid_BN1: Tensor | None
    free_BNC: Tensor | None

    def __getitem__(self, index: slice) -> Query:
        """Return a slice of the batch."""
        optional = (None if x is None else x[index] for x in (self.shares_BNK, self.rigid_BN1, self.free_BNC))
        return Query(self.content_BNC[index], *optional)


@dataclass(frozen=True, slots=True)
class Key:
    """What the key network says of each cell of a source picture.

    Attributes:
        content_BNC: projected features.
        position_BNC: (B, N, 2) where the cell wants to be looked for: its centre and a small free residual.
        bias_BN: how much a cell asks to be chosen; 0 without keypoint motion.
    """

    content_BNC: Tensor
    position_BNC: Tensor
    bias_BN: Tensor


class CellNetwork(nn.Module):
    """Body that query and key networks share: U-net, projection, motion.

    Args:
        config: the model's shape.
        image_channels: channels of a picture seen beside the keypoints; 0 for none.
        content_dim: channels of the projection.
        motion_dim: channels that tell motion.
    """

    def __init__(self, config: CodecConfig, image_channels: int, content_dim: int, motion_dim: int) -> None:
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
        if config.keypoint_motion:
            self.motion = nn.Conv2d(self.body.out_channels, motion_dim, 3, padding=1)
            start_near_zero(self.motion)

    def features(self, keypoints: Keypoints, image_BCHW: Tensor | None) -> Tensor:
        """Run the U-net over the keypoints' Gaussians, and the picture where there is one."""
        maps_BCHW = spatial_representation(keypoints, self.config.unet_size, self.config.keypoint_variance)
        if image_BCHW is not None:
            maps_BCHW = torch.cat((maps_BCHW, resize(image_BCHW, self.config.unet_size) * 2 - 1), dim=1)
        features_BCHW: Tensor = self.body(maps_BCHW)
        return features_BCHW

    def cells(self, maps_BCHW: Tensor) -> Tensor:
        """Bring maps to the attention's grid and flatten it, (B, N, C)."""
        return resize(maps_BCHW, self.config.grid_size).flatten(2).transpose(1, 2)


class QueryNetwork(CellNetwork):
    """Query from driving keypoints alone."""

    def __init__(self, config: CodecConfig, content_dim: int) -> None:
        super().__init__(config, 0, content_dim, config.num_keypoints + 2 + int(config.rigid_motion))

    def forward(self, keypoints: Keypoints) -> Query:
        """Describe the cells of the picture to be made."""
        features_BCHW = self.features(keypoints, None)
        content_BNC = self.cells(self.content(features_BCHW))
        if not self.config.keypoint_motion:
            return Query(content_BNC, None, None, None)
        motion_BCHW = self.motion(features_BCHW).float()
        num_keypoints = self.config.num_keypoints
        logits_BKHW = motion_BCHW[:, :num_keypoints] + nearness(keypoints.locations_BKC, self.config.unet_size)
        rest_BCHW = torch.full_like(logits_BKHW[:, :1], -FALLOFF * math.log(STILL_DISTANCE**2))
        if self.config.rigid_motion:
            still_BCHW = motion_BCHW[:, num_keypoints : num_keypoints + 1] - FALLOFF * math.log(FAR_DISTANCE**2)
            rest_BCHW = torch.cat((rest_BCHW, still_BCHW), dim=1)
        shares_BKHW = torch.cat((logits_BKHW, rest_BCHW), dim=1).softmax(1)
        rigid_BN1 = 1 - self.cells(shares_BKHW[:, num_keypoints + 1 :]) if self.config.rigid_motion else None
        free_BCHW = FREE_MOTION * torch.tanh(motion_BCHW[:, -2:])
        return Query(content_BNC, self.cells(shares_BKHW[:, :num_keypoints]), rigid_BN1, self.cells(free_BCHW))


class KeyNetwork(CellNetwork):
    """Key from source keypoints and source image."""

    def __init__(self, config: CodecConfig, content_dim: int) -> None:
        super().__init__(config, 3, content_dim, 3)

    def forward(self, keypoints: Keypoints, image_BCHW: Tensor) -> Key:
        """Describe the cells of source pictures, (B, 3, S, S) in [0, 1]."""
        features_BCHW = self.features(keypoints, image_BCHW)
        content_BNC = self.cells(self.content(features_BCHW))
        grid = self.config.grid_size
        centres_BNC = cell_centres(grid, grid, keypoints.locations_BKC).reshape(1, -1, 2)
        centres_BNC = centres_BNC.expand(content_BNC.shape[0], -1, -1)
        if not self.config.keypoint_motion:
            return Key(content_BNC, centres_BNC, torch.zeros_like(centres_BNC[..., 0]))
        motion_BNC = self.cells(self.motion(features_BCHW).float())
        return Key(content_BNC, centres_BNC + FREE_MOTION * torch.tanh(motion_BNC[..., :2]), motion_BNC[..., 2])


def nearness(locations_BKC: Tensor, size: int) -> Tensor:
    """Return logits of the inverse distance of each cell from each keypoint, to a power, (B, K, size, size)."""
    centres_HWC = cell_centres(size, size, locations_BKC)
    squared_BKHW = (centres_HWC - locations_BKC[:, :, None, None]).square().sum(-1)
    return -FALLOFF * torch.log(squared_BKHW + NEAREST**2)


def expected_positions(
    query: Query, driving_BKC: Tensor, reference_BRKC: Tensor, grid: int, weight_K: Tensor | None
) -> Tensor:
    """Return where each cell is expected in each reference, (B, R, N, 2).

    Args:
        query: with shares.
        driving_BKC: driving keypoints.
        reference_BRKC: keypoints of the references.
        grid: cells of the attention's grid, each way.
        weight_K: how much each keypoint tells of the head's motion as a whole; None moves nothing as a whole.
    """
    if query.shares_BNK is None or query.free_BNC is None:
        raise ValueError("this query has no keypoint motion")
    centres_NC = cell_centres(grid, grid, driving_BKC).reshape(-1, 2)
    moved_BRNC, carried_BRKC = centres_NC.expand(*reference_BRKC.shape[:2], -1, -1), driving_BKC[:, None]
    if weight_K is not None and query.rigid_BN1 is not None:
        rigid = Similarity.between(driving_BKC[:, None], reference_BRKC, weight_K)
        moved_BRNC = torch.lerp(moved_BRNC, rigid(centres_NC), query.rigid_BN1[:, None])
        carried_BRKC = rigid(carried_BRKC)
    return moved_BRNC + query.shares_BNK[:, None] @ (reference_BRKC - carried_BRKC) + query.free_BNC[:, None]


@dataclass(frozen=True, slots=True)
class Similarity:
    """Shift, turn and scale: p becomes M (p - origin) + target.

    Attributes:
        origin_1C: (..., 1, 2).
        target_1C: (..., 1, 2).
        turn_CC: (..., 2, 2), transposed, to be applied from the right.
    """

    origin_1C: Tensor
    target_1C: Tensor
    turn_CC: Tensor

    @classmethod
    def between(cls, source_KC: Tensor, target_KC: Tensor, weight_K: Tensor) -> Similarity:
        """Fit the similarity that takes points to points best (weighted least squares; Umeyama 1991, in the plane).

        Args:
            source_KC: (..., K, 2).
            target_KC: (..., K, 2).
            weight_K: weights of the points, positive.
        """
        weight_K1 = (weight_K / weight_K.sum())[:, None]
        origin_1C = (weight_K1 * source_KC).sum(-2, keepdim=True)
        goal_1C = (weight_K1 * target_KC).sum(-2, keepdim=True)
        source_KC, target_KC = source_KC - origin_1C, target_KC - goal_1C
        squared = (weight_K1 * source_KC.square()).sum((-2, -1)) + SMALLEST_SPREAD
        along = ((weight_K1 * source_KC * target_KC).sum((-2, -1)) + SMALLEST_SPREAD) / squared
        crossed_K = source_KC[..., 0] * target_KC[..., 1] - source_KC[..., 1] * target_KC[..., 0]
        across = (weight_K1[:, 0] * crossed_K).sum(-1) / squared
        turn_CC = torch.stack((along, across, -across, along), dim=-1).unflatten(-1, (2, 2))
        return cls(origin_1C, goal_1C, turn_CC)

    def __call__(self, points_NC: Tensor) -> Tensor:
        """Move points, (..., N, 2)."""
        return (points_NC - self.origin_1C) @ self.turn_CC + self.target_1C
