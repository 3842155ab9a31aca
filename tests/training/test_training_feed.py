from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import TrainConfig
from training.dataset import Clip, FrameStore
from training.distributed import Processes
from training.feed import Batch, Feed, fits, open_feed
from training.jitter import MIRRORED, Jitter
from training.sampler import Plan, Sampler, step_generator

CPU = torch.device("cpu")


def feed(store: Path, config: TrainConfig, steps: range, processes: Processes, *, resident: bool) -> Feed:
    frames = FrameStore(store)
    sampler = Sampler(frames.clips, config)
    return open_feed(frames, sampler, processes, CPU, steps, resident=resident, workers=1)


def same(a: Batch, b: Batch) -> bool:
    assert a.landmarks_BSLC is not None
    assert b.landmarks_BSLC is not None
    return (
        torch.equal(a.driving_BCHW, b.driving_BCHW)
        and torch.equal(a.references_BRCHW, b.references_BRCHW)
        and torch.allclose(a.landmarks_BSLC, b.landmarks_BSLC, equal_nan=True)
        and a.num_known == b.num_known
    )


def test_streamed_batches_are_those_from_memory(store: Path, config: TrainConfig) -> None:
    steps = range(2, 5)
    streamed = feed(store, config, steps, Processes(), resident=False)
    resident = feed(store, config, steps, Processes(), resident=True)
    assert all(same(next(streamed), next(resident)) for _ in steps)
    assert streamed.waited_s > 0


def test_a_step_is_drawn_alike_wherever_a_run_begins(store: Path, config: TrainConfig) -> None:
    whole = feed(store, config, range(4), Processes(), resident=True)
    batches = [next(whole) for _ in range(4)]
    assert same(batches[3], next(feed(store, config, range(3, 4), Processes(), resident=True)))
    assert not same(batches[2], batches[3])


def test_processes_share_a_batch(store: Path, config: TrainConfig) -> None:
    config = dataclasses.replace(config, batch_size=4)
    whole = next(feed(store, config, range(1), Processes(), resident=True))
    parts = [next(feed(store, config, range(1), Processes(rank, 2), resident=True)) for rank in range(2)]
    assert torch.equal(torch.cat([part.driving_BCHW for part in parts]), whole.driving_BCHW)
    assert torch.equal(torch.cat([part.references_BRCHW for part in parts]), whole.references_BRCHW)
    assert sum(part.num_known for part in parts) == whole.num_known
    assert whole.landmarks_BSLC is not None


def test_pictures_are_of_one_clip_in_the_range(store: Path, config: TrainConfig) -> None:
    clips = FrameStore(store).clips
    sampler = Sampler(clips, dataclasses.replace(config, batch_size=64, num_references=(1, 4)))
    plans = [sampler.plan(step) for step in range(20)]
    assert {plan.frames_BS.shape[1] for plan in plans} == {2, 3, 4, 5}
    clip_of = np.concatenate([np.full(clip.stop - clip.start, i) for i, clip in enumerate(clips)])
    for plan in plans:
        assert (clip_of[plan.frames_BS] == clip_of[plan.frames_BS[:, :1]]).all()
        assert (np.abs(plan.factor_BSC) <= 1).all()


def plan_of(config: TrainConfig) -> Plan:
    return Sampler([Clip("a", "a", 0, 9)], dataclasses.replace(config, batch_size=400)).plan(0)


def test_the_share_of_moved_samples_is_the_settings(config: TrainConfig) -> None:
    for share in (0.0, 0.25, 1.0):
        plan = plan_of(dataclasses.replace(config, crop_jitter_share=share))
        moved = (plan.shift_BSC != 0).any((1, 2)).mean()
        assert abs(moved - share) < 0.08
    assert (plan_of(dataclasses.replace(config, mirror=False)).factor_BSC > 0).all()
    assert abs((plan_of(config).factor_BSC[:, 0, 0] < 0).mean() - 0.5) < 0.1


def test_groups_are_drawn_by_the_square_root_of_their_size(config: TrainConfig) -> None:
    clips = [Clip(f"a{i}", "a", 10 * i, 10 * i + 10) for i in range(16)] + [Clip("b", "b", 160, 170)]
    weights = Sampler(clips, config).weights
    assert np.isclose(weights[:16].sum() / weights[16], 4)


def test_other_draws_depend_on_seed_and_step() -> None:
    draws = {float(torch.rand((), generator=step_generator(seed, step))) for seed in (0, 1) for step in (0, 1)}
    assert len(draws) == 4
    assert torch.rand(2, generator=step_generator(3, 4)).equal(torch.rand(2, generator=step_generator(3, 4)))


def test_landmarks_move_with_their_picture() -> None:
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, :, 40, 20] = 1
    landmarks = torch.full((1, 18, 2), 0.0)
    landmarks[0, 5] = torch.tensor([(2 * 20 + 1) / 64 - 1, (2 * 40 + 1) / 64 - 1])
    jitter = Jitter(torch.tensor([[-0.9, 0.9]]), torch.tensor([[0.1, -0.05]]))
    moved = jitter.points(landmarks)[0, MIRRORED[5]]
    brightest = int(jitter.pictures(picture, 64)[0, 0].argmax())
    found = torch.tensor([(2 * (brightest % 64) + 1) / 64 - 1, (2 * (brightest // 64) + 1) / 64 - 1])
    assert torch.allclose(moved, found, atol=2 / 64)


def test_frames_live_on_a_gpu_that_has_room_for_them(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = FrameStore(store)
    size = frames.frames.nbytes
    for free, expected in ((3 * size, True), (int(1.5 * size), False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * size))
        assert fits(frames, torch.device("cuda", 0)) is expected
    assert fits(frames, CPU)
    assert not fits(frames, torch.device("mps"))
