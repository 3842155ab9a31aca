"""Train a recipe: the loop, and what it leaves.

    Feed -> Learner -> RunLog; now and then: picture, held-out figures, checkpoint and weights

A run is a function of its recipe, its frames and nothing else: each step draws from (seed, step), so a run that was
stopped or killed goes on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import asdict
from pathlib import Path

import torch

from codec.errors import TrainingError
from codec.model.weights import save_weights
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import RunConfig, TrainConfig
from training.correspondence import correspondences
from training.dataset import FrameStore
from training.distributed import Processes
from training.evaluate.metrics.lpips import load_lpips
from training.feed import Batch, Feed, fits, open_feed
from training.held_out import HeldOut
from training.learner import Learner, StepResult
from training.log import RunLog
from training.picture import save_picture, training_picture
from training.reconstruction import split_references
from training.sampler import Sampler
from training.stopping import Stopping

logger = logging.getLogger(__name__)


class Trainer:
    """One run of one recipe.

    Args:
        config: the recipe.
        run: where to read and write, and how to compute.
        device: where to compute.
        processes: this one among those that train together.

    Raises:
        TrainingError: no frames, no loss weights, or a checkpoint of another config.
        WeightsError: the weights to start from are damaged.
    """

    def __init__(
        self, config: TrainConfig, run: RunConfig, device: torch.device, processes: Processes | None = None
    ) -> None:
        self.config, self.run_config, self.device = config, run, device
        self.processes = processes or Processes()
        self.store = FrameStore(run.frames)
        self.num_steps = config.num_steps(len(self.store.clips))
        self.step, self.seconds = 0, 0.0
        resumes = self.checkpoint_path.exists()
        self.learner = Learner(config, run, device, self.processes, begins=not resumes)
        self.held_out = self._held_out()
        if resumes:
            state = load_checkpoint(self.checkpoint_path, config, device)
            self.step, self.seconds = state["step"], state["seconds"]
            self.learner.load(state)

    def _held_out(self) -> HeldOut | None:
        run = self.run_config
        if run.held_out is None or not self.processes.is_first:
            return None
        lpips = load_lpips(run.loss_weights, self.device)
        return HeldOut(FrameStore(run.held_out), lpips, self.config.picture_size, self.device)

    @property
    def checkpoint_path(self) -> Path:
        """File that a run resumes from."""
        return self.run_config.out / "checkpoint.pt"

    @property
    def weights_path(self) -> Path:
        """The averaged weights, as a release."""
        return self.run_config.out / f"{self.config.codec.name}.safetensors"

    def run(self) -> None:
        """Train until the last step, the time limit or a signal; leave a checkpoint and the weights.

        Raises:
            TrainingError: a loss is not finite; the batch is saved beside the checkpoint.
        """
        out, quiet = self.run_config.out, not self.processes.is_first
        out.mkdir(parents=True, exist_ok=True)
        log = RunLog(out, self.step, self.num_steps, tensorboard=self.run_config.tensorboard, quiet=quiet)
        with log, Stopping(self.run_config.time_limit) as stopping:
            self._loop(log, stopping)
            self._save()
            if stopping.reason is not None:
                logger.info("stopped at step %d: %s; the same command goes on", self.step, stopping.reason)

    def _loop(self, log: RunLog, stopping: Stopping) -> None:
        """Do steps, and what is due between them."""
        run, feed = self.run_config, self._open_feed()
        saved_s = measured_s = time.monotonic()
        stop = self.step >= self.num_steps
        while not stop:
            result = self._timed_step(feed, stopping)
            log.step(self.step, result.figures)
            stop = self.step >= self.num_steps or result.figures["stopping"] > 0
            if run.picture_every and self.step % run.picture_every == 0:
                self._show(result, log)
            if stop or time.monotonic() - measured_s > run.held_out_every:
                self._measure(log)
                measured_s = time.monotonic()
            if not stop and time.monotonic() - saved_s > run.checkpoint_every:
                self._save()
                saved_s = time.monotonic()

    def _open_feed(self) -> Feed:
        run, store = self.run_config, self.store
        resident = run.frames_in == "device" or (run.frames_in == "auto" and fits(store, self.device))
        where = "on the device" if resident else "streamed"
        logger.info("%d clips, %d frames, %s", len(store.clips), len(store.frames), where)
        logger.info("%d steps of %d samples", self.num_steps, self.config.batch_size)
        sampler, steps = Sampler(store.clips, self.config), range(self.step, self.num_steps)
        return open_feed(store, sampler, self.processes, self.device, steps, resident=resident, workers=run.workers)

    def _timed_step(self, feed: Feed, stopping: Stopping) -> StepResult:
        """Do a step and say how long it took, and how much of that the device waited for its batch."""
        started, waited_s = time.monotonic(), feed.waited_s
        batch = next(feed)
        learning_rate = self.config.learning_rate_at(self.step, self.num_steps)
        result = self.learner.train_step(batch, self.step, learning_rate, stop=stopping.asked)
        if not result.is_finite:
            self._keep(batch)
        seconds = time.monotonic() - started
        self.step += 1
        self.seconds += seconds
        result.figures["seconds"] = seconds
        result.figures["samples_per_s"] = self.config.batch_size / seconds
        result.figures["wait_share"] = (feed.waited_s - waited_s) / seconds
        return result

    def _keep(self, batch: Batch) -> None:
        """Save a batch whose loss is not finite, and end the run.

        Raises:
            TrainingError: always.
        """
        suffix = f"-{self.processes.rank}" if self.processes.count > 1 else ""
        path = self.run_config.out / f"non-finite-batch{suffix}.pt"
        torch.save({"step": self.step, **asdict(batch)}, path)
        raise TrainingError(f"loss is not finite at step {self.step}; the batch is in {path}")

    @torch.no_grad()
    def _show(self, result: StepResult, log: RunLog) -> None:
        """Draw the step's first samples."""
        if not self.processes.is_first:
            return
        batch, made, generator = result.batch, result.made, self.learner.model.generator
        num_samples, num_references = batch.references_BRCHW.shape[:2]
        features = generator.encode_reference(batch.references_BRCHW.flatten(0, 1), made.keypoints[num_samples:])
        memory = generator.combine(split_references(features, num_samples, num_references))
        picture = training_picture(batch, made, correspondences(generator, made.keypoints[:num_samples], memory))
        save_picture(self.run_config.out / f"step-{self.step:06d}.png", picture)
        log.picture(self.step, picture)

    def _measure(self, log: RunLog) -> None:
        """Measure the averaged weights on the held-out store."""
        if self.held_out is not None:
            log.held_out(self.step, self.held_out.measure(self.learner.model, self.learner.average.state))

    def _save(self) -> None:
        """Write the checkpoint, then the averaged weights as a release."""
        if not self.processes.is_first:
            return
        state = {"step": self.step, "seconds": self.seconds, **self.learner.state()}
        save_checkpoint(self.checkpoint_path, self.config, state)
        provenance = {"recipe": self.config.name, "steps": self.step, "seconds": round(self.seconds)}
        if self.run_config.init is not None:
            provenance["init_sha256"] = hashlib.sha256(self.run_config.init.read_bytes()).hexdigest()
        save_weights(self.weights_path, self.learner.average.state, self.config.codec, provenance)
        logger.info("step %d saved", self.step)
