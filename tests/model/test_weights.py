from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from codec import Model, load_model
from codec.config import CodecConfig, preset
from codec.errors import ConfigError, WeightsError
from codec.model.weights import save_weights


@pytest.fixture
def saved(tiny_model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tiny_model.generator.state_dict(), tiny_model.config, {"steps": 0})
    return path


def test_round_trip(saved: Path, tiny_model: Model) -> None:
    model = load_model(saved, device="cpu")
    assert model.config == tiny_model.config
    for name, tensor in tiny_model.generator.state_dict().items():
        assert torch.allclose(model.generator.state_dict()[name], tensor, atol=1e-3), name


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors does not exist"):
        load_model(tmp_path / "nowhere.safetensors")


def test_one_flipped_bit_is_noticed(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-5] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged"):
        load_model(saved)


def test_weights_of_another_config(saved: Path) -> None:
    description = json.loads(saved.with_suffix(".json").read_text())
    description["config"]["value_dim"] = 32
    saved.with_suffix(".json").write_text(json.dumps(description))
    with pytest.raises(WeightsError, match="does not match its config"):
        load_model(saved)


def test_description_that_is_none(saved: Path) -> None:
    saved.with_suffix(".json").write_text("[]")
    with pytest.raises(WeightsError, match="is not a description of weights"):
        load_model(saved)


def test_unknown_device(saved: Path) -> None:
    with pytest.raises(WeightsError, match="device 'toaster' cannot be used"):
        load_model(saved, device="toaster")


def test_embedded_weights_are_the_compact_preset() -> None:
    assert load_model(device="cpu").config == preset("compact-256")


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_keypoints", 0), ("location_bits", 20), ("attention_stride", 3), ("detector_size", 30), ("unet_size", 20)],
)
def test_settings_out_of_range_are_named(tiny_config: CodecConfig, field: str, value: int) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError, match=f"{field} is {value}"):
        dataclasses.replace(tiny_config, **changed)


def test_config_json_round_trip(tiny_config: CodecConfig) -> None:
    assert CodecConfig.from_json(tiny_config.to_json()) == tiny_config
    with pytest.raises(ConfigError, match="not a codec config"):
        CodecConfig.from_json('{"colour": "blue"}')
