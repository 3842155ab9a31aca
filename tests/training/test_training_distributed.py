from __future__ import annotations

import dataclasses
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec.errors import TrainingError
from training.config import RunConfig, TrainConfig
from training.distributed import Processes

Train = Callable[[TrainConfig, RunConfig], list[dict[str, float]]]

PROCESS = """
import pickle, sys
from pathlib import Path
import torch
from training.distributed import join
from training.trainer import Trainer

torch.set_num_threads(1)
config, run = pickle.load(open(sys.argv[1], "rb"))
with join(torch.device("cpu")) as (processes, device):
    assert processes.count == 2
    Trainer(config, run, device, processes).run()
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in thread for thread in threads), threads
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def train_in_two_processes(config: TrainConfig, run: RunConfig, settings: Path) -> None:
    settings.write_bytes(pickle.dumps((config, run)))
    together = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(settings)],
            env=together | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors


def test_two_processes_have_the_losses_of_one(
    config: TrainConfig, run: RunConfig, train: Train, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, batch_size=4, steps=4)
    run = dataclasses.replace(run, precision="fp32")
    together = dataclasses.replace(run, out=tmp_path / "together")
    train_in_two_processes(config, together, tmp_path / "settings")
    alone = train(config, run)
    pair = train(config, together)
    assert [line["step"] for line in pair] == [1, 2, 3, 4]
    measured = {name for line in alone for name in line} - {"seconds", "samples_per_s", "wait_share"}
    assert {"gan", "feature_matching", "discriminator", "landmarks", "equivariance"} <= measured
    for name in measured:
        expected = [line[name] for line in alone]
        assert [line[name] for line in pair] == pytest.approx(expected, rel=2e-3, abs=2e-4), name


def test_a_batch_that_cannot_be_shared_is_one_line() -> None:
    with pytest.raises(TrainingError, match="batch_size is 3; 2 processes cannot share it evenly"):
        Processes(0, 2).share_of(3)


def test_batch_norms_see_one_process_on_a_cpu_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    assert Processes(0, 2).synchronise_norms(network, torch.device("cpu")) is network
    assert "batch norms see one process's share" in caplog.text
    converted = Processes(0, 2).synchronise_norms(network, torch.device("cuda"))
    assert isinstance(converted[0], torch.nn.SyncBatchNorm)  # type: ignore[index]
