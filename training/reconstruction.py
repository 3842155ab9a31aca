"""The model as it is trained: pictures of a batch through detector, quantiser (straight-through) and generator.

    driving, references -> keypoints -> quantiser -> generator -> picture, and the keypoints of a warped driving picture

One module with one forward, so that DistributedDataParallel and torch.compile take it whole. Shape legend: B batch,
R references, K keypoints, M keys, C channels or (x, y), H height, W width.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.bitstream.priors import BASIS_BITS, GRID_BITS
from codec.config import CodecConfig
from codec.model.generator import Generated, Generator, ReferenceFeatures
from codec.structs import Keypoints


@dataclass(frozen=True, slots=True)
class Reconstructed:
    """What the model makes of a batch.

    Attributes:
        generated: the driving pictures, rebuilt.
        keypoints: of the driving pictures, then of the references (sample by sample), not quantised.
        deformed: of the warped driving pictures; None when they were not asked for.
    """

    generated: Generated
    keypoints: Keypoints
    deformed: Keypoints | None


class Reconstruction(nn.Module):
    """Rebuild driving pictures from references.

    Args:
        generator: all networks.
        quantise: whether the generator sees keypoints as the receiver gets them.
    """

    def __init__(self, generator: Generator, quantise: bool) -> None:
        super().__init__()
        self.generator, self.quantise = generator, quantise

    def forward(
        self,
        driving_BCHW: Tensor,
        references_BRCHW: Tensor,
        warped_BCHW: Tensor | None,
        dropped_BM: Tensor | None,
        errors_BK3: Tensor | None = None,
    ) -> Reconstructed:
        """Rebuild a batch.

        Args:
            driving_BCHW: in [0, 1].
            references_BRCHW: other pictures of the same people.
            warped_BCHW: driving pictures under a random spline, for the equivariance loss, or None.
            dropped_BM: references' keys to hide (key/value dropout), or None.
            errors_BK3: of the driving keypoints' x, y and strength as the receiver gets them, or None.
        """
        num_samples, num_references = references_BRCHW.shape[:2]
        pictures = [driving_BCHW, references_BRCHW.flatten(0, 1)]
        if warped_BCHW is not None:
            pictures.append(warped_BCHW)
        detected = self.generator.detect(torch.cat(pictures))
        num_exact = num_samples * (1 + num_references)
        exact = detected[:num_exact]
        driving = exact[:num_samples]
        if errors_BK3 is not None:
            driving = with_errors(driving, errors_BK3)
        if self.quantise:
            driving = quantise_straight_through(driving, self.generator.config)
        features = self.generator.encode_reference(pictures[1], exact[num_samples:])
        memory = self.generator.combine(split_references(features, num_samples, num_references))
        if dropped_BM is not None:
            dropped_BM = nn.functional.pad(dropped_BM, (0, memory.keys_BMD.shape[1] - dropped_BM.shape[1]))
        generated = self.generator(driving, memory, dropped_BM)
        return Reconstructed(generated, exact, None if warped_BCHW is None else detected[num_exact:])


def split_references(features: ReferenceFeatures, num_samples: int, num_references: int) -> list[ReferenceFeatures]:
    """Split the features of B * R references into R of B each."""
    fields = {
        field.name: getattr(features, field.name).unflatten(0, (num_samples, num_references))
        for field in dataclasses.fields(features)
    }
    slots = ({name: tensor[:, slot] for name, tensor in fields.items()} for slot in range(num_references))
    return [ReferenceFeatures(**slot) for slot in slots]


def with_errors(keypoints: Keypoints, errors_BK3: Tensor) -> Keypoints:
    """Move keypoints, within their range."""
    locations_BKC = (keypoints.locations_BKC + errors_BK3[..., :2]).clamp(-1, 1)
    return Keypoints(locations_BKC, (keypoints.strengths_BK + errors_BK3[..., 2]).clamp(0, 1))


def coding_errors(basis_NN: Tensor, deviation: float, count: int, draws: torch.Generator) -> Tensor:
    """Draw errors of keypoints as a quantiser of coefficients leaves them, (B, K, 3).

    Args:
        basis_NN: of the bitstream's priors.
        deviation: of each coefficient, in steps.
        count: B.
        draws: source of the draws.
    """
    steps_BN = torch.randn(count, len(basis_NN), generator=draws) * deviation
    unit_BN = steps_BN @ basis_NN.T / (1 << BASIS_BITS + GRID_BITS)
    errors_BK3: Tensor = unit_BN.unflatten(1, (-1, 3)) * torch.tensor([2.0, 2.0, 1.0])
    return errors_BK3


def quantise_straight_through(keypoints: Keypoints, codec: CodecConfig) -> Keypoints:
    """Round keypoints as the bitstream does; gradients pass as if it did not."""
    locations_BKC = round_to_bins((keypoints.locations_BKC + 1) / 2, codec.location_bits) * 2 - 1
    return Keypoints(locations_BKC, round_to_bins(keypoints.strengths_BK, codec.strength_bits))


def round_to_bins(unit: Tensor, bits: int) -> Tensor:
    """Move values in [0, 1] to the centres of 2**bits bins; the gradient is that of the identity."""
    levels: int = 1 << bits
    rounded = ((unit * levels).floor().clamp(0, levels - 1) + 0.5) / levels
    return unit + (rounded - unit).detach()
