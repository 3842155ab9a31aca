"""Stage 2 of 8: image to keypoints with strengths (supplement, section C and figure 8).

    image -> 1/4 size -> hourglass -> heat maps -> spatial softmax (temperature 0.1) -> expectation = locations
                                  `-> strength maps -> averaged under the same softmax -> sigmoid = strengths

Shape legend: B batch, K keypoints, C channels or (x, y), H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.grid import cell_centres, gaussians, resize
from codec.model.unet import UNet
from codec.structs import Keypoints

ANCHOR_RADIUS = 0.75
ANCHOR_SPREAD = 0.35
NUM_STIFF, NUM_LIPS = 13, 5
SOFT, LOOSE = -1.0, -6.0

FACE_ANCHORS = (
    (-0.38, 0.16), (0.0, 0.51), (0.38, 0.16), (-0.23, -0.33), (0.23, -0.33), (0.0, -0.20), (0.0, 0.01),
    (-0.27, -0.18), (-0.19, -0.21), (-0.19, -0.165), (0.27, -0.18), (0.19, -0.21), (0.19, -0.165),
    (-0.16, 0.225), (0.16, 0.225), (0.0, 0.22), (0.0, 0.26), (0.0, 0.32),
    (-0.60, 0.85), (0.60, 0.85),
)  # fmt: skip
"""Mean places, over the training clips, of jaw, chin, jaw, brows, nose bridge and tip, eyes (outer corner, upper and
lower lid; left, then right), mouth corners, inner lips, lower lip (see ``training.landmarks``); then the shoulders."""


CHIN, BROWS = 1, (3, 4)
OUTER_CORNERS, UPPER_LIDS, LOWER_LIDS = (7, 10), (8, 11), (9, 12)
"""Numbers of some of them."""


class KeypointDetector(nn.Module):
    """Find K keypoints with strengths; FOMM's detector with a strength branch instead of Jacobians."""

    anchors_KC: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.body = UNet(3, config.detector_width, config.detector_max_width, config.detector_blocks, config.batch_norm)
        self.heatmap = nn.Conv2d(self.body.out_channels, config.num_keypoints, 7, padding=3)
        self.strength = nn.Conv2d(self.body.out_channels, config.num_keypoints, 7, padding=3)
        if config.anchored_keypoints:
            nn.init.normal_(self.heatmap.weight, std=1e-3)
        self.register_buffer("anchors_KC", anchors(config.num_keypoints), persistent=False)

    def forward(self, image_BCHW: Tensor) -> Keypoints:
        """Find the keypoints of images.

        Args:
            image_BCHW: (B, 3, H, W) in [0, 1], of any size.

        Returns:
            Locations (B, K, 2) in [-1, 1] and strengths (B, K) in [0, 1].
        """
        features_BCHW = self.body(resize(image_BCHW, self.config.detector_size) * 2 - 1)
        heat_BKP = self.spatial_softmax(self.heatmap(features_BCHW).float())
        size = self.config.detector_size
        centres_PC = cell_centres(size, size, heat_BKP).reshape(-1, 2)
        with torch.autocast(heat_BKP.device.type, enabled=False):  # bfloat16 would round locations to half a pixel
            locations_BKC = heat_BKP @ centres_PC
        strength_BKP = self.strength(features_BCHW).float().flatten(2)
        strengths_BK = torch.sigmoid((heat_BKP * strength_BKP).sum(-1))
        return Keypoints(locations_BKC, strengths_BK)

    def spatial_softmax(self, logits_BKHW: Tensor) -> Tensor:
        """Turn heat maps into distributions over cells, (B, K, H*W), each around its anchor where anchors are on."""
        logits_BKP = (logits_BKHW / self.config.detector_temperature).flatten(2)
        if self.config.anchored_keypoints:
            size = logits_BKHW.shape[-1]
            centres_PC = cell_centres(size, size, logits_BKP).reshape(-1, 2)
            distance_KP = torch.cdist(self.anchors_KC.to(logits_BKP.dtype), centres_PC)
            logits_BKP = logits_BKP - 0.5 * (distance_KP / ANCHOR_SPREAD).square()
        return logits_BKP.softmax(-1)


def are_on_a_face(config: CodecConfig) -> bool:
    """Return whether a model's keypoints are those of ``FACE_ANCHORS``."""
    return config.anchored_keypoints and config.num_keypoints == len(FACE_ANCHORS)


def anchors(num_keypoints: int) -> Tensor:
    """Return where keypoints start, (K, 2): on the face for 20 of them, else evenly spread."""
    if num_keypoints == len(FACE_ANCHORS):
        return torch.tensor(FACE_ANCHORS)
    return sunflower(num_keypoints, ANCHOR_RADIUS)


def rigidity(num_keypoints: int) -> Tensor:
    """Return how much each keypoint tells of the head as a whole at the start, log weights (K,): lips, shoulders less.

    The numbers are those of ``FACE_ANCHORS``; other numbers of keypoints have no meaning yet and weigh evenly.
    """
    if num_keypoints != len(FACE_ANCHORS):
        return torch.zeros(num_keypoints)
    return torch.tensor([0.0] * NUM_STIFF + [SOFT] * NUM_LIPS + [LOOSE] * (num_keypoints - NUM_STIFF - NUM_LIPS))


def sunflower(num_points: int, radius: float) -> Tensor:
    """Spread points evenly over a disc (Vogel's spiral), (K, 2)."""
    index = torch.arange(num_points, dtype=torch.float32) + 0.5
    angle = index * math.pi * (3 - math.sqrt(5))
    distance = radius * torch.sqrt(index / num_points)
    return torch.stack((distance * torch.cos(angle), distance * torch.sin(angle)), dim=-1)


def spatial_representation(keypoints: Keypoints, size: int, variance: float) -> Tensor:
    """Draw keypoints as K maps: a Gaussian at each, times its strength.

    Args:
        keypoints: locations (B, K, 2) and strengths (B, K).
        size: height and width of the maps.
        variance: of the Gaussians, in [-1, 1] coordinates.

    Returns:
        (B, K, size, size).
    """
    return gaussians(keypoints.locations_BKC, size, variance) * keypoints.strengths_BK[:, :, None, None]
