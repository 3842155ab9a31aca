"""What a step minimises: every loss by name, weighed.

    Batch, Reconstructed, spline, judgements of the discriminator -> Objective -> {name: weighted loss}

Shape legend: B batch, R references, K keypoints, L landmarks, C channels or (x, y), H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import TrainConfig
from training.discriminator import Judgement
from training.evaluate.metrics.lpips import Lpips
from training.feed import Batch
from training.landmarks import NUM_LANDMARKS
from training.losses import (
    equivariance_loss,
    face_weight,
    feature_matching_loss,
    generator_loss,
    landmark_loss,
    spread_loss,
)
from training.perceptual import PerceptualLoss
from training.reconstruction import Reconstructed
from training.spline import ThinPlateSpline


class Objective:
    """The generator's losses; those of weight 0 are not computed.

    Args:
        config: weights of the losses.
        perceptual: the perceptual loss, or None where its weight is 0.
        lpips: the metric, or None where its weight is 0.
    """

    def __init__(self, config: TrainConfig, perceptual: PerceptualLoss | None, lpips: Lpips | None = None) -> None:
        self.config, self.weights, self.perceptual, self.lpips = config, config.losses, perceptual, lpips

    def losses(
        self, batch: Batch, made: Reconstructed, spline: ThinPlateSpline | None, draws: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return all losses but the adversarial ones."""
        losses = self.picture_losses(batch, made, draws) | self.keypoint_losses(batch, made)
        if spline is not None and made.deformed is not None:
            locations_BKC = made.keypoints.locations_BKC[: len(batch.driving_BCHW)]
            equivariance = equivariance_loss(locations_BKC, made.deformed.locations_BKC, spline)
            losses["equivariance"] = self.weights.equivariance * equivariance
        return losses

    def picture_losses(self, batch: Batch, made: Reconstructed, draws: torch.Generator | None) -> dict[str, Tensor]:
        """Compare the pictures, painted and carried, with the driving ones."""
        losses, image_BCHW, weights = {}, made.generated.image_BCHW, self.weights
        weight_BCHW = self.pixel_weight(batch, made)
        if self.perceptual is not None:
            losses["perceptual"] = weights.perceptual * self.perceptual(image_BCHW, batch.driving_BCHW, draws)
        if self.lpips is not None:
            losses["lpips"] = weights.lpips * self.lpips.loss(image_BCHW, batch.driving_BCHW)
        if weights.pixel:
            losses["pixel"] = weights.pixel * (weight_BCHW * (image_BCHW - batch.driving_BCHW).abs()).mean()
        if weights.warped and made.generated.warped_BCHW is not None:
            difference_BCHW = made.generated.warped_BCHW - batch.driving_BCHW
            losses["warped"] = weights.warped * (weight_BCHW * difference_BCHW.abs()).mean()
        return losses

    def pixel_weight(self, batch: Batch, made: Reconstructed) -> Tensor | float:
        """Return how much each pixel weighs: more at the keypoints that sit on the face."""
        num_facial = min(self.num_taught(batch), NUM_LANDMARKS)
        if not num_facial or not self.weights.face_emphasis:
            return 1.0
        taught_BKC = made.keypoints.locations_BKC[: len(batch.driving_BCHW), :num_facial].detach()
        return face_weight(taught_BKC, batch.driving_BCHW.shape[-1], self.weights.face_emphasis)

    def num_taught(self, batch: Batch) -> int:
        """Return how many of the first keypoints sit on the face, taught by landmarks or before."""
        if batch.landmarks_BSLC is not None and self.weights.landmarks:
            return batch.landmarks_BSLC.shape[2]
        return self.config.face_keypoints

    def keypoint_losses(self, batch: Batch, made: Reconstructed) -> dict[str, Tensor]:
        """Compare keypoints with landmarks and with each other."""
        losses, locations_BKC, weights = {}, made.keypoints.locations_BKC, self.weights
        if batch.landmarks_BSLC is not None and weights.landmarks:
            landmarks_BLC = torch.cat((batch.landmarks_BSLC[:, 0], batch.landmarks_BSLC[:, 1:].flatten(0, 1)))
            losses["landmarks"] = weights.landmarks * landmark_loss(locations_BKC, landmarks_BLC, batch.num_known)
        if weights.spread:
            spread = spread_loss(locations_BKC, weights.spread_distance, self.num_taught(batch))
            losses["spread"] = weights.spread * spread
        return losses

    def adversarial_losses(self, real: list[Judgement], made: list[Judgement]) -> dict[str, Tensor]:
        """Return what the discriminator says of the made pictures beside the real ones."""
        losses = {"gan": self.weights.gan * generator_loss(made)}
        if self.weights.feature_matching:
            losses["feature_matching"] = self.weights.feature_matching * feature_matching_loss(real, made)
        return losses
