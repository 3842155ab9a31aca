from __future__ import annotations

import pytest
import torch

from codec.config import CodecConfig
from codec.model.attention import CrossModalAttention


@pytest.mark.parametrize("is_dropped", [False, True])
def test_attention_is_the_softmax_of_its_definition(tiny_config: CodecConfig, is_dropped: bool) -> None:
    attention = CrossModalAttention(tiny_config)
    query, keys, values = torch.randn(2, 9, 131), torch.randn(2, 25, 131), torch.randn(2, 25, 47)
    dropped = torch.rand(2, 25) < 0.3 if is_dropped else None
    logits = query @ keys.transpose(1, 2)
    if dropped is not None:
        logits = logits.masked_fill(dropped[:, None], float("-inf"))
    expected = logits.softmax(-1) @ values
    read = attention.attend(query, keys, values, dropped)
    assert read.shape == (2, 9, 47)
    assert torch.allclose(read, expected, atol=1e-4)
