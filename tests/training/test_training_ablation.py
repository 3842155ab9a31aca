from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec.errors import ConfigError
from training import ablation
from training.ablation import AblationConfig, main, markdown
from training.config import TrainConfig
from training.recipes import ABLATIONS, RECIPES
from training.shipped import Figures


def test_the_table_has_mean_and_deviation_over_seeds() -> None:
    runs = [{"psnr_db": value, "l1": 1.0, "lpips_alex": 0.1, "akd": None} for value in (20.0, 22.0)]
    lines = markdown({"neither": runs, "both": runs[:1]}).splitlines()
    assert lines[0] == "| | neither | both |"
    assert lines[2] == "| PSNR, dB | 21.00 ± 1.41 | 20.00 |"
    assert lines[5] == "| AKD, px | - | - |"


def test_variants_and_seeds_differ_as_they_should(tmp_path: Path) -> None:
    config = AblationConfig(frames=tmp_path, clips=tmp_path, out=tmp_path, seeds=2, steps=5, picture_size=64)
    runs = {run: config.trained(*run) for run in config.runs()}
    assert list(runs) == [(variant, seed) for seed in range(2) for variant in ("neither", "residual", "both")]
    shapes = {
        variant: (runs[variant, 1].codec.residual_connection, runs[variant, 1].codec.num_extra_keys)
        for variant in ABLATIONS
    }
    assert shapes == {"neither": (False, 0), "residual": (True, 0), "both": (True, 64)}
    assert (runs["both", 1].seed, runs["both", 1].steps, runs["both", 1].codec.image_size) == (1, 5, 64)
    assert runs["both", 1].perceptual_sizes == (64, 32)


@pytest.fixture
def tiny(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "tiny", lambda: config)


def test_an_ablation_goes_on_where_it_was_stopped(
    tiny: None,
    store: Path,
    vgg: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured: list[str] = []

    def measure(weights: Path, *args: object, **kwargs: object) -> Figures:
        measured.append(weights.parent.name)
        return {"psnr_db": 20.0 + len(measured), "l1": 5.0, "lpips_alex": 0.2, "akd": 1.5}

    monkeypatch.setattr(ablation, "measure_weights", measure)
    paths = ["--frames", store, "--clips", clips, "--out", tmp_path / "out", "--vgg", vgg, "--device", "cpu"]
    words = [*map(str, paths), "--recipe", "tiny", "--seeds", "2", "--steps", "2"]
    assert main([*words, "--time-limit", "0"]) == 1
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert not measured
    assert main(words) == 0
    assert measured == ["neither-0", "residual-0", "both-0", "neither-1", "residual-1", "both-1"]
    assert "22.50 ± 2.12" in (tmp_path / "out" / "ablation.md").read_text()
    assert main(words) == 0
    assert len(measured) == 6
    results = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [len(runs) for runs in results.values()] == [2, 2, 2]
    assert main([*words, "--batch-size", "1"]) == 1
    assert "is of other settings; give another --out" in capsys.readouterr().err


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--frames", str(tmp_path), "--clips", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*words, "--recipe", "cubist"]) == 1
    assert "no recipe 'cubist'" in capsys.readouterr().err
    assert main(words) == 1
    assert "holds no frame store" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="seeds is 0; it must be positive"):
        AblationConfig(frames=tmp_path, clips=tmp_path, out=tmp_path, seeds=0)
