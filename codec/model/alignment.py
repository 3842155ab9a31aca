"""Between stages 2 and 3 of 8: keypoints such that what they carry meets the picture (at the sender).

    picture, detected keypoints, ReferenceMemory -> Aligner -> keypoints that rebuild the picture better

The detector sees a small picture and no reference; its keypoints are a pixel or two off, and so is what is rebuilt from
them. A sender that knows the references can look at what they would make of its keypoints, and move them until it lies
on the picture: direct image alignment (Lucas and Kanade 1981; Baker and Matthews, "Lucas-Kanade 20 years on", 2004),
where the warp's parameters are the keypoints. The stream does not change, nor does the receiver.

Where the attention finds each cell in each reference (``Found.flow_BRHWC``) depends on the keypoints all but linearly
through the expected positions, so the network runs once for some pictures, and Gauss-Newton steps move cells by the
derivatives of those. Within a cell the derivative is taken as constant: each cell's pixels add up to a small matrix
before keypoints come in. Differences are weighed robustly (by the inverse of their size), for pictures differ in more
than motion, and less one gain and offset a colour, for cameras change exposure. Keypoints that the picture says nothing
of stay as they were detected.

Shape legend: B batch, R references, K keypoints, P = 2 K parameters, N cells, A = 2 R axes, C channels or (x, y),
S height and width, H and W cells of the grid, F pixels of a cell times colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.model.generator import Generator, ReferenceFeatures, ReferenceMemory, fine_places, mixing
from codec.model.grid import resize, sample
from codec.model.query_key import Query
from codec.structs import Keypoints

PIXELS_PER_CELL = 4
STEPS = 2
USES = 3
"""Pictures in a row that are aligned with what the network found for the first of them."""
NEAR = 6 / 128
"""How far keypoints may be from those that the network ran for, in [-1, 1] coordinates: six pixels of 256."""
STEP = 1e-3
"""Of the derivatives, in [-1, 1] coordinates."""
STIFFNESS = 10.0
"""What keypoints' squared distances from the detected ones cost, in [-1, 1] coordinates, mean over parameters."""
HOLD = 40.0
"""The same of their distances from where they were in the picture before, while they keep still."""
NOISE = 1 / 256
"""How far detected keypoints move by themselves, in [-1, 1] coordinates."""
SOFTNESS = 0.05
"""Differences of colours in [0, 1] well under this weigh by their squares, over it by their size."""
EXPOSURE_STIFFNESS = 0.02


@dataclass(slots=True)
class Tangent:
    """What the network finds for some keypoints, and how that changes near them.

    Attributes:
        locations_BKC: the keypoints.
        flow_BRNC: where each cell is found in each reference.
        slope_BRNCP: its change with each parameter.
        mix_BRSS: what each reference gives to each pixel.
        num_uses: pictures that were aligned with it.
    """

    locations_BKC: Tensor
    flow_BRNC: Tensor
    slope_BRNCP: Tensor
    mix_BRSS: Tensor
    num_uses: int = 0

    def is_near(self, locations_BKC: Tensor) -> bool:
        """Whether it tells about these keypoints too."""
        return float((locations_BKC - self.locations_BKC).abs().max()) < NEAR


class Aligner:
    """Aligns keypoints to pictures by one set of references.

    Pictures should come in order: the network runs for every third one only, as long as keypoints move little.

    Args:
        generator: the networks, with warped pixels and keypoint motion; their weights are not changed.
        memory: the references that the receiver has.

    Raises:
        ValueError: the generator carries no pixels.
    """

    def __init__(self, generator: Generator, memory: ReferenceMemory) -> None:
        config = generator.config
        if not config.can_align:
            raise ValueError(f"{config.name} carries no pixels by keypoints; there is nothing to align")
        self.generator, self.memory = generator, memory
        self._tangent: Tangent | None = None
        self.size = min(PIXELS_PER_CELL * config.grid_size, config.image_size)
        self.small_BRCSS = _resized(memory.image_BRCHW, self.size)
        self.behind_BRCSS = None
        if memory.background_BRCHW is not None:
            self.behind_BRCSS = _resized(memory.background_BRCHW[:, :, :3], self.size)
            self.still_BRACSS = torch.stack(differences(self.behind_BRCSS), dim=2)

    @torch.no_grad()
    def align(self, keypoints: Keypoints, image_BCHW: Tensor, before: Keypoints | None = None) -> Keypoints:
        """Move keypoints so that the references' pixels that they carry meet the picture.

        Args:
            keypoints: as detected in the picture.
            image_BCHW: the picture, (B, 3, S, S) in [0, 1], B that of the memory.
            before: what this returned for the picture before, if there was one.

        Returns:
            Locations moved by some pixels at most; strengths as they were.
        """
        tangent, wanted_BCSS = self.tangent(keypoints), resize(image_BCHW, self.size)
        locations_BKC = keypoints.locations_BKC
        moved_BP = torch.zeros_like(locations_BKC).flatten(1)
        springs = [(torch.full_like(moved_BP, STIFFNESS), moved_BP)]
        if before is not None:
            springs.append(holding(locations_BKC, before.locations_BKC))
        away_BP = (locations_BKC - tangent.locations_BKC).flatten(1)
        for _ in range(STEPS):
            change_BRNC = (tangent.slope_BRNCP @ (away_BP + moved_BP)[:, None, None, :, None]).squeeze(-1)
            moved_BP = moved_BP + self.step(tangent, tangent.flow_BRNC + change_BRNC, wanted_BCSS, moved_BP, springs)
        locations_BKC = locations_BKC + moved_BP.unflatten(1, (-1, 2))
        return Keypoints(locations_BKC.clamp(-1, 1), keypoints.strengths_BK)

    def tangent(self, keypoints: Keypoints) -> Tangent:
        """Return what the network finds for these keypoints, or for those of the picture before if they are near."""
        kept = self._tangent
        if kept is None or kept.num_uses >= USES or not kept.is_near(keypoints.locations_BKC):
            found = self.generator.find(keypoints, self.memory)
            assert found.flow_BRHWC is not None and found.shares_BRHW is not None  # noqa: PT018 - it carries pixels
            kept = self._tangent = Tangent(
                keypoints.locations_BKC,
                found.flow_BRHWC.flatten(2, 3),
                self.slopes(found.query, keypoints),
                mixing(found.shares_BRHW, self.size),
            )
        kept.num_uses += 1
        return kept

    def slopes(self, query: Query, keypoints: Keypoints) -> Tensor:
        """Return how cells' expected positions move with each parameter, (B, R, N, 2, P)."""
        locations_BKC = keypoints.locations_BKC
        count = locations_BKC[0].numel()
        nudge_PKC = STEP * torch.eye(count).to(locations_BKC).unflatten(1, (-1, 2))
        slopes = []
        for index in range(len(locations_BKC)):
            one = query[index : index + 1]
            around_PKC = torch.cat((locations_BKC[index : index + 1], locations_BKC[index] + nudge_PKC))
            references_PRKC = self.memory.locations_BRKC[index : index + 1].expand(count + 1, -1, -1, -1)
            position_PRNC = self.generator.expect(one, Keypoints(around_PKC, keypoints.strengths_BK), references_PRKC)
            slopes.append((position_PRNC[1:] - position_PRNC[:1]).permute(1, 2, 3, 0) / STEP)
        return torch.stack(slopes)

    def step(
        self,
        tangent: Tangent,
        flow_BRNC: Tensor,
        wanted_BCSS: Tensor,
        moved_BP: Tensor,
        springs: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Return one Gauss-Newton step of the parameters, (B, P); springs are stiffnesses and where they pull to."""
        made_BCSS, slope_BACSS = self.carry(flow_BRNC, tangent.mix_BRSS)
        error_BCSS = exposed(made_BCSS, wanted_BCSS) - made_BCSS
        weight_BCSS = (error_BCSS.square() + SOFTNESS**2).rsqrt()
        cells = self.generator.config.grid_size
        slope_BNAF = by_cell(slope_BACSS, cells)
        weighed_BNAF = slope_BNAF * by_cell(weight_BCSS[:, None], cells)
        inner_BNAA = weighed_BNAF @ slope_BNAF.transpose(-1, -2)
        outer_BNA1 = weighed_BNAF @ by_cell(error_BCSS[:, None], cells).transpose(-1, -2)
        slope_BNAP = tangent.slope_BRNCP.transpose(1, 2).flatten(2, 3)
        count = wanted_BCSS[0].numel()
        hessian_BPP = (inner_BNAA @ slope_BNAP).flatten(1, 2).transpose(1, 2) @ slope_BNAP.flatten(1, 2) / count
        gradient_BP = (slope_BNAP * outer_BNA1).sum((1, 2)) / count
        for stiffness_BP, goal_BP in springs:
            mean_BP = stiffness_BP / moved_BP.shape[1]
            hessian_BPP = hessian_BPP + torch.diag_embed(mean_BP)
            gradient_BP = gradient_BP + mean_BP * (goal_BP - moved_BP)
        step_BP: Tensor = torch.linalg.solve(hessian_BPP, gradient_BP)
        return step_BP

    def carry(self, flow_BRNC: Tensor, mix_BRSS: Tensor) -> tuple[Tensor, Tensor]:
        """Carry the references' pixels.

        Returns:
            The picture, (B, 3, S, S), and its change with the place in each reference, (B, 2 R, 3, S, S).
        """
        batch, num_references = mix_BRSS.shape[:2]
        grid = self.generator.config.grid_size
        places_BSSC = fine_places(flow_BRNC.unflatten(2, (grid, grid)).flatten(0, 1), self.size)
        found_BRCSS = sample(self.small_BRCSS.flatten(0, 1), places_BSSC).unflatten(0, (batch, num_references))
        layer_BRCSS, share_BRCSS = found_BRCSS[:, :, :3], None
        if self.behind_BRCSS is not None:
            share_BRCSS = found_BRCSS[:, :, 3:].clamp(0, 1)
            layer_BRCSS = torch.lerp(self.behind_BRCSS, layer_BRCSS, share_BRCSS)
        slope_BRACSS = torch.stack(differences(layer_BRCSS), dim=2)
        if self.behind_BRCSS is not None and share_BRCSS is not None:
            slope_BRACSS = slope_BRACSS - (1 - share_BRCSS)[:, :, None] * self.still_BRACSS
        slope_BACSS = (slope_BRACSS * mix_BRSS[:, :, None, None]).flatten(1, 2)
        return (layer_BRCSS * mix_BRSS[:, :, None]).sum(1), slope_BACSS


class NearestAligner:
    """Aligns keypoints by the reference that is most like the picture: as good as by all, for the price of one.

    Args:
        generator: see ``Aligner``.
        references: that the receiver has, at least one, of one picture each.

    Raises:
        ValueError: the generator carries no pixels, or there are no references.
    """

    def __init__(self, generator: Generator, references: Sequence[ReferenceFeatures]) -> None:
        if not references:
            raise ValueError("keypoints are aligned to references; there are none")
        self.generator = generator
        with torch.no_grad():
            self.aligners = [Aligner(generator, generator.combine([reference])) for reference in references]
        self.locations_BRKC = torch.stack([reference.locations_BKC for reference in references], dim=1)

    @torch.no_grad()
    def align(self, keypoints: Keypoints, image_BCHW: Tensor, before: Keypoints | None = None) -> Keypoints:
        """See ``Aligner.align``; one picture."""
        alike_R = self.generator.alikeness(keypoints, self.locations_BRKC).mean((0, 1))
        return self.aligners[int(alike_R.argmax())].align(keypoints, image_BCHW, before)


def holding(locations_BKC: Tensor, before_BKC: Tensor) -> tuple[Tensor, Tensor]:
    """Return springs that hold keypoints where they were, each (B, P): weak for those that moved further than noise."""
    moved_BKC = before_BKC.to(locations_BKC) - locations_BKC
    squared_BK1 = moved_BKC.square().sum(-1, keepdim=True) / NOISE**2
    return (HOLD / (1 + squared_BK1)).expand_as(moved_BKC).flatten(1), moved_BKC.flatten(1)


def differences(image_BRCSS: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences along x and y, a unit of [-1, 1] coordinates; at the border half of them."""
    size = image_BRCSS.shape[-1]
    padded = F.pad(image_BRCSS.flatten(0, 1), (1, 1, 1, 1), mode="replicate").unflatten(0, image_BRCSS.shape[:2])
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (size / 4)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (size / 4)
    return across, down


def exposed(made_BCSS: Tensor, wanted_BCSS: Tensor) -> Tensor:
    """Return the wanted picture with the exposure of the made one: less a gain and an offset of each colour."""
    made_mean, wanted_mean = (x.mean((2, 3), keepdim=True) for x in (made_BCSS, wanted_BCSS))
    made_BCSS, wanted_BCSS = made_BCSS - made_mean, wanted_BCSS - wanted_mean
    along = (made_BCSS * wanted_BCSS).mean((2, 3), keepdim=True) + EXPOSURE_STIFFNESS
    gain = along / (wanted_BCSS.square().mean((2, 3), keepdim=True) + EXPOSURE_STIFFNESS)
    return gain * wanted_BCSS + made_mean


def by_cell(maps_BACSS: Tensor, cells: int) -> Tensor:
    """Gather the pixels of each cell, (B, A, C, S, S) to (B, N, A, F)."""
    block = maps_BACSS.shape[-1] // cells
    split = maps_BACSS.unflatten(4, (cells, block)).unflatten(3, (cells, block))
    gathered_BNAF: Tensor = split.permute(0, 3, 5, 1, 2, 4, 6).flatten(4, 6).flatten(1, 2)
    return gathered_BNAF


def _resized(image_BRCHW: Tensor, size: int) -> Tensor:
    small_BRCSS: Tensor = resize(image_BRCHW.float().flatten(0, 1), size).unflatten(0, image_BRCHW.shape[:2])
    return small_BRCSS
