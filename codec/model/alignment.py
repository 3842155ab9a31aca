"""Between stages 2 and 3 of 8: the reference and the keypoints that rebuild a picture best (at the sender).

    picture, detected keypoints, references -> Aligner -> which reference; keypoints that rebuild the picture better

The detector sees a small picture and no reference; its keypoints are a pixel or two off, and so is what is rebuilt from
them. A sender that knows the references can look at what they would make of its keypoints, choose the one that comes
nearest to the picture, and move the keypoints until it lies on it: direct image alignment (Lucas and Kanade 1981; Baker
and Matthews, "Lucas-Kanade 20 years on", 2004), where the warp's parameters are the keypoints.

Where the attention finds each cell in each reference (``Found.flow_BRHWC``) depends on the keypoints all but linearly
through the expected positions, so the network runs once for some pictures, and Gauss-Newton steps move cells by the
derivatives of those. Within a cell the derivative is taken as constant: each cell's pixels add up to a small matrix
before keypoints come in. Differences are weighed robustly (by the inverse of their size), for pictures differ in more
than motion, and less one gain and offset a colour, for cameras change exposure. Keypoints that the picture says nothing
of stay as they were detected.

Shape legend: B batch (1 here), R references, K keypoints, P = 2 K parameters, N cells, A = 2 axes, C channels or
(x, y), S height and width, F pixels of a cell times colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.model.generator import Generator, ReferenceFeatures, ReferenceMemory, fine_places
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


LOYALTY = 0.05
"""By what share of its difference another reference must be nearer to the picture than the one in use."""
UNMOVED = 0.9
"""Share of the carried picture's difference below which a reference as it is is nearer than what keypoints make."""
GRIMACE = 0.03
"""Mean difference of colours in [0, 1] from which the keypoints may be nonsense; under it, they tell the mouth."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """What a picture is told by.

    Attributes:
        keypoints: aligned to a reference.
        reference: which one, its index.
        is_own_pose: whether they began as the reference's own, not as those detected.
        moved_BP: how far they were moved from where they began.
    """

    keypoints: Keypoints
    reference: int
    is_own_pose: bool
    moved_BP: Tensor


@dataclass(slots=True)
class Tangent:
    """What the network finds for some keypoints in one reference, and how that changes near them.

    Attributes:
        reference: index of the reference.
        detected_BKC: the keypoints detected in the picture that it was found for.
        keypoints: those that it was found for: the detected ones, or the reference's own.
        is_own_pose: which of them.
        flow_BNC: where each cell is found.
        slope_BNCP: its change with each parameter.
        num_uses: pictures that were aligned with it.
    """

    reference: int
    detected_BKC: Tensor
    keypoints: Keypoints
    is_own_pose: bool
    flow_BNC: Tensor
    slope_BNCP: Tensor
    num_uses: int = 0

    def is_near(self, locations_BKC: Tensor) -> bool:
        """Whether it tells about a picture with these keypoints too."""
        return float((locations_BKC - self.detected_BKC).abs().max()) < NEAR

    def flow_after(self, moved_BP: Tensor) -> Tensor:
        """Return where each cell is found when the keypoints have moved, (B, N, 2)."""
        return self.flow_BNC + (self.slope_BNCP @ moved_BP[:, None, :, None]).squeeze(-1)


class Carrier:
    """Carries the pixels of one reference, alone, in a small picture.

    Args:
        memory: of that reference.
        size: height and width of the small picture.
        grid_size: cells of the attention's grid, each way.
    """

    def __init__(self, memory: ReferenceMemory, size: int, grid_size: int) -> None:
        self.size, self.grid_size = size, grid_size
        self.small_BCSS = resize(memory.image_BRCHW[:, 0].float(), size)
        self.behind_BCSS = None
        if memory.background_BRCHW is not None:
            self.behind_BCSS = resize(memory.background_BRCHW[:, 0, :3].float(), size)
            self.still_BACSS = torch.stack(differences(self.behind_BCSS), dim=1)

    def carry(self, flow_BNC: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the carried picture, (B, 3, S, S), and the speaker's share of it, (B, 1, S, S), or None for all."""
        cells_BHWC = flow_BNC.unflatten(1, (self.grid_size, self.grid_size))
        found_BCSS = sample(self.small_BCSS, fine_places(cells_BHWC, self.size))
        if self.behind_BCSS is None:
            return found_BCSS[:, :3], None
        share_B1SS = found_BCSS[:, 3:].clamp(0, 1)
        return torch.lerp(self.behind_BCSS, found_BCSS[:, :3], share_B1SS), share_B1SS

    def unlikeness(self, wanted_BCSS: Tensor, flow_BNC: Tensor | None = None) -> float:
        """Return how far the carried picture is from another, exposure aside; without flow the reference as it is."""
        made_BCSS = self.small_BCSS[:, :3] if flow_BNC is None else self.carry(flow_BNC)[0]
        return float((exposed(made_BCSS, wanted_BCSS) - made_BCSS).abs().mean())

    def slopes(self, made_BCSS: Tensor, share_B1SS: Tensor | None) -> Tensor:
        """Return how what ``carry`` gave changes with the place in the reference, (B, A, 3, S, S)."""
        slope_BACSS = torch.stack(differences(made_BCSS), dim=1)
        if share_B1SS is not None:
            slope_BACSS = slope_BACSS - (1 - share_B1SS)[:, None] * self.still_BACSS
        return slope_BACSS


class Aligner:
    """Chooses references for pictures, and aligns keypoints to them.

    Pictures should come in order: the network runs for every third one only, as long as keypoints move little, and
    only then another reference may be chosen, by where its cells are expected; the attention runs over that one alone.

    Args:
        generator: the networks, with warped pixels and keypoint motion; their weights are not changed.
        references: that the receiver has, at least one, of one picture each.
        alone: the memory of each alone, where they are there already.

    Raises:
        ValueError: the generator carries no pixels, or there are no references.
    """

    def __init__(
        self,
        generator: Generator,
        references: Sequence[ReferenceFeatures],
        alone: Sequence[ReferenceMemory] | None = None,
    ) -> None:
        config = generator.config
        if not config.can_align:
            raise ValueError(f"{config.name} carries no pixels by keypoints; there is nothing to align")
        if not references:
            raise ValueError("keypoints are aligned to references; there are none")
        self.generator, self.references = generator, references
        self.size = min(PIXELS_PER_CELL * config.grid_size, config.image_size)
        with torch.no_grad():
            if alone is None:
                alone = [generator.combine([reference]) for reference in references]
            self.carriers = [Carrier(memory, self.size, config.grid_size) for memory in alone]
        self.alone = alone
        self.locations_BRKC = torch.stack([reference.locations_BKC for reference in references], dim=1)
        self._tangent: Tangent | None = None

    @torch.no_grad()
    def align(self, keypoints: Keypoints, image_BCHW: Tensor, before: Aligned | None = None) -> Aligned:
        """Choose the reference whose pixels, carried by the keypoints, come nearest to the picture; move them nearer.

        Args:
            keypoints: as detected in the picture.
            image_BCHW: the picture, (1, 3, S, S) in [0, 1].
            before: what this returned for the picture before, if there was one.

        Returns:
            Locations moved by some pixels at most; strengths as they were. Where that is nearer to the picture, the
            reference's own keypoints, moved likewise.
        """
        wanted_BCSS = resize(image_BCHW, self.size)
        tangent = self._tangent
        if tangent is None or tangent.num_uses >= USES or not tangent.is_near(keypoints.locations_BKC):
            tangent = self._tangent = self.find(keypoints, wanted_BCSS, None if before is None else before.reference)
        tangent.num_uses += 1
        start = tangent.keypoints if tangent.is_own_pose else keypoints
        moved_BP = self.move(tangent, start.locations_BKC, wanted_BCSS, before)
        moved_BKC = (start.locations_BKC + moved_BP.unflatten(1, (-1, 2))).clamp(-1, 1)
        return Aligned(Keypoints(moved_BKC, start.strengths_BK), tangent.reference, tangent.is_own_pose, moved_BP)

    @torch.no_grad()
    def nearest(self, image_BCHW: Tensor, used: int | None = None) -> int:
        """Return the reference that is nearest to a picture as it is: a choice where there is no time to align.

        Args:
            image_BCHW: the picture, (1, 3, S, S) in [0, 1].
            used: index of the reference of the picture before.
        """
        return chosen(self.unmoved(resize(image_BCHW, self.size)), used)

    def unmoved(self, wanted_BCSS: Tensor) -> list[float]:
        """Return the difference of each reference as it is from a small picture."""
        return [carrier.unlikeness(wanted_BCSS) for carrier in self.carriers]

    def find(self, keypoints: Keypoints, wanted_BCSS: Tensor, used: int | None) -> Tangent:
        """Choose a reference, and return what the network finds in it.

        Args:
            keypoints: as detected.
            wanted_BCSS: the picture, small.
            used: index of the reference of the picture before.
        """
        query = self.generator.query_network(keypoints)
        expected_BRNC = self.generator.expect(query, keypoints, self.locations_BRKC)
        unlike = [each.unlikeness(wanted_BCSS, expected_BRNC[:, index]) for index, each in enumerate(self.carriers)]
        best = chosen(unlike, used)
        tangent = self.tangent(best, keypoints, keypoints, query)
        return tangent if unlike[best] < GRIMACE else self.own_pose_or(tangent, wanted_BCSS)

    def own_pose_or(self, tangent: Tangent, wanted_BCSS: Tensor) -> Tangent:
        """Return what is found for the own keypoints of a reference that is nearer to the picture, or the tangent.

        A head that turns so far that no keypoints are found on it, or none that any reference has seen, would be
        rebuilt as a grimace.
        """
        unlike = self.unmoved(wanted_BCSS)
        best = unlike.index(min(unlike))
        moved_BP = self.move(tangent, tangent.detected_BKC, wanted_BCSS, None)
        aligned = self.carriers[tangent.reference].unlikeness(wanted_BCSS, tangent.flow_after(moved_BP))
        if unlike[best] >= UNMOVED * aligned:
            return tangent
        own = Keypoints(self.references[best].locations_BKC, self.references[best].strengths_BK)
        return self.tangent(best, tangent.keypoints, own, self.generator.query_network(own))

    def tangent(self, reference: int, detected: Keypoints, keypoints: Keypoints, query: Query) -> Tangent:
        """Run the attention over one reference: return what it finds, and how that changes."""
        found = self.generator.find(keypoints, self.alone[reference], query=query)
        assert found.flow_BRHWC is not None
        flow_BNC = found.flow_BRHWC[:, 0].flatten(1, 2)
        slope_BNCP, is_own_pose = self.slopes(query, keypoints, reference), keypoints is not detected
        return Tangent(reference, detected.locations_BKC, keypoints, is_own_pose, flow_BNC, slope_BNCP)

    def move(self, tangent: Tangent, start_BKC: Tensor, wanted_BCSS: Tensor, before: Aligned | None) -> Tensor:
        """Return how far keypoints must move from where they start, (B, P)."""
        moved_BP = torch.zeros_like(start_BKC).flatten(1)
        springs = [(torch.full_like(moved_BP, STIFFNESS), moved_BP)]
        if before is not None:
            # From one reference to the next too: what neither shows would jump from its errors to the other's.
            springs.append(holding(start_BKC, before.keypoints.locations_BKC))
            if (before.reference, before.is_own_pose) == (tangent.reference, tangent.is_own_pose):
                moved_BP = before.moved_BP
        away_BP = (start_BKC - tangent.keypoints.locations_BKC).flatten(1)
        for _ in range(STEPS):
            flow_BNC = tangent.flow_after(away_BP + moved_BP)
            moved_BP = moved_BP + self.step(tangent, flow_BNC, wanted_BCSS, moved_BP, springs)
        return moved_BP

    def slopes(self, query: Query, keypoints: Keypoints, reference: int) -> Tensor:
        """Return how cells' expected positions in a reference move with each parameter, (B, N, 2, P)."""
        locations_BKC = keypoints.locations_BKC
        count = locations_BKC[0].numel()
        nudge_PKC = STEP * torch.eye(count).to(locations_BKC).unflatten(1, (-1, 2))
        around_PKC = torch.cat((locations_BKC, locations_BKC + nudge_PKC))
        reference_PRKC = self.locations_BRKC[:, reference, None].expand(count + 1, -1, -1, -1)
        position_PRNC = self.generator.expect(query, Keypoints(around_PKC, keypoints.strengths_BK), reference_PRKC)
        slope_NCP: Tensor = (position_PRNC[1:, 0] - position_PRNC[:1, 0]).permute(1, 2, 0) / STEP
        return slope_NCP[None]

    def step(
        self,
        tangent: Tangent,
        flow_BNC: Tensor,
        wanted_BCSS: Tensor,
        moved_BP: Tensor,
        springs: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Return one Gauss-Newton step of the parameters, (B, P); springs are stiffnesses and where they pull to."""
        carrier, cells = self.carriers[tangent.reference], self.generator.config.grid_size
        made_BCSS, share_B1SS = carrier.carry(flow_BNC)
        slope_BACSS = carrier.slopes(made_BCSS, share_B1SS)
        error_BCSS = exposed(made_BCSS, wanted_BCSS) - made_BCSS
        weight_BCSS = (error_BCSS.square() + SOFTNESS**2).rsqrt()
        slope_BNAF = by_cell(slope_BACSS, cells)
        weighed_BNAF = slope_BNAF * by_cell(weight_BCSS[:, None], cells)
        inner_BNAA = weighed_BNAF @ slope_BNAF.transpose(-1, -2)
        outer_BNA1 = weighed_BNAF @ by_cell(error_BCSS[:, None], cells).transpose(-1, -2)
        slope_BNAP = tangent.slope_BNCP
        count = wanted_BCSS[0].numel()
        hessian_BPP = (inner_BNAA @ slope_BNAP).flatten(1, 2).transpose(1, 2) @ slope_BNAP.flatten(1, 2) / count
        gradient_BP = (slope_BNAP * outer_BNA1).sum((1, 2)) / count
        for stiffness_BP, goal_BP in springs:
            mean_BP = stiffness_BP / moved_BP.shape[1]
            hessian_BPP = hessian_BPP + torch.diag_embed(mean_BP)
            gradient_BP = gradient_BP + mean_BP * (goal_BP - moved_BP)
        step_BP: Tensor = torch.linalg.solve(hessian_BPP, gradient_BP)
        return step_BP


def chosen(unlike: Sequence[float], used: int | None) -> int:
    """Return the reference that comes nearest to the picture; the one in use if another is hardly nearer."""
    best = min(range(len(unlike)), key=unlike.__getitem__)
    return best if used is None or unlike[best] < (1 - LOYALTY) * unlike[used] else used


def holding(locations_BKC: Tensor, before_BKC: Tensor) -> tuple[Tensor, Tensor]:
    """Return springs that hold keypoints where they were, each (B, P): weak for those that moved further than noise."""
    moved_BKC = before_BKC.to(locations_BKC) - locations_BKC
    squared_BK1 = moved_BKC.square().sum(-1, keepdim=True) / NOISE**2
    return (HOLD / (1 + squared_BK1)).expand_as(moved_BKC).flatten(1), moved_BKC.flatten(1)


def differences(image_BCSS: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences along x and y, a unit of [-1, 1] coordinates; at the border half of them."""
    size = image_BCSS.shape[-1]
    padded = F.pad(image_BCSS, (1, 1, 1, 1), mode="replicate")
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
