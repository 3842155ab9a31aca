"""Stage 8 of 8: keypoints and references to image (implicit warping, figure 3).

    reference image, keypoints -> key network, value encoder -> ReferenceFeatures   once per reference
    all ReferenceFeatures -> ReferenceMemory                                         once per change of the set
    driving keypoints -> query network -> attention over the memory -> decoder       every frame

Ours, when ``warped_pixels`` is on: the attention map is also read as a correspondence. Cell q of the new picture is
expected in reference r at e_r(q) (see ``model.query_key``) and found at e_r(q) + sum_k A(q, k) (p(k) - c(k)) / w_r(q)
over the cells k of r, p being their centres, c their key positions, and w_r(q) = sum_k A(q, k) the share of r. The
references' own pixels are sampled there and mixed by their shares; with ``still_background``, in front of what stands
still (see ``model.background``).

Shape legend: B batch, R references, K keypoints, N cells, M keys, D key channels, V value columns, C channels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.attention import CrossModalAttention, content_dim, filled_up
from codec.model.background import MatteNetwork, still_backgrounds
from codec.model.grid import cell_centres, gaussians, resize, sample
from codec.model.image_decoder import ImageDecoder
from codec.model.keypoints import KeypointDetector, rigidity
from codec.model.query_key import KeyNetwork, Query, QueryNetwork, expected_positions
from codec.model.values import ValueEncoder
from codec.structs import Keypoints

ALIKE_SHARPNESS = 250.0
SHAPE_SCALE = 6.0
ALIKE_EVERYWHERE = 0.1
PREFERENCE = 20.0
"""Added to the alikeness of the reference that a frame names, outside the face."""
FACE_KEYPOINTS = 18
"""The first ones, which training places on the face; the others are on the body."""
FACE_WIDTH = 2.0
"""Gaussians of the face's keypoints, times this and 1 at most, are the face."""
SMALLEST_SHARE = 1e-9
MIX_SHARPNESS = 4


@dataclass(frozen=True, slots=True)
class ReferenceFeatures:
    """All that a frame needs of one reference; depends on the reference alone.

    Attributes:
        image_BCHW: the picture, in [0, 1]; with still background, its matte is a fourth channel.
        locations_BKC: its keypoints.
        strengths_BK: theirs.
        keys_BND: keys of its cells.
        values_BNV: value features, then (with the residual connection) source pixels and key content.
        offsets_BNC: (B, N, 2) of each cell's centre from the position in its key.
    """

    image_BCHW: Tensor
    locations_BKC: Tensor
    strengths_BK: Tensor
    keys_BND: Tensor
    values_BNV: Tensor
    offsets_BNC: Tensor


@dataclass(frozen=True, slots=True)
class ReferenceMemory:
    """A set of references, ready for the attention; the extra key-values are included.

    Attributes:
        image_BRCHW: the pictures, in [0, 1], and with still background their mattes.
        background_BRCHW: what stands still behind the speaker, and where that is known, (B, R, 4, S, S); None without
            still background.
        locations_BRKC: their keypoints.
        keys_BMD: keys of all cells of all references, then the extra ones; with keypoint motion in the
            wide form of ``model.attention``, filled up to the width of the values.
        values_BMV: value columns, then per reference (with warped pixels) share, x and y offset; filled up likewise.
        preferred: index of the reference that gives all but the face; None leaves it to the attention.
    """

    image_BRCHW: Tensor
    background_BRCHW: Tensor | None
    locations_BRKC: Tensor
    keys_BMD: Tensor
    values_BMV: Tensor
    preferred: int | None = None

    def expand(self, batch: int) -> ReferenceMemory:
        """Return the memory of one set of references for a whole batch of frames."""
        return ReferenceMemory(
            self.image_BRCHW.expand(batch, -1, -1, -1, -1),
            None if self.background_BRCHW is None else self.background_BRCHW.expand(batch, -1, -1, -1, -1),
            self.locations_BRKC.expand(batch, -1, -1, -1),
            self.keys_BMD.expand(batch, -1, -1),
            self.values_BMV.expand(batch, -1, -1),
            self.preferred,
        )

    def preferring(self, index: int, alone: ReferenceMemory) -> ReferenceMemory:
        """Return the same references with one preferred.

        Args:
            index: of the reference.
            alone: the memory of that one; its background is used.
        """
        background_BRCHW = alone.background_BRCHW
        if background_BRCHW is not None:
            background_BRCHW = background_BRCHW.expand(-1, self.image_BRCHW.shape[1], -1, -1, -1)
        return dataclasses.replace(self, background_BRCHW=background_BRCHW, preferred=index)


@dataclass(frozen=True, slots=True)
class Found:
    """What the attention finds for a batch of keypoints.

    Attributes:
        query: of the driving cells.
        features_BCHW: (B, value_dim, grid, grid) warped features, the decoder's input.
        shares_BRHW: share of each reference on the attention's grid, or None without warped pixels.
        flow_BRHWC: where each cell is found in each reference, or None.
    """

    query: Query
    features_BCHW: Tensor
    shares_BRHW: Tensor | None
    flow_BRHWC: Tensor | None


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated batch, with what there is to look at.

    Attributes:
        image_BCHW: (B, 3, S, S), about [0, 1], not clamped.
        warped_BCHW: the references' warped pixels, or None.
        carry_BCHW: gain of the carried pixels, or None.
        shares_BRHW: share of each reference on the attention's grid, or None.
        flow_BRHWC: where each cell is found in each reference, or None.
    """

    image_BCHW: Tensor
    warped_BCHW: Tensor | None
    carry_BCHW: Tensor | None
    shares_BRHW: Tensor | None
    flow_BRHWC: Tensor | None


class Generator(nn.Module):
    """The whole network: keypoint detector, query, key, value, attention and decoder."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.detector = KeypointDetector(config)
        self.query_network = QueryNetwork(config, content_dim(config))
        self.key_network = KeyNetwork(config, content_dim(config))
        self.value_encoder = ValueEncoder(config)
        self.attention = CrossModalAttention(config)
        self.decoder = ImageDecoder(config)
        if config.still_background:
            self.matte_network = MatteNetwork(config)
        if config.keypoint_motion:
            self.log_sharpness_K = nn.Parameter(torch.full((config.num_keypoints,), math.log(ALIKE_SHARPNESS)))
            self.log_everywhere = nn.Parameter(torch.tensor(math.log(ALIKE_EVERYWHERE)))
        if config.rigid_motion:
            self.log_rigidity_K = nn.Parameter(rigidity(config.num_keypoints))

    def detect(self, image_BCHW: Tensor) -> Keypoints:
        """Find the keypoints of images, (B, 3, S, S) in [0, 1]."""
        keypoints: Keypoints = self.detector(image_BCHW)
        return keypoints

    def encode_reference(self, image_BCHW: Tensor, keypoints: Keypoints) -> ReferenceFeatures:
        """Compute what a frame needs of a reference.

        Args:
            image_BCHW: (B, 3, S, S) in [0, 1].
            keypoints: of that image.
        """
        key = self.key_network(keypoints, image_BCHW)
        values = [self.value_encoder(image_BCHW)]
        grid = self.config.grid_size
        if self.config.residual_connection:
            pixels_BNC = resize(image_BCHW, grid).flatten(2).transpose(1, 2) * 2 - 1
            values += [pixels_BNC.to(values[0].dtype), key.content_BNC.to(values[0].dtype)]
        centres_NC = cell_centres(grid, grid, key.position_BNC).reshape(-1, 2)
        if self.config.still_background:
            image_BCHW = torch.cat((image_BCHW, self.matte_network(keypoints, image_BCHW)), dim=1)
        return ReferenceFeatures(
            image_BCHW,
            keypoints.locations_BKC,
            keypoints.strengths_BK,
            self.attention.key(key),
            torch.cat(values, dim=-1),
            centres_NC - key.position_BNC,
        )

    def combine(self, references: Sequence[ReferenceFeatures]) -> ReferenceMemory:
        """Put references together for the attention.

        Raises:
            ValueError: there are none.
        """
        if not references:
            raise ValueError("the generator needs at least one reference")
        columns = [
            torch.cat((reference.values_BNV, self.correspondence(reference, slot, len(references))), dim=-1)
            for slot, reference in enumerate(references)
        ]
        keys = [
            self.attention.in_slot(reference.keys_BND, slot, len(references))
            for slot, reference in enumerate(references)
        ]
        keys_BMD, values_BMV = self.attention.with_extra(torch.cat(keys, dim=1), torch.cat(columns, dim=1))
        keys_BMD, values_BMV = filled_up(keys_BMD, values_BMV)
        image_BRCHW = torch.stack([reference.image_BCHW for reference in references], dim=1)
        return ReferenceMemory(
            image_BRCHW,
            still_backgrounds(image_BRCHW[:, :, :3], image_BRCHW[:, :, 3:]) if self.config.still_background else None,
            torch.stack([reference.locations_BKC for reference in references], dim=1),
            keys_BMD,
            values_BMV,
        )

    def correspondence(self, reference: ReferenceFeatures, slot: int, num_references: int) -> Tensor:
        """Return the columns that tell share and place in this reference, (B, N, 3 R), or none."""
        values_BNV, offsets_BNC = reference.values_BNV, reference.offsets_BNC.to(reference.values_BNV.dtype)
        if not self.config.warped_pixels:
            return values_BNV[..., :0]
        own_BNC = torch.cat((torch.ones_like(offsets_BNC[..., :1]), offsets_BNC), dim=-1)
        return F.pad(own_BNC, (3 * slot, 3 * (num_references - 1 - slot)))

    def forward(self, keypoints: Keypoints, memory: ReferenceMemory, dropped_BM: Tensor | None = None) -> Generated:
        """Make the picture that the keypoints describe.

        Args:
            keypoints: driving keypoints, locations (B, K, 2) and strengths (B, K).
            memory: the references.
            dropped_BM: keys to ignore (key/value dropout in training), or None.
        """
        found = self.find(keypoints, memory, dropped_BM)
        if found.flow_BRHWC is None or found.shares_BRHW is None:
            return Generated(self.decoder(found.features_BCHW, None).image_BCHW, None, None, None, None)
        warped_BCHW = self.warp_pixels(memory, found.shares_BRHW, found.flow_BRHWC)
        painted = self.decoder(found.features_BCHW, warped_BCHW)
        return Generated(
            painted.image_BCHW, warped_BCHW[:, :3], painted.carry_BCHW, found.shares_BRHW, found.flow_BRHWC
        )

    def find(
        self,
        keypoints: Keypoints,
        memory: ReferenceMemory,
        dropped_BM: Tensor | None = None,
        query: Query | None = None,
    ) -> Found:
        """Look for every cell of the new picture in the references; see ``forward``; query saves computing it."""
        config, grid = self.config, self.config.grid_size
        if query is None:
            query = self.query_network(keypoints)
        position_BRNC = self.expect(query, keypoints, memory.locations_BRKC)
        alikeness_BNR = self.alikeness(keypoints, memory.locations_BRKC, memory.preferred)
        query_BND = self.attention.query(query, position_BRNC, alikeness_BNR)
        read_BNV = self.attention.attend(query_BND, memory.keys_BMD, memory.values_BMV.to(query_BND.dtype), dropped_BM)
        features_BNV = read_BNV[..., : config.value_dim]
        end = config.value_dim
        if config.residual_connection:
            end += 3 + self.attention.content_dim
            features_BNV = self.attention.add_residual(
                features_BNV, read_BNV[..., config.value_dim : end], query.content_BNC
            )
        features_BCHW = features_BNV.transpose(1, 2).unflatten(2, (grid, grid))
        if not config.warped_pixels:
            return Found(query, features_BCHW, None, None)
        num_references = memory.locations_BRKC.shape[1]
        found_BRNC = read_BNV[..., end : end + 3 * num_references].float().unflatten(2, (-1, 3)).transpose(1, 2)
        shares_BRHW = found_BRNC[..., 0].unflatten(2, (grid, grid))
        flow_BRNC = position_BRNC + found_BRNC[..., 1:] / found_BRNC[..., :1].clamp(min=SMALLEST_SHARE)
        return Found(query, features_BCHW, shares_BRHW, flow_BRNC.unflatten(2, (grid, grid)))

    def expect(self, query: Query, keypoints: Keypoints, locations_BRKC: Tensor) -> Tensor:
        """Return where each cell is expected in each reference, (B, R, N, 2): at its own place without motion."""
        grid = self.config.grid_size
        if self.config.keypoint_motion:
            weight_K = self.log_rigidity_K.exp() if self.config.rigid_motion else None
            return expected_positions(query, keypoints.locations_BKC, locations_BRKC, grid, weight_K)
        centres_NC = cell_centres(grid, grid, locations_BRKC).reshape(-1, 2)
        return centres_NC.expand(*locations_BRKC.shape[:2], -1, -1)

    def alikeness(self, keypoints: Keypoints, locations_BRKC: Tensor, preferred: int | None = None) -> Tensor:
        """Say how much each cell prefers each reference: the one whose keypoints near the cell are most alike.

        Minus the squared distances of driving from reference keypoints, less their common shift, which warping makes
        good (a head that has moved aside is no worse a source; one with another mouth is). Each is weighted by a
        learned sharpness and by how near it is to the cell; far ones count a little everywhere.

        Mouth and eyes come from wherever they are alike; all the rest from the preferred reference, if there is one.

        Args:
            keypoints: of the driving picture.
            locations_BRKC: keypoints of the references.
            preferred: see ``ReferenceMemory``.

        Returns:
            (B, N, R), 0 for each cell's best reference and negative for the others.
        """
        if not self.config.keypoint_motion:
            return locations_BRKC.new_zeros(())
        difference_BRKC = locations_BRKC - keypoints.locations_BKC[:, None]
        shape_BRKC = difference_BRKC - difference_BRKC.mean(2, keepdim=True)
        squared_BRK = SHAPE_SCALE * shape_BRKC.square().sum(-1)
        near_BKHW = gaussians(keypoints.locations_BKC, self.config.grid_size, self.config.keypoint_variance)
        weight_BKN = near_BKHW.flatten(2) + self.log_everywhere.exp()
        unlike_BRN = (squared_BRK * self.log_sharpness_K.exp()) @ weight_BKN
        if preferred is not None:
            face_BN = (FACE_WIDTH * near_BKHW[:, :FACE_KEYPOINTS].amax(1).flatten(1)).clamp(max=1)
            rest_R = F.one_hot(torch.tensor(preferred), unlike_BRN.shape[1]).to(unlike_BRN)
            unlike_BRN = unlike_BRN - PREFERENCE * rest_R[:, None] * (1 - face_BN)[:, None]
        return (unlike_BRN.amin(1, keepdim=True) - unlike_BRN).transpose(1, 2)

    def warp_pixels(self, memory: ReferenceMemory, shares_BRHW: Tensor, flow_BRHWC: Tensor) -> Tensor:
        """Sample every reference where its cells are found and mix by the fourth power of its share.

        Mixing blurs: by the share itself, three references made 29.4 dB of five validation clips of news readers, by
        its fourth power 30.2 dB, with the same weights.

        Returns:
            (B, 3, S, S); with still background (B, 4, S, S), where the fourth channel falls to 0 in invented parts.
        """
        batch, num_references, _, size, _ = memory.image_BRCHW.shape
        places_BHWC = fine_places(flow_BRHWC.flatten(0, 1), size)
        found_BCHW = sample(memory.image_BRCHW.flatten(0, 1).float(), places_BHWC, self.config.sampling)
        sampled_BRCHW = found_BCHW.unflatten(0, (batch, num_references))
        if memory.background_BRCHW is not None:
            matte_BRCHW = sampled_BRCHW[:, :, 3:].clamp(0, 1)
            speaker_BRCHW = torch.cat((sampled_BRCHW[:, :, :3], torch.ones_like(matte_BRCHW)), dim=2)
            sampled_BRCHW = torch.lerp(memory.background_BRCHW, speaker_BRCHW, matte_BRCHW)
        if num_references == 1:
            only_BCHW: Tensor = sampled_BRCHW[:, 0]
            return only_BCHW
        mixed_BCHW: Tensor = (sampled_BRCHW * mixing(shares_BRHW, size)[:, :, None]).sum(1)
        return mixed_BCHW


def mixing(shares_BRHW: Tensor, size: int) -> Tensor:
    """Return what each reference gives to each pixel, (B, R, size, size), by the fourth power of its share."""
    own_BRHW = shares_BRHW.clamp(min=SMALLEST_SHARE) ** MIX_SHARPNESS
    return resize(own_BRHW / own_BRHW.sum(1, keepdim=True), size)


def fine_places(flow_BHWC: Tensor, size: int) -> Tensor:
    """Return where each pixel is found, (B, size, size, 2), of where each cell is, (B, H, W, 2)."""
    height, width = flow_BHWC.shape[1:3]
    motion_BCHW = (flow_BHWC - cell_centres(height, width, flow_BHWC)).permute(0, 3, 1, 2)
    return resize(motion_BCHW, size).permute(0, 2, 3, 1) + cell_centres(size, size, flow_BHWC)
