"""Where the attention finds the cells of the driving picture in each reference, for a picture to watch a run by.

    driving keypoints, ReferenceMemory -> the model's own queries and keys, read with places for values -> places

It works for every config, with carried pixels or without. Shape legend: B batch, R references, N cells, M keys,
C = 2 coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.model.generator import Generator, ReferenceMemory
from codec.model.grid import cell_centres
from codec.structs import Keypoints


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Where cells are found.

    Attributes:
        shares_BNR: share of the attention that each reference gets; the rest is the extra key-values'.
        places_BNRC: (x, y) in [-1, 1], mean over a reference's cells under the attention.
    """

    shares_BNR: Tensor
    places_BNRC: Tensor


def correspondences(generator: Generator, keypoints: Keypoints, memory: ReferenceMemory) -> Correspondences:
    """Read the attention map as places.

    Args:
        generator: the networks.
        keypoints: of the driving pictures.
        memory: the references.
    """
    query = generator.query_network(keypoints)
    expected_BRNC = generator.expect(query, keypoints, memory.locations_BRKC)
    alikeness_BNR = generator.alikeness(keypoints, memory.locations_BRKC, memory.preferred)
    query_BND = generator.attention.query(query, expected_BRNC, alikeness_BNR)
    batch, num_references = memory.locations_BRKC.shape[:2]
    values_BMV = place_columns(generator.config.grid_size, num_references, query_BND).expand(batch, -1, -1)
    values_BMV = F.pad(values_BMV, (0, 0, 0, memory.keys_BMD.shape[1] - values_BMV.shape[1]))
    keys_BMD = memory.keys_BMD.to(query_BND.dtype)
    read_BNRV = generator.attention.attend(query_BND, keys_BMD, values_BMV, None).unflatten(2, (num_references, 3))
    shares_BNR = read_BNRV[..., 0].float()
    return Correspondences(shares_BNR, read_BNRV[..., 1:].float() / shares_BNR[..., None].clamp(min=1e-6))


def place_columns(grid: int, num_references: int, like: Tensor) -> Tensor:
    """Return for each key of each reference 1, x and y in the columns of its reference, (1, R N, 3 R)."""
    centres_NC = cell_centres(grid, grid, like).reshape(-1, 2)
    own_N3 = torch.cat((torch.ones_like(centres_NC[:, :1]), centres_NC), dim=1)
    columns_MV: Tensor = torch.block_diag(*[own_N3] * num_references)
    return columns_MV[None]
