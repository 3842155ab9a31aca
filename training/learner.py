"""Networks that learn: one step of generator and discriminator.

    Batch -> Reconstruction -> Objective, Discriminator -> Adam, Adam -> AverageWeights -> figures

Shape legend: B batch, R references, M keys, C channels, H height, W width.
"""

from __future__ import annotations

import logging
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codec.loading import default_priors
from codec.model.generator import Generator
from training.checkpoint import at_size, load_initial
from training.config import RunConfig, TrainConfig
from training.discriminator import Discriminator
from training.distributed import Processes
from training.evaluate.metrics.lpips import load_lpips
from training.feed import Batch
from training.held_out import psnr
from training.losses import discriminator_loss
from training.objective import Objective
from training.optimiser import AverageWeights, adam, parameter_groups, set_learning_rate, train_mode
from training.perceptual import PerceptualLoss, VggFeatures, load_vgg
from training.reconstruction import Reconstructed, Reconstruction, coding_errors
from training.sampler import step_generator
from training.spline import ThinPlateSpline

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: its figures, means over all processes, and what was made."""

    figures: dict[str, float]
    batch: Batch
    made: Reconstructed

    @property
    def is_finite(self) -> bool:
        """Whether the loss is a number in every process."""
        return math.isfinite(self.figures["total"])


class Learner:
    """Generator and discriminator with their optimisers.

    Args:
        config: the recipe.
        run: how to compute, and the weights to start from.
        device: where to compute.
        processes: this one among those that train together.
        begins: whether the run is new: only then it starts from ``run.init``.

    Raises:
        TrainingError: no loss weights, or weights to start from that do not fit.
        WeightsError: the weights to start from are damaged.
    """

    def __init__(
        self, config: TrainConfig, run: RunConfig, device: torch.device, processes: Processes, *, begins: bool
    ) -> None:
        self.config, self.run_config, self.device, self.processes = config, run, device, processes
        self.each = processes.share_of(config.batch_size)
        self.codec = at_size(config.codec, config.picture_size)
        torch.manual_seed(config.seed)
        self._build_generator(begins)
        self._build_discriminator()
        perceptual = self._perceptual()
        lpips = load_lpips(run.loss_weights, device) if config.losses.lpips else None
        self.objective = Objective(config, perceptual, lpips)
        self.basis_NN: Tensor | None = None
        if config.coding_noise:
            self.basis_NN = torch.from_numpy(default_priors(config.codec).basis_NN).float()

    def _build_generator(self, begins: bool) -> None:
        config, run = self.config, self.run_config
        generator = Generator(self.codec)
        if run.init is not None and begins:
            load_initial(generator, self.codec, run.init, partial=run.init_partial)
        generator.to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = adam(parameter_groups(generator, config.learning_rate_factors), config, self.device)
        self.model = Reconstruction(generator, config.quantise)
        self.processes.synchronise_norms(self.model, self.device)
        self.average = AverageWeights(self.model.generator, config.ema_halflife_steps)
        self.rebuild = self._prepared(self.model)

    def _build_discriminator(self) -> None:
        config = self.config
        self.discriminator: Discriminator | None = None
        if not config.losses.gan:
            return
        scales, width, layers = config.discriminator_scales, config.discriminator_width, config.discriminator_layers
        self.discriminator = Discriminator(scales, width, layers).to(self.device)
        self.discriminator.to(memory_format=torch.channels_last)
        self.discriminator_optimiser = adam([{"params": self.discriminator.parameters()}], config, self.device)
        self.judge = self._prepared(self.discriminator)

    def _prepared(self, network: nn.Module) -> nn.Module:
        wrapped = self.processes.wrap(network, self.device)
        compiled: Any = torch.compile(wrapped) if self.run_config.compile else wrapped
        return compiled  # type: ignore[no-any-return]

    def _perceptual(self) -> PerceptualLoss | None:
        if not self.config.losses.perceptual:
            return None
        vgg = VggFeatures(load_vgg(self.run_config.vgg), self.config.vgg_stages)
        loss = PerceptualLoss(vgg, self.config.perceptual_sizes, self.config.perceptual_crop_share).to(self.device)
        return loss.to(memory_format=torch.channels_last)

    def train_step(self, batch: Batch, step: int, learning_rate: float, *, stop: bool = False) -> StepResult:
        """Do one step of generator and discriminator, and average the weights.

        Args:
            batch: this process's share.
            step: number of the step: what is drawn depends on it.
            learning_rate: of both optimisers.
            stop: whether this process wants to stop; told to all by the figures.

        Returns:
            What came of it; nothing was learned where the loss is not finite.
        """
        train_mode(self.model)
        set_learning_rate(self.optimiser, learning_rate)
        with self._autocast():
            made, losses = self._rebuild(batch, step)
            if self.discriminator is not None:
                losses |= self._judged(self.discriminator, batch, made)
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.generator.parameters(), self.config.clip_gradient)
        figures = self._figures(losses, total, norm, made, batch, stop)
        result = StepResult(figures | {"lr": learning_rate}, batch, made)
        if not result.is_finite:
            return result
        if math.isfinite(figures["gradient_norm"]):
            self.optimiser.step()
            self.average.update(step)
        else:
            logger.warning("step %d skipped: its gradient is not finite", step)
        if self.discriminator is not None:
            result.figures["discriminator"] = self._train_discriminator(batch, made, learning_rate)
        return result

    def _autocast(self) -> AbstractContextManager[None]:
        precision = self.run_config.precision
        has_bf16 = self.device.type == "cpu" or (self.device.type == "cuda" and torch.cuda.is_bf16_supported())
        enabled = precision == "bf16" or (precision == "auto" and has_bf16)
        context: Any = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)
        return context  # type: ignore[no-any-return]

    def _rebuild(self, batch: Batch, step: int) -> tuple[Reconstructed, dict[str, Tensor]]:
        """Rebuild the driving pictures and weigh the losses but the adversarial ones."""
        config, draws, spline, warped_BCHW = self.config, step_generator(self.config.seed, step), None, None
        if config.losses.equivariance:
            whole = ThinPlateSpline.random(config.batch_size, draws, batch.driving_BCHW)
            spline = whole.share(self.processes.rank, self.processes.count)
            warped_BCHW = spline.warp(batch.driving_BCHW)
        dropped_BM = None
        if config.key_dropout:
            num_keys = batch.references_BRCHW.shape[1] * self.codec.grid_size**2
            dropped_BM = self._own(torch.rand(config.batch_size, num_keys, generator=draws) < config.key_dropout)
        errors_BK3 = None
        if self.basis_NN is not None:
            errors_BK3 = self._own(coding_errors(self.basis_NN, config.coding_noise, config.batch_size, draws))
        made: Reconstructed = self.rebuild(
            batch.driving_BCHW, batch.references_BRCHW, warped_BCHW, dropped_BM, errors_BK3
        )
        return made, self.objective.losses(batch, made, spline, draws)

    def _own(self, drawn: Tensor) -> Tensor:
        """Return this process's share of what was drawn for the whole batch."""
        return drawn[self.processes.rank * self.each :][: self.each].to(self.device)

    def _judged(self, discriminator: Discriminator, batch: Batch, made: Reconstructed) -> dict[str, Tensor]:
        """Return the adversarial losses; the discriminator's own weights get no gradient."""
        discriminator.requires_grad_(False)
        with torch.no_grad():
            real = discriminator(batch.driving_BCHW)
        return self.objective.adversarial_losses(real, discriminator(made.generated.image_BCHW))

    def _train_discriminator(self, batch: Batch, made: Reconstructed, learning_rate: float) -> float:
        """Do the discriminator's step; return its loss."""
        assert self.discriminator is not None
        self.discriminator.requires_grad_(True)
        set_learning_rate(self.discriminator_optimiser, learning_rate)
        with self._autocast():
            both = self.judge(torch.cat((batch.driving_BCHW, made.generated.image_BCHW.detach())))
            real, fake = [scale[: self.each] for scale in both], [scale[self.each :] for scale in both]
            loss = discriminator_loss(real, fake)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimiser.step()
        return float(self.processes.mean(loss.detach().clone()))

    def _figures(
        self, losses: dict[str, Tensor], total: Tensor, norm: Tensor, made: Reconstructed, batch: Batch, stop: bool
    ) -> dict[str, float]:
        """Return losses, PSNR (dB) made, carried and frozen, and gradient norm: means over processes, in one copy."""
        values = {"total": total, **losses, "gradient_norm": norm}
        values["psnr_db"] = psnr(made.generated.image_BCHW.detach(), batch.driving_BCHW).mean()
        if made.generated.warped_BCHW is not None:
            values["warped_psnr_db"] = psnr(made.generated.warped_BCHW.detach(), batch.driving_BCHW).mean()
        values["frozen_psnr_db"] = psnr(batch.references_BRCHW[:, 0], batch.driving_BCHW).mean()
        values["stopping"] = total.new_tensor(float(stop))
        mean = self.processes.mean(torch.stack([value.detach().float() for value in values.values()]))
        return dict(zip(values, mean.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint must hold."""
        state: dict[str, Any] = {
            "generator": self.model.generator.state_dict(),
            "average": self.average.state,
            "optimiser": self.optimiser.state_dict(),
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["discriminator_optimiser"] = self.discriminator_optimiser.state_dict()
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.model.generator.load_state_dict(state["generator"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
