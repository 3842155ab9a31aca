from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec.errors import ConfigError
from training.__main__ import main
from training.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_prints_every_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f"name: {name}\n" in printed
    assert "losses:\n  gan: " in printed
    assert "codec:\n  name: " in printed


def test_settings_replace_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--steps", "7", "--losses.gan", "0.5", "--learning-rate-factors", "decoder.", "4", "detector.", "0"]
    assert main(["train", "compact-256", *flags, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "steps: 7\n" in printed
    assert "  gan: 0.5\n" in printed
    assert "learning_rate_factors: (('decoder.', 4.0), ('detector.', 0.0))\n" in printed


def test_the_papers_schedules() -> None:
    assert recipe("talkinghead-256").epochs == 120
    assert recipe("talkinghead-512").epochs == 30
    assert recipe("voxceleb2-256").drop_at == 0.7
    assert recipe("tedtalk-384").steps == 100_000
    for name in RECIPES:
        assert recipe(name).betas == (0.5, 0.999)
        if name.startswith(("talkinghead", "voxceleb2", "tedtalk", "ablation")):
            assert (recipe(name).batch_size, recipe(name).learning_rate) == (8, 2e-4)


def test_ablations_change_only_what_they_are_named_for() -> None:
    whole = json.loads(recipe("talkinghead-256").to_json())
    for name, changed in (
        ("ablation-no-residual", {"residual_connection": False, "num_extra_keys": 0}),
        ("ablation-no-extra", {"num_extra_keys": 0}),
    ):
        part = json.loads(recipe(name).to_json())
        assert {key for key in whole if whole[key] != part[key]} == {"name", "codec"}
        differences = {key: value for key, value in part["codec"].items() if whole["codec"][key] != value}
        assert differences == changed


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, message in (
        (["compact-256", "--frames", str(tmp_path), "--out", str(tmp_path / "run")], "holds no frame store"),
        (["train", "cubist-256"], "no recipe 'cubist-256'; there are talkinghead-256, "),
        (["compact-256", "--batch-size", "0", "--dry-run"], "batch_size is 0; it must be positive"),
        (["frames", "--clips", str(tmp_path), "--out", str(tmp_path / "o")], "no usable clip: the folder has no video"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("training: ")
        assert message in error
        assert error.count("\n") == 1


def test_no_vgg_weights_is_one_line(capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path) -> None:
    words = ["compact-256", "--frames", str(store), "--out", str(tmp_path), "--vgg", str(tmp_path / "none")]
    assert main(words) == 1
    assert "VGG weights: " in capsys.readouterr().err


def test_unknown_recipe() -> None:
    with pytest.raises(ConfigError, match="no recipe"):
        recipe("cubist-256")


def test_a_folder_that_cannot_be_made_is_told_before_the_clips_are_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "file" / "a.priors.safetensors"
    assert main(["priors", "--clips", str(tmp_path / "nowhere"), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"training: {out.parent} cannot be made: File exists\n"
