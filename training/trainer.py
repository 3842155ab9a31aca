"""Train a recipe: draw a batch, reconstruct it through the quantiser, step, average, write down.

    Sampler -> keypoints of driving and references -> quantiser (straight-through) -> Generator -> losses -> Adam -> EMA

Shape legend: B batch, R references, K keypoints, C channels or (x, y), H height, W width.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from codec.config import CodecConfig
from codec.errors import TrainingError
from codec.model.generator import Generated, Generator, ReferenceFeatures
from codec.model.weights import load_weights, save_weights
from codec.structs import Keypoints
from training.config import RunPaths, TrainConfig
from training.dataset import Batch, FrameStore, Sampler
from training.losses import ThinPlateSpline, equivariance_loss, face_weight, landmark_loss, spread_loss
from training.perceptual import PerceptualLoss, VggFeatures, load_vgg
from training.picture import save_training_picture

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses of one step by name, and what was generated."""

    losses: dict[str, Tensor]
    generated: Generated
    keypoints: Keypoints

    @property
    def total(self) -> Tensor:
        """Sum of the weighted losses."""
        return torch.stack(list(self.losses.values())).sum()


class Trainer:
    """One run of one recipe.

    Args:
        config: the recipe.
        paths: where to read and write.
        device: where to compute.

    Raises:
        TrainingError: no frames, no VGG weights, or a checkpoint of another config.
    """

    def __init__(self, config: TrainConfig, paths: RunPaths, device: torch.device) -> None:
        self.config, self.paths, self.device = config, paths, device
        self.codec = at_size(config.codec, config.picture_size)
        torch.manual_seed(config.seed)
        self.model = Generator(self.codec).to(device).to(memory_format=torch.channels_last)
        self.sampler = Sampler(FrameStore(paths.frames), config.picture_size, config.seed, config.crop_jitter_share)
        self.draws = torch.Generator().manual_seed(config.seed)
        vgg = VggFeatures(load_vgg(paths.vgg), config.vgg_stages)
        self.perceptual = PerceptualLoss(vgg, config.perceptual_sizes).to(device).to(memory_format=torch.channels_last)
        self.step = 0
        self.seconds = 0.0
        if paths.init is not None:
            self.load_initial(paths.init, paths.init_partial)
        self.ema = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.optimizer = torch.optim.Adam(
            parameter_groups(self.model, config.learning_rate_factors),
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )
        if self.checkpoint_path.exists():
            self.resume()

    @property
    def checkpoint_path(self) -> Path:
        """File that a run resumes from."""
        return self.paths.out / "checkpoint.pt"

    def load_initial(self, path: Path, partial: bool) -> None:
        """Start from released weights; the picture size may differ, the networks only when ``partial``.

        Raises:
            TrainingError: they are of another config.
        """
        if partial:
            load_matching(self.model, path)
            return
        generator, config, _ = load_weights(path)
        if at_size(config, self.config.picture_size) != self.codec:
            raise TrainingError(f"{path} was trained for another config than {self.codec.name}")
        self.model.load_state_dict(generator.state_dict())

    def run(self, time_limit_s: float, checkpoint_every_s: float, picture_every: int) -> None:
        """Train until the last step or the time limit; write a checkpoint and the weights at the end.

        Raises:
            TrainingError: a loss is not finite; the batch is saved beside the checkpoint.
        """
        started = last_checkpoint = time.monotonic()
        self.paths.out.mkdir(parents=True, exist_ok=True)
        while self.step < self.config.steps and time.monotonic() - started < time_limit_s:
            step_started = time.monotonic()
            fewest, most = self.config.num_references
            num_references = int(self.sampler.random.integers(fewest, most + 1))
            batch = self.sampler.batch(self.config.batch_size, num_references)
            result = self.train_step(batch)
            self.step += 1
            self.seconds += time.monotonic() - step_started
            self.note(result, batch, time.monotonic() - step_started)
            if self.step % picture_every == 0:
                path = self.paths.out / f"step-{self.step:06d}.png"
                save_training_picture(path, batch, result.keypoints, result.generated)
            if time.monotonic() - last_checkpoint > checkpoint_every_s:
                self.save()
                last_checkpoint = time.monotonic()
        self.save()

    def train_step(self, batch: Batch) -> StepResult:
        """Do one optimiser step and average the weights; a gradient that is not finite is left out."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate() * group["factor"]
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            result = self.losses(batch)
        total = result.total
        if not torch.isfinite(total):
            torch.save(dataclasses.asdict(batch), self.paths.out / "non-finite-batch.pt")
            raise TrainingError(f"loss is not finite at step {self.step}; the batch is in {self.paths.out}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_gradient)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.average()
        else:
            logger.warning("step %d skipped: its gradient is not finite", self.step)
        return result

    def losses(self, batch: Batch) -> StepResult:
        """Reconstruct a batch and weigh the losses."""
        weights, config = self.config.losses, self.config
        driving_BCHW = batch.driving_BCHW.to(self.device)
        references_BRCHW = batch.references_BRCHW.to(self.device)
        num_samples, num_references = references_BRCHW.shape[:2]
        images_NCHW = torch.cat((driving_BCHW, references_BRCHW.flatten(0, 1)))
        spline = ThinPlateSpline.random(num_samples, self.draws, driving_BCHW)
        detected = self.model.detect(torch.cat((images_NCHW, spline.warp(driving_BCHW))))
        exact, deformed = detected[: images_NCHW.shape[0]], detected[images_NCHW.shape[0] :]
        keypoints = quantise_straight_through(exact, self.codec) if config.quantise else exact
        features = self.model.encode_reference(references_BRCHW.flatten(0, 1), exact[num_samples:])
        memory = self.model.combine(split_references(features, num_samples, num_references))
        dropped_BM = torch.rand(memory.keys_BMD.shape[:2], generator=self.draws) < config.key_dropout
        dropped_BM[:, num_references * self.codec.grid_size**2 :] = False
        generated = self.model(keypoints[:num_samples], memory, dropped_BM.to(self.device))
        weight_BCHW: Tensor | float = 1.0
        num_taught = 0
        losses = {
            "perceptual": weights.perceptual * self.perceptual(generated.image_BCHW, driving_BCHW),
            "equivariance": weights.equivariance
            * equivariance_loss(exact.locations_BKC[:num_samples], deformed.locations_BKC, spline),
        }
        if batch.landmarks_BSLC is not None:
            num_taught = batch.landmarks_BSLC.shape[2]
            landmarks_BSLC = batch.landmarks_BSLC.to(self.device)
            landmarks_NLC = torch.cat((landmarks_BSLC[:, 0], landmarks_BSLC[:, 1:].flatten(0, 1)))
            losses["landmarks"] = weights.landmarks * landmark_loss(exact.locations_BKC, landmarks_NLC)
            taught_BKC = exact.locations_BKC[:num_samples, :num_taught].detach()
            weight_BCHW = face_weight(taught_BKC, config.picture_size, weights.face_emphasis)
        losses["spread"] = weights.spread * spread_loss(exact.locations_BKC, weights.spread_distance, num_taught)
        losses["pixel"] = weights.pixel * (weight_BCHW * (generated.image_BCHW - driving_BCHW).abs()).mean()
        if generated.warped_BCHW is not None:
            losses["warped"] = weights.warped * (weight_BCHW * (generated.warped_BCHW - driving_BCHW).abs()).mean()
        return StepResult(losses, generated, exact)

    def learning_rate(self) -> float:
        """Constant, then a cosine to a tenth over the last ``decay_steps``."""
        left = self.config.steps - self.step
        share = min(1.0, left / max(1, self.config.decay_steps))
        return self.config.learning_rate * (0.1 + 0.9 * 0.5 * (1 - float(np.cos(np.pi * share))))

    def average(self) -> None:
        """Move the averaged weights towards the current ones; early on they follow closely."""
        halflife = min(self.config.ema_halflife_steps, 1 + self.step / 10)
        rate = 1 - 0.5 ** (1 / halflife)
        current = self.model.state_dict()
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.ema[name] for name in floating], [current[name] for name in floating], rate)
        for name in current.keys() - set(floating):
            self.ema[name].copy_(current[name])

    def note(self, result: StepResult, batch: Batch, seconds: float) -> None:
        """Append the step's figures to ``stats.jsonl``: losses, PSNR (dB) made, carried and frozen, seconds."""
        target_BCHW = batch.driving_BCHW.to(self.device)
        line: dict[str, float] = {"step": self.step, "seconds": round(seconds, 3), "lr": self.learning_rate()}
        line |= {name: round(float(value.detach()), 5) for name, value in result.losses.items()}
        line["psnr_db"] = psnr(result.generated.image_BCHW.detach(), target_BCHW)
        if result.generated.warped_BCHW is not None:
            line["warped_psnr_db"] = psnr(result.generated.warped_BCHW.detach(), target_BCHW)
        line["frozen_psnr_db"] = psnr(batch.references_BRCHW[:, 0].to(self.device), target_BCHW)
        with (self.paths.out / "stats.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the checkpoint, then the averaged weights as a release."""
        partial = self.checkpoint_path.with_suffix(".partial")
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "codec": self.codec.to_json(),
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
            "sampler": json.dumps(self.sampler.random.bit_generator.state),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint_path)
        provenance = {"recipe": self.config.codec.name, "steps": self.step, "seconds": round(self.seconds)}
        save_weights(self.paths.out / f"{self.config.codec.name}.safetensors", self.ema, self.config.codec, provenance)
        logger.info("step %d saved", self.step)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            TrainingError: it belongs to another config.
        """
        state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        if state["codec"] != self.codec.to_json():
            raise TrainingError(f"{self.checkpoint_path} was written by another config")
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.ema = state["ema"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.draws.set_state(state["draws"].cpu())
        self.sampler.random.bit_generator.state = json.loads(state["sampler"])


def parameter_groups(model: torch.nn.Module, factors: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    """Group parameters by the factor of their learning rate; a factor of 0 freezes.

    Args:
        model: its parameters' names are compared.
        factors: by prefix; the longest that fits holds, and 1 without one.

    Raises:
        TrainingError: a prefix fits no parameter.
    """
    groups: dict[float, list[torch.nn.Parameter]] = {}
    names = [name for name, _ in model.named_parameters()]
    for prefix, _ in factors:
        if not any(name.startswith(prefix) for name in names):
            raise TrainingError(f"learning_rate_factors: no parameter's name begins with {prefix!r}")
    for name, parameter in model.named_parameters():
        fitting = [(len(prefix), factor) for prefix, factor in factors if name.startswith(prefix)]
        factor = max(fitting)[1] if fitting else 1.0
        parameter.requires_grad_(factor > 0)
        if factor > 0:
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def load_matching(model: torch.nn.Module, path: Path) -> None:
    """Load the tensors of a weights file that fit by name and shape; log which parameters stay as they began.

    Raises:
        TrainingError: the file cannot be read, or no tensor fits.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    own = model.state_dict()
    fitting = {
        name: tensor.float() for name, tensor in state.items() if name in own and own[name].shape == tensor.shape
    }
    if not fitting:
        raise TrainingError(f"{path} has no tensor that fits this model")
    model.load_state_dict(fitting, strict=False)
    left = sorted(own.keys() - fitting.keys())
    if left:
        logger.info("left at their start, as %s has none that fit: %s", path.name, ", ".join(left))


def at_size(codec: CodecConfig, picture_size: int) -> CodecConfig:
    """Return the same networks for pictures of another size."""
    return dataclasses.replace(codec, image_size=picture_size)


def split_references(features: ReferenceFeatures, num_samples: int, num_references: int) -> list[ReferenceFeatures]:
    """Split the features of B * R references into R of B each."""
    fields = {
        field.name: getattr(features, field.name).unflatten(0, (num_samples, num_references))
        for field in dataclasses.fields(features)
    }
    slots = ({name: tensor[:, slot] for name, tensor in fields.items()} for slot in range(num_references))
    return [ReferenceFeatures(**slot) for slot in slots]


def psnr(image_BCHW: Tensor, target_BCHW: Tensor) -> float:
    """Return the mean PSNR of pictures in [0, 1], dB."""
    error_B = (image_BCHW.float().clamp(0, 1) - target_BCHW).square().mean((1, 2, 3)).clamp(min=1e-8)
    return round(float((-10 * error_B.log10()).mean()), 3)


def quantise_straight_through(keypoints: Keypoints, codec: CodecConfig) -> Keypoints:
    """Round keypoints as the bitstream does; gradients pass as if it did not."""
    locations_BKC = round_to_bins((keypoints.locations_BKC + 1) / 2, codec.location_bits) * 2 - 1
    return Keypoints(locations_BKC, round_to_bins(keypoints.strengths_BK, codec.strength_bits))


def round_to_bins(unit: Tensor, bits: int) -> Tensor:
    """Move values in [0, 1] to the centres of 2**bits bins; the gradient is that of the identity."""
    levels: int = 1 << bits
    rounded = ((unit * levels).floor().clamp(0, levels - 1) + 0.5) / levels
    return unit + (rounded - unit).detach()
