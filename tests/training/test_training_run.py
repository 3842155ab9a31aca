from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codec import load_model
from codec.errors import ConfigError, TrainingError
from training.checkpoint import load_matching
from training.config import LossWeights, RunConfig, TrainConfig
from training.optimiser import parameter_groups, train_mode
from training.trainer import Trainer

Train = Callable[[TrainConfig, RunConfig], list[dict[str, float]]]

CPU = torch.device("cpu")
LOSSES = ("total", "pixel", "warped", "perceptual", "equivariance", "landmarks", "spread", "gan", "feature_matching")

KILLED = """
import os, pickle, signal, sys
import torch
from training.trainer import Trainer

config, run, num_threads = pickle.load(open(sys.argv[1], "rb"))
torch.set_num_threads(num_threads)  # sums depend on it in their last digits
trainer = Trainer(config, run, torch.device("cpu"))
learn = trainer.learner.train_step

def die_at_5(batch, step, learning_rate, *, stop):
    if step == 3:
        trainer._save()
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(batch, step, learning_rate, stop=stop)

trainer.learner.train_step = die_at_5
trainer.run()
"""


def test_a_killed_run_goes_on_with_the_losses_of_an_unbroken_one(
    config: TrainConfig, run: RunConfig, train: Train, tmp_path: Path
) -> None:
    whole = train(config, dataclasses.replace(run, out=tmp_path / "whole"))
    (tmp_path / "settings").write_bytes(pickle.dumps((config, run, torch.get_num_threads())))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "settings")], stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    before = (run.out / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in before] == [1, 2, 3, 4, 5]
    parts = train(config, run)
    assert [line["step"] for line in parts] == [line["step"] for line in whole] == [1, 2, 3, 4, 5, 6]
    for name in (*LOSSES, "discriminator", "psnr_db"):
        assert [line[name] for line in parts] == pytest.approx([line[name] for line in whole], abs=2e-5), name


def test_coding_noise_is_drawn_by_the_step(config: TrainConfig, run: RunConfig, train: Train, tmp_path: Path) -> None:
    noisy = dataclasses.replace(config, coding_noise=2.0, steps=2)
    first = train(noisy, dataclasses.replace(run, out=tmp_path / "first"))
    again = train(noisy, dataclasses.replace(run, out=tmp_path / "again"))
    plain = train(dataclasses.replace(config, steps=2), dataclasses.replace(run, out=tmp_path / "plain"))
    assert [row["total"] for row in first] == [row["total"] for row in again]
    assert first[0]["total"] != plain[0]["total"]


def test_a_run_leaves_weights_pictures_and_tensorboard(
    config: TrainConfig, run: RunConfig, train: Train, store: Path
) -> None:
    lines = train(config, dataclasses.replace(run, tensorboard=True, picture_every=3))
    assert load_model(run.out / "tiny.safetensors", device="cpu").config == config.codec
    assert np.asarray(Image.open(run.out / "step-000003.png")).std() > 10
    assert any((run.out / "tensorboard").iterdir())
    for line in lines:
        assert set(LOSSES) <= line.keys()
        assert line["total"] == pytest.approx(sum(line[name] for name in LOSSES[1:]), abs=1e-3)
        assert 0 <= line["wait_share"] <= 1
        assert line["samples_per_s"] == pytest.approx(2 / line["seconds"], rel=1e-2)


def test_a_model_without_carried_pixels_draws_its_correspondences_too(
    config: TrainConfig, run: RunConfig, train: Train
) -> None:
    carried = dataclasses.replace(config.codec, still_background=False, rigid_motion=False)
    codec = dataclasses.replace(carried, warped_pixels=False, keypoint_motion=False, batch_norm=True)
    train(dataclasses.replace(config, codec=codec, steps=1), dataclasses.replace(run, picture_every=1))
    assert (run.out / "step-000001.png").exists()


def test_losses_of_weight_zero_are_left_out(config: TrainConfig, run: RunConfig, train: Train) -> None:
    losses = LossWeights(pixel=1, perceptual=0, warped=0, equivariance=0, landmarks=0, spread=0)
    [line] = train(dataclasses.replace(config, losses=losses, steps=1), dataclasses.replace(run, vgg=Path("none")))
    assert line.keys() & set(LOSSES) == {"total", "pixel"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_cleanly(
    number: signal.Signals, config: TrainConfig, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config, run, CPU)
    learn = trainer.learner.train_step

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if args[1] == 2:
            os.kill(os.getpid(), number)
        return learn(*args, **kwargs)

    monkeypatch.setattr(trainer.learner, "train_step", interrupted)
    trainer.run()
    assert trainer.step == 4
    assert torch.load(run.out / "checkpoint.pt", weights_only=True)["step"] == 4
    assert Trainer(config, run, CPU).step == 4


def test_a_time_limit_stops_a_run_cleanly(config: TrainConfig, run: RunConfig, train: Train) -> None:
    assert len(train(config, dataclasses.replace(run, time_limit=0.0))) == 1
    assert (run.out / "checkpoint.pt").exists()
    assert len(train(config, run)) == 6


def test_a_finished_run_has_nothing_to_do(config: TrainConfig, run: RunConfig, train: Train) -> None:
    assert train(config, run) == train(config, run)


def test_a_checkpoint_of_another_config_is_refused(config: TrainConfig, run: RunConfig, train: Train) -> None:
    train(dataclasses.replace(config, steps=1), run)
    codec = dataclasses.replace(config.codec, num_extra_keys=2)
    for other, fields in (
        (dataclasses.replace(config, codec=codec), "codec"),
        (dataclasses.replace(config, losses=LossWeights()), "losses.gan"),
        (dataclasses.replace(config, discriminator_width=8), "discriminator_width"),
    ):
        with pytest.raises(TrainingError, match=f"was written by another config: {fields} differ"):
            Trainer(other, run, CPU)


def test_a_damaged_checkpoint_is_one_line(config: TrainConfig, run: RunConfig) -> None:
    run.out.mkdir()
    for rubbish in (b"", b"no checkpoint", b"PK\x03\x04 cut short"):
        (run.out / "checkpoint.pt").write_bytes(rubbish)
        with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
            Trainer(config, run, CPU)
    torch.save({"step": 3}, run.out / "checkpoint.pt")
    with pytest.raises(TrainingError, match="was written by another version"):
        Trainer(config, run, CPU)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(
    config: TrainConfig, run: RunConfig, train: Train
) -> None:
    broken = dataclasses.replace(config, losses=LossWeights(pixel=float("inf")))
    with pytest.raises(TrainingError, match="loss is not finite at step 0; the batch is in"):
        train(broken, run)
    batch = torch.load(run.out / "non-finite-batch.pt", weights_only=True)
    assert batch["driving_BCHW"].shape == (2, 3, 64, 64)
    assert not (run.out / "checkpoint.pt").exists()


def test_held_out_figures_are_written(
    config: TrainConfig, run: RunConfig, train: Train, store: Path, lpips_folder: Path
) -> None:
    *steps, last = train(
        dataclasses.replace(config, steps=2), dataclasses.replace(run, held_out=store, loss_weights=lpips_folder)
    )
    assert [line["step"] for line in steps] == [1, 2]
    assert last.keys() == {"step", "held_out_psnr_db", "held_out_lpips", "held_out_frozen_psnr_db"}
    assert last["held_out_psnr_db"] > 5


def test_weights_begin_a_run_at_another_size(config: TrainConfig, run: RunConfig, train: Train, tmp_path: Path) -> None:
    train(dataclasses.replace(config, steps=1), run)
    smaller = dataclasses.replace(config, picture_size=32)
    again = dataclasses.replace(run, out=tmp_path / "smaller", init=run.out / "tiny.safetensors")
    begun = Trainer(smaller, again, CPU).learner.model.generator.state_dict()
    released = load_model(run.out / "tiny.safetensors", device="cpu").generator.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in released.items())


def test_weights_that_lack_parameters_begin_a_run_only_when_asked(
    config: TrainConfig, run: RunConfig, train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = dataclasses.replace(config, steps=1, codec=dataclasses.replace(config.codec, num_extra_keys=0))
    train(small, run)
    again = dataclasses.replace(run, out=tmp_path / "larger", init=run.out / "tiny.safetensors")
    with pytest.raises(TrainingError, match="was trained for another config than tiny; see --init-partial"):
        Trainer(config, again, CPU)
    with caplog.at_level(logging.INFO):
        Trainer(config, dataclasses.replace(again, init_partial=True), CPU)
    assert "left at their start, as tiny.safetensors has none that fit: attention.extra_keys_ED" in caplog.text
    with pytest.raises(TrainingError, match="has no tensor that fits"):
        load_matching(torch.nn.Linear(2, 2), run.out / "tiny.safetensors")


def test_factors_of_the_learning_rate_hold_by_the_longest_prefix() -> None:
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "b": torch.nn.Sequential(torch.nn.BatchNorm1d(1))})
    groups = parameter_groups(network, (("a.", 0.5), ("a.bias", 2.0), ("b.", 0.0)))
    assert {group["factor"]: [p.ndim for p in group["params"]] for group in groups} == {0.5: [2], 2.0: [1]}
    assert not any(parameter.requires_grad for parameter in network["b"].parameters())
    train_mode(network)
    assert network["a"].training
    assert not network["b"][0].training  # type: ignore[index]
    with pytest.raises(TrainingError, match="no parameter's name begins with 'c'"):
        parameter_groups(network, (("c", 1.0),))
    with pytest.raises(TrainingError, match="freezes every parameter"):
        parameter_groups(network, (("", 0.0),))


def test_frozen_parts_stay_as_they_are(config: TrainConfig, run: RunConfig) -> None:
    trainer = Trainer(dataclasses.replace(config, steps=2, learning_rate_factors=(("detector.", 0.0),)), run, CPU)
    before = {name: tensor.clone() for name, tensor in trainer.learner.model.generator.state_dict().items()}
    trainer.run()
    after = trainer.learner.model.generator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("detector."))
    assert any(not torch.equal(after[name], before[name]) for name in before if name.startswith("decoder."))


def test_schedules() -> None:
    epochs = TrainConfig(epochs=120, drop_at=100 / 120, batch_size=8, learning_rate=2e-4)
    assert epochs.num_steps(185_517) == 2_782_755
    assert epochs.learning_rate_at(0, 1200) == epochs.learning_rate_at(999, 1200) == pytest.approx(2e-4)
    assert epochs.learning_rate_at(1000, 1200) == pytest.approx(2e-5)
    cosine = TrainConfig(steps=100, decay_steps=40, learning_rate=1.0)
    assert cosine.num_steps(5) == 100
    assert cosine.learning_rate_at(60, 100) == pytest.approx(1.0)
    assert cosine.learning_rate_at(80, 100) == pytest.approx(0.55)
    assert cosine.learning_rate_at(100, 100) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps is 0 and epochs None"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_references": (2, 1)}, r"num_references is \(2, 1\)"),
        ({"crop_jitter_share": 1.5}, "crop_jitter_share is 1.5"),
        ({"learning_rate_factors": (("a", -1.0),)}, "learning_rate_factors has -1.0 for 'a'"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{"steps": 1, **setting})
