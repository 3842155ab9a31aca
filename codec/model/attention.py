"""Cross-modal attention: queries of the driving keypoints over the keys of all references together.

    softmax(Q K^T / c) V                                        warped features
    softmax(Q K^T / c) [source pixels, key] ++ Q -> MLP -> +    residual connection

Both are of implicit warping, section 3.

Learned extra key-values stand beside those of the references, so that a cell without a match need not copy a wrong one.
All columns that are wanted of one attention map go through a single call of PyTorch's scaled-dot-product attention.

Positions are encoded in Q and K. The paper adds a position encoding. With ``keypoint_motion`` it is *appended* (ours),
in a block of channels for each reference: cosines and sines of the position where the cell is expected in that
reference (query) or of the cell's own (key), so that Q K^T holds a sum of cos(w (p - p')): a sharp peak where positions
agree, about ``NEIGHBOUR_GAP`` lower one cell away. One more channel carries how much a key asks to be chosen, and one
for each reference how alike it is to the driving pose near the query's cell (see ``model.generator``).

    query = [content, 1,    encoded position in reference 1, ..., in reference R,  alikeness 1, ..., R]
    key   = [content, bias, 0, ..., encoded position in the block of its own, 0,   0, ..., 1, ..., 0  ]

Shape legend: B batch, R references, N cells, M = R * N keys, D key channels, V value channels, E extra keys.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import CodecConfig
from codec.model.query_key import Key, Query

NUM_FREQUENCIES = 8
NEIGHBOUR_GAP = 3.0
EXTRA_GAP = 8.0
ALIGNMENT = 16


class CrossModalAttention(nn.Module):
    """One attention layer over all references, with residual connection and extra key-values."""

    frequencies_F: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.content_dim = content_dim(config)
        lowest, highest = math.pi / 4, math.pi * config.grid_size / 4
        exponent_F = torch.linspace(0, 1, NUM_FREQUENCIES)
        frequencies_F = lowest * (highest / lowest) ** exponent_F
        self.register_buffer("frequencies_F", frequencies_F, persistent=False)
        amplitude = NEIGHBOUR_GAP / float((1 - torch.cos(frequencies_F * 2 / config.grid_size)).sum())
        if config.keypoint_motion:
            self.log_amplitude_F = nn.Parameter(torch.full((NUM_FREQUENCIES,), math.log(amplitude)))
        if config.num_extra_keys:
            self.extra_keys_ED = nn.Parameter(torch.randn(config.num_extra_keys, self.content_dim) * 0.02)
            self.extra_values_EV = nn.Parameter(torch.randn(config.num_extra_keys, config.value_dim) * 0.02)
        if config.num_extra_keys and config.keypoint_motion:
            self.extra_offset = nn.Parameter(torch.zeros(()))
        if config.residual_connection:
            joined = 3 + 2 * self.content_dim
            self.residual = nn.Sequential(
                nn.Linear(joined, config.value_dim), nn.ReLU(), nn.Linear(config.value_dim, config.value_dim)
            )

    def query(self, query: Query, position_BRNC: Tensor, alikeness_BNR: Tensor) -> Tensor:
        """Join content, expected positions and alikeness of the driving cells to queries, (B, N, D).

        Args:
            query: of the driving cells.
            position_BRNC: (B, R, N, 2) where each is expected in each reference.
            alikeness_BNR: preference for each reference.
        """
        if not self.config.keypoint_motion:
            return query.content_BNC + sinusoids(position_BRNC[:, 0], self.content_dim)
        content_BNC = query.content_BNC.float() * self.content_dim**-0.25
        encoded = self.encode(position_BRNC).unbind(1)
        return torch.cat((content_BNC, torch.ones_like(content_BNC[..., :1]), *encoded, alikeness_BNR), dim=-1)

    def key(self, key: Key) -> Tensor:
        """Join content, bias and position of source cells to keys, (B, N, key_dim)."""
        if not self.config.keypoint_motion:
            return key.content_BNC + sinusoids(key.position_BNC, self.content_dim)
        content_BNC = key.content_BNC.float() * self.content_dim**-0.25
        return torch.cat((content_BNC, key.bias_BN[..., None], self.encode(key.position_BNC)), dim=-1)

    def encode(self, position_C: Tensor) -> Tensor:
        """Encode positions (..., 2) as weighted cosines and sines, (..., 4 F)."""
        phase_CF = position_C[..., None].float() * self.frequencies_F
        scale_F = (0.5 * self.log_amplitude_F).exp()
        return torch.cat((phase_CF.cos() * scale_F, phase_CF.sin() * scale_F), dim=-1).flatten(-2)

    def in_slot(self, keys_BND: Tensor, slot: int, num_references: int) -> Tensor:
        """Move the encoded positions of a reference's keys to its own block and mark them as its own."""
        if not self.config.keypoint_motion:
            return keys_BND
        shared = self.content_dim + 1
        block = keys_BND.shape[-1] - shared
        encoded_BND = F.pad(keys_BND[..., shared:], (block * slot, block * (num_references - 1 - slot)))
        own_R = F.one_hot(torch.tensor(slot, device=keys_BND.device), num_references).to(keys_BND)
        return torch.cat(
            (keys_BND[..., :shared], encoded_BND, own_R.expand(*keys_BND.shape[:2], num_references)), dim=-1
        )

    def with_extra(self, keys_BMD: Tensor, values_BMV: Tensor) -> tuple[Tensor, Tensor]:
        """Append the learned key-values; their columns past the features are zero."""
        if not self.config.num_extra_keys:
            return keys_BMD, values_BMV
        batch = keys_BMD.shape[0]
        extra_keys_ED: Tensor = self.extra_keys_ED
        if self.config.keypoint_motion:
            best_match = 2 * self.log_amplitude_F.exp().sum()
            bias = best_match - EXTRA_GAP + self.extra_offset
            extra_keys_ED = torch.cat((extra_keys_ED, bias.expand(extra_keys_ED.shape[0], 1)), dim=-1)
            extra_keys_ED = F.pad(extra_keys_ED, (0, keys_BMD.shape[-1] - extra_keys_ED.shape[-1]))
        extra_values_EV = F.pad(self.extra_values_EV, (0, values_BMV.shape[-1] - self.config.value_dim))
        return (
            torch.cat((keys_BMD, extra_keys_ED.to(keys_BMD.dtype).expand(batch, -1, -1)), dim=1),
            torch.cat((values_BMV, extra_values_EV.to(values_BMV.dtype).expand(batch, -1, -1)), dim=1),
        )

    def attend(self, query_BND: Tensor, keys_BMD: Tensor, values_BMV: Tensor, dropped_BM: Tensor | None) -> Tensor:
        """Read the values by softmax(Q K^T / c), (B, N, V).

        Args:
            query_BND: queries.
            keys_BMD: keys, extra ones included.
            values_BMV: the columns to read.
            dropped_BM: True for keys that must not be read (key/value dropout), or None.
        """
        mask = None if dropped_BM is None else ~dropped_BM[:, None, None, :]
        scale = 1.0 if self.config.keypoint_motion else self.config.key_dim**-0.5
        num_columns = values_BMV.shape[-1]
        keys_BMD, values_BMV = filled_up(keys_BMD, values_BMV)
        query_B1ND = F.pad(query_BND, (0, keys_BMD.shape[-1] - query_BND.shape[-1]))[:, None]
        keys_B1MD, values_B1MV = keys_BMD[:, None], values_BMV[:, None]
        read_B1NV = F.scaled_dot_product_attention(query_B1ND, keys_B1MD, values_B1MV, attn_mask=mask, scale=scale)
        return read_B1NV[:, 0, :, :num_columns]

    def add_residual(self, features_BNV: Tensor, read_BNC: Tensor, content_BNC: Tensor) -> Tensor:
        """Add the residual connection: MLP of [warped source pixels, warped key, query], (B, N, value_dim)."""
        residual_BNV: Tensor = self.residual(torch.cat((read_BNC, content_BNC.to(read_BNC.dtype)), dim=-1))
        return features_BNV + residual_BNV


def filled_up(keys_BMD: Tensor, values_BMV: Tensor) -> tuple[Tensor, Tensor]:
    """Fill keys and values up with zeros to one width; what is as wide is left as it is.

    Only then does PyTorch take its fast kernel (13 against 52 ms for 1,024 queries and 3,088 keys of 131 channels on
    two CPU cores, PyTorch 2.14).
    """
    width = -(-max(keys_BMD.shape[-1], values_BMV.shape[-1]) // ALIGNMENT) * ALIGNMENT
    if width == keys_BMD.shape[-1] == values_BMV.shape[-1]:
        return keys_BMD, values_BMV
    return F.pad(keys_BMD, (0, width - keys_BMD.shape[-1])), F.pad(values_BMV, (0, width - values_BMV.shape[-1]))


def content_dim(config: CodecConfig) -> int:
    """Return the channels of queries and keys that are content, not position or bias."""
    return config.key_dim - 1 - 4 * NUM_FREQUENCIES if config.keypoint_motion else config.key_dim


def sinusoids(position_BNC: Tensor, channels: int) -> Tensor:
    """Encode (x, y) as fixed cosines and sines over octaves, (B, N, channels); channels a multiple of 4."""
    octaves_F = math.pi * 2.0 ** torch.linspace(-1, 6, channels // 4, device=position_BNC.device)
    phase_BNCF = position_BNC[..., None].float() * octaves_F
    return torch.cat((phase_BNCF.cos(), phase_BNCF.sin()), dim=-1).flatten(2).to(position_BNC.dtype)
