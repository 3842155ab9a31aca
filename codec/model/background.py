"""Background: what of a reference moves with the speaker, and what stands still behind.

    reference image, keypoints -> matte network -> matte         once per reference
    images, mattes of all references -> still backgrounds        once per change of the set

Ours, when ``still_background`` is on. Motion that is smooth drags the wall behind a head along and bends its outline;
two layers do not. A reference's matte says how much each pixel belongs to the speaker. It is warped with the pixels,
and where it is low the still background shows through. What no reference shows behind the speaker is filled from
around it, coarse to fine (the pull-push of Gortler et al., "The lumigraph", 1996, section 3.3). A frame pays only for
one more sampled channel.

Shape legend: B batch, R references, K keypoints, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.blocks import start_near_zero
from codec.model.grid import cell_centres, resize
from codec.model.keypoints import spatial_representation
from codec.model.unet import UNet
from codec.structs import Keypoints

MATTE_WIDTH = 16
MATTE_MAX_WIDTH = 64
MATTE_BLOCKS = 4
SPEAKER_RADIUS = 0.4
SPEAKER_SLOPE = 8.0
SMALLEST_WEIGHT = 1e-4
FIRM = 1.1
"""Mattes above 1 / 1.1 hide all: the little that a matte misses would add up to a ghost of the speaker."""
OUTLINE = 3
"""Pixels, an odd number: how wide a brush leaves out the speaker's outline, where colours are mixed."""


class MatteNetwork(nn.Module):
    """Tell the speaker from what stands still, at half the picture's size; starts as a margin around the keypoints."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.body = UNet(3 + config.num_keypoints, MATTE_WIDTH, MATTE_MAX_WIDTH, MATTE_BLOCKS, config.batch_norm)
        self.matte = nn.Conv2d(self.body.out_channels, 1, 3, padding=1)
        start_near_zero(self.matte)

    def forward(self, keypoints: Keypoints, image_BCHW: Tensor) -> Tensor:
        """Say how much each pixel moves with the speaker.

        Args:
            keypoints: of the image.
            image_BCHW: (B, 3, S, S) in [0, 1].

        Returns:
            (B, 1, S, S) in [0, 1]: 1 is the speaker, 0 stands still.
        """
        logits_BCHW = self.logits(keypoints, resize(image_BCHW, image_BCHW.shape[-1] // 2))
        matte_BCHW: Tensor = torch.sigmoid(resize(logits_BCHW, image_BCHW.shape[-1]))
        return matte_BCHW

    def logits(self, keypoints: Keypoints, halved_BCHW: Tensor) -> Tensor:
        """Return what ``forward`` puts through the sigmoid, (B, 1, S / 2, S / 2), of pictures at half their size."""
        size = halved_BCHW.shape[-1]
        maps_BCHW = spatial_representation(keypoints, size, self.config.keypoint_variance)
        features_BCHW = self.body(torch.cat((maps_BCHW, halved_BCHW * 2 - 1), dim=1))
        logits_BCHW: Tensor = self.matte(features_BCHW).float() + margin(keypoints.locations_BKC, size)
        return logits_BCHW


def margin(locations_BKC: Tensor, size: int) -> Tensor:
    """Return logits that fall with the distance from the nearest keypoint, (B, 1, size, size)."""
    centres_NC = cell_centres(size, size, locations_BKC).reshape(-1, 2)
    nearest_BN = torch.cdist(locations_BKC, centres_NC.expand(locations_BKC.shape[0], -1, -1)).amin(1)
    logits_BCHW: Tensor = (SPEAKER_SLOPE * (SPEAKER_RADIUS - nearest_BN)).unflatten(1, (1, size, size))
    return logits_BCHW


def still_backgrounds(image_BRCHW: Tensor, matte_BRCHW: Tensor) -> Tensor:
    """Take the speaker out of every reference.

    Args:
        image_BRCHW: (B, R, 3, S, S) in [0, 1].
        matte_BRCHW: (B, R, 1, S, S) in [0, 1].

    Returns:
        (B, R, 4, S, S): each reference's own background, and where the speaker or the outline hides it that of the
        other references, or what is around. The fourth channel is 1 where the colour is some reference's, and 0 where
        it is invented.
    """
    hidden_BRCHW = F.max_pool2d(matte_BRCHW.flatten(0, 1), OUTLINE, stride=1, padding=OUTLINE // 2)
    still_BRCHW = (1 - FIRM * hidden_BRCHW.unflatten(0, matte_BRCHW.shape[:2])).clamp(min=0)
    seen_BCHW = still_BRCHW.sum(1)
    fill_BCHW = pull_push((still_BRCHW * image_BRCHW).sum(1), seen_BCHW)
    own_BRCHW = torch.lerp(fill_BCHW[:, None], image_BRCHW, still_BRCHW)
    known_BCHW = (2 * seen_BCHW).clamp(max=1)
    return torch.cat((own_BRCHW, known_BCHW[:, None].expand_as(matte_BRCHW)), dim=2)


def pull_push(weighted_BCHW: Tensor, weight_BCHW: Tensor) -> Tensor:
    """Fill the holes of a picture from around them (Gortler et al. 1996, section 3.3).

    Args:
        weighted_BCHW: (B, C, S, S), colours times their weights.
        weight_BCHW: (B, 1, S, S), not negative; 1 and more is fully known, 0 a hole.

    Returns:
        (B, C, S, S): the known colours, and smooth ones in the holes.
    """
    known_BCHW = weight_BCHW.clamp(max=1)
    colour_BCHW = weighted_BCHW * (known_BCHW / weight_BCHW.clamp(min=SMALLEST_WEIGHT))
    size = colour_BCHW.shape[-1]
    if size % 2:
        mean_BCHW = colour_BCHW.mean((2, 3), keepdim=True)
        coarse_BCHW = mean_BCHW / known_BCHW.mean((2, 3), keepdim=True).clamp(min=SMALLEST_WEIGHT)
    else:
        halved = F.avg_pool2d(colour_BCHW, 2), F.avg_pool2d(known_BCHW, 2)
        coarse_BCHW = resize(pull_push(4 * halved[0], 4 * halved[1]), size)
    return colour_BCHW + (1 - known_BCHW) * coarse_BCHW
