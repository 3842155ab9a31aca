"""Which frames each step trains on, and how they are jittered: a function of seed and step alone.

    (seed, step) -> Sampler.plan -> Plan -> Plan.share -> one process's part

No state is kept from step to step, so a resumed run, a process of many and a loader's worker all draw the same.

Shape legend: B batch, R references, S = 1 + R pictures of a sample (the driving one first), C = 2 coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.config import TrainConfig
from training.dataset import Clip

SCALE_DEVIATION = 0.05
SHIFT_DEVIATION = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The samples of one step.

    Attributes:
        frames_BS: indices of the store's frames.
        factor_BSC: factors of ``jitter.Jitter``.
        shift_BSC: shifts of ``jitter.Jitter``.
    """

    frames_BS: npt.NDArray[np.int64]
    factor_BSC: npt.NDArray[np.float32]
    shift_BSC: npt.NDArray[np.float32]

    def share(self, rank: int, num_processes: int) -> Plan:
        """Return the part of one process; the parts are equal and in order."""
        each = len(self.frames_BS) // num_processes
        mine = slice(rank * each, (rank + 1) * each)
        return Plan(self.frames_BS[mine], self.factor_BSC[mine], self.shift_BSC[mine])


class Sampler:
    """Draws clips, a driving frame and references from anywhere in the same clip, and their jitter.

    Groups of clips (sources) are drawn by the square root of their size, so that many clips of one studio do not
    drown the rest.

    Args:
        clips: of the store.
        config: batch size, references, jitter and seed.
    """

    def __init__(self, clips: list[Clip], config: TrainConfig) -> None:
        self.config = config
        self.starts = np.array([clip.start for clip in clips])
        self.stops = np.array([clip.stop for clip in clips])
        _, group_of_clip = np.unique([clip.group for clip in clips], return_inverse=True)
        frames = (self.stops - self.starts).astype(np.float64)
        frames_of_group = np.bincount(group_of_clip, weights=frames)
        weights = frames / np.sqrt(frames_of_group[group_of_clip])
        self.weights = weights / weights.sum()

    def plan(self, step: int) -> Plan:
        """Draw the samples of a step, of all processes together."""
        random = np.random.default_rng((self.config.seed, step))
        fewest, most = self.config.num_references
        batch, pictures = self.config.batch_size, 1 + int(random.integers(fewest, most + 1))
        clips_B = random.choice(len(self.starts), size=batch, p=self.weights)
        frames_BS = random.integers(self.starts[clips_B, None], self.stops[clips_B, None], size=(batch, pictures))
        moved_B11 = random.random((batch, 1, 1)) < self.config.crop_jitter_share
        scale_BS1 = np.exp(random.normal(0, SCALE_DEVIATION, size=(batch, pictures, 1)) * moved_B11).clip(max=1.0)
        shift_BSC = random.normal(0, SHIFT_DEVIATION, size=(batch, pictures, 2)) * moved_B11
        mirrored_B11 = (random.random((batch, 1, 1)) < 0.5) & self.config.mirror
        sign_B12 = np.where(mirrored_B11, np.array([-1.0, 1.0]), 1.0)
        return Plan(frames_BS, (scale_BS1 * sign_B12).astype(np.float32), shift_BSC.astype(np.float32))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the source of a step's other draws (spline, dropout), the same in every process and after a resume."""
    state = np.random.SeedSequence((seed, step, 1)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
