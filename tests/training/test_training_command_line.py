from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codec import Model
from codec.bitstream.priors import load_priors
from codec.errors import ConfigError
from codec.model.weights import load_weights, save_weights
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


def test_teach_begins_anew_or_from_weights(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    small = ["--learning.steps", "1", "--learning.batch-size", "2", "--learning.matte-batch-size", "1"]
    assert main(["teach", "--frames", str(store), "--out", str(first), *small]) == 0
    assert main(["teach", "--frames", str(store), "--out", str(second), "--init", str(first), *small]) == 0
    assert capsys.readouterr().out.startswith("step 1, landmarks ")
    assert load_weights(second)[1].name == "compact-256"
    assert "init_sha256" in json.loads(second.with_suffix(".json").read_text())["provenance"]


def test_priors_learn_what_errors_cost(
    clips: Path,
    lpips_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_model: Model,
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # other tests compare with processes of their own
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "tiny.priors.safetensors"
    save_weights(weights, tiny_model.generator.state_dict(), tiny_model.config, {})
    words = ["priors", "--clips", str(clips), "--out", str(out), "--weights", str(weights), "--learning.rounds", "1"]
    words += ["--loss-weights", str(lpips_folder), "--limit", "2", "--sensitivity-clips", "1"]
    (clips / "broken-1.mp4").rename(tmp_path / "broken-1.mp4")
    try:
        assert main(words) == 0
        assert main([*words[:-1], "0"]) == 0
    finally:
        (tmp_path / "broken-1.mp4").rename(clips / "broken-1.mp4")
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if ": priors " in line]
    assert len({words[-4] for words in lines}) == 2
    assert load_priors(out).num_keypoints == 20
