from __future__ import annotations

import dataclasses

import pytest

from codec import Model, random_model
from codec.config import CodecConfig, compact_256


@pytest.fixture(scope="session")
def tiny_config() -> CodecConfig:
    return dataclasses.replace(
        compact_256(),
        name="tiny",
        image_size=64,
        detector_size=32,
        detector_width=8,
        detector_max_width=16,
        detector_blocks=2,
        unet_size=8,
        unet_width=8,
        unet_max_width=16,
        unet_blocks=2,
        value_dim=16,
        decoder_width=16,
        decoder_blocks=1,
        num_extra_keys=4,
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config: CodecConfig) -> Model:
    return random_model(tiny_config)
