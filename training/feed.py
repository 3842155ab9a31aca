"""Batches for the training loop: from frames that live on the device, or streamed by reading processes.

    Plan -> frames of the store (device memory | DataLoader workers, pinned) -> RawBatch, uint8 -> develop -> Batch

Pictures are augmented on the device in both ways, so they give the same batches.

Shape legend: B batch, R references, S = 1 + R pictures of a sample, C channels or (x, y), H height, W width,
L landmarks.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.dataset import FrameStore
from training.distributed import Processes
from training.jitter import Jitter
from training.sampler import Sampler

DEVICE_SHARE = 0.5
"""Share of the device's free memory that frames may take."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Pictures as stored, and what is to be done to them.

    Attributes:
        frames_BSHWC: uint8.
        factor_BSC: factors of ``jitter.Jitter``.
        shift_BSC: shifts of ``jitter.Jitter``.
        landmarks_BSLC: in [-1, 1], NaN where unknown; None where the store has none.
        num_known: known coordinates of landmarks in the whole batch, a process.
    """

    frames_BSHWC: Tensor
    factor_BSC: Tensor
    shift_BSC: Tensor
    landmarks_BSLC: Tensor | None
    num_known: float

    def pin_memory(self) -> RawBatch:
        """Return the same in page-locked memory, from which copies to a GPU need not be waited for."""
        landmarks_BSLC = None if self.landmarks_BSLC is None else self.landmarks_BSLC.pin_memory()
        frames_BSHWC, factor_BSC = self.frames_BSHWC.pin_memory(), self.factor_BSC.pin_memory()
        return RawBatch(frames_BSHWC, factor_BSC, self.shift_BSC.pin_memory(), landmarks_BSLC, self.num_known)

    def to(self, device: torch.device) -> RawBatch:
        """Return the same on a device."""
        landmarks_BSLC = None if self.landmarks_BSLC is None else self.landmarks_BSLC.to(device, non_blocking=True)
        return RawBatch(
            self.frames_BSHWC.to(device, non_blocking=True),
            self.factor_BSC.to(device, non_blocking=True),
            self.shift_BSC.to(device, non_blocking=True),
            landmarks_BSLC,
            self.num_known,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch, pictures in [0, 1].

    Attributes:
        driving_BCHW: pictures to be reconstructed.
        references_BRCHW: other pictures of the same people.
        landmarks_BSLC: in [-1, 1] of driving picture and references, NaN where unknown; None where the store has none.
        num_known: known coordinates of landmarks in the whole batch, a process.
    """

    driving_BCHW: Tensor
    references_BRCHW: Tensor
    landmarks_BSLC: Tensor | None
    num_known: float


def develop(raw: RawBatch, picture_size: int) -> Batch:
    """Turn stored bytes into jittered pictures, where the bytes are."""
    num_samples, num_pictures = raw.frames_BSHWC.shape[:2]
    images_NCHW = raw.frames_BSHWC.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    jitter = Jitter(raw.factor_BSC.flatten(0, 1), raw.shift_BSC.flatten(0, 1))
    images_BSCHW = jitter.pictures(images_NCHW, picture_size).unflatten(0, (num_samples, num_pictures))
    landmarks_BSLC = raw.landmarks_BSLC
    if landmarks_BSLC is not None:
        landmarks_BSLC = jitter.points(landmarks_BSLC.flatten(0, 1)).unflatten(0, (num_samples, num_pictures))
    return Batch(images_BSCHW[:, 0].contiguous(), images_BSCHW[:, 1:].contiguous(), landmarks_BSLC, raw.num_known)


class Reader(Dataset[RawBatch]):
    """Batches of a store by step, read from disk; a DataLoader's worker opens the store anew.

    Args:
        folder: of the store.
        sampler: draws the steps.
        processes: this one among them.
    """

    def __init__(self, folder: Path, sampler: Sampler, processes: Processes) -> None:
        self.folder, self.sampler, self.processes = folder, sampler, processes

    @cached_property
    def store(self) -> FrameStore:
        """The store, opened where it is read."""
        return FrameStore(self.folder)

    def __getitem__(self, step: int) -> RawBatch:
        """Read the share of a step."""
        whole = self.sampler.plan(step)
        plan = whole.share(self.processes.rank, self.processes.count)
        landmarks_FLC = self.store.landmarks_FLC
        frames_BSHWC = torch.from_numpy(self.store.frames[plan.frames_BS])
        known, landmarks_BSLC = 0.0, None
        if landmarks_FLC is not None:
            known = float(np.isfinite(landmarks_FLC[whole.frames_BS]).sum()) / self.processes.count
            landmarks_BSLC = torch.from_numpy(landmarks_FLC[plan.frames_BS])
        factor_BSC, shift_BSC = torch.from_numpy(plan.factor_BSC), torch.from_numpy(plan.shift_BSC)
        return RawBatch(frames_BSHWC, factor_BSC, shift_BSC, landmarks_BSLC, known)


class ResidentReader:
    """The same from memory: frames and landmarks lie on the device (on a CPU: in its page cache).

    Args:
        store: the frames.
        sampler: draws the steps.
        processes: this one among them.
        device: to hold them.
    """

    def __init__(self, store: FrameStore, sampler: Sampler, processes: Processes, device: torch.device) -> None:
        self.sampler, self.processes, self.device = sampler, processes, device
        self.frames_FHWC = torch.from_numpy(store.frames).to(device)
        self.landmarks_FLC = None if store.landmarks_FLC is None else torch.from_numpy(store.landmarks_FLC).to(device)
        self.known_F = None if store.landmarks_FLC is None else np.isfinite(store.landmarks_FLC).sum((1, 2))

    def __getitem__(self, step: int) -> RawBatch:
        """Gather the share of a step."""
        whole = self.sampler.plan(step)
        plan = whole.share(self.processes.rank, self.processes.count)
        frames_BS = torch.from_numpy(plan.frames_BS).to(self.device)
        known = 0.0 if self.known_F is None else float(self.known_F[whole.frames_BS].sum()) / self.processes.count
        return RawBatch(
            self.frames_FHWC[frames_BS],
            torch.from_numpy(plan.factor_BSC).to(self.device),
            torch.from_numpy(plan.shift_BSC).to(self.device),
            None if self.landmarks_FLC is None else self.landmarks_FLC[frames_BS],
            known,
        )


class Feed:
    """Gives the batch of each step in turn, and counts the seconds that the loop waited for it.

    Args:
        batches: raw batches in the order of the steps.
        picture_size: height and width of the pictures.
        device: that trains.
    """

    def __init__(self, batches: Iterator[RawBatch], picture_size: int, device: torch.device) -> None:
        self.batches, self.picture_size, self.device = batches, picture_size, device
        self.waited_s = 0.0

    def __next__(self) -> Batch:
        """Return the next step's batch."""
        started = time.monotonic()
        raw = next(self.batches)
        self.waited_s += time.monotonic() - started
        return develop(raw.to(self.device), self.picture_size)


def open_feed(
    store: FrameStore,
    sampler: Sampler,
    processes: Processes,
    device: torch.device,
    steps: range,
    *,
    resident: bool,
    workers: int,
) -> Feed:
    """Return the batches of some steps, from device memory or streamed."""
    if resident:
        reader = ResidentReader(store, sampler, processes, device)
        batches = (reader[step] for step in steps)
        return Feed(batches, sampler.config.picture_size, device)
    loader = DataLoader(
        Reader(store.folder, sampler, processes),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_the_parent,
    )
    return Feed(iter(loader), sampler.config.picture_size, device)


def fits(store: FrameStore, device: torch.device) -> bool:
    """Say whether a store's frames can live on the device; on a CPU they are mapped, and always do."""
    if device.type == "cpu":
        return True
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return store.frames.nbytes < DEVICE_SHARE * free


def leave_signals_to_the_parent(_: int) -> None:
    """Let a reading process ignore Ctrl-C, which ends the parent cleanly, and die of the parent's SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
