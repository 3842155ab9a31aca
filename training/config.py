"""Settings of a training run: what is trained (``TrainConfig``, as recipes return), where and how (``RunConfig``)."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from codec.config import CodecConfig, compact_256
from codec.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of each loss; 0 switches it off."""

    gan: float = 0.0
    """Hinge loss of the generator against the discriminator (face-vid2vid, section 3.3)."""
    feature_matching: float = 0.0
    """L1 distance of the discriminator's features; needs ``gan``."""
    perceptual: float = 0.5
    """VGG features' L1 distance over a pyramid."""
    lpips: float = 0.0
    """LPIPS distance by AlexNet, of the whole picture: a run that learns by it should be judged by others too."""
    pixel: float = 20.0
    """L1 distance of the pictures, in [0, 1]."""
    warped: float = 20.0
    """L1 distance of the carried pixels alone: keeps the correspondences honest."""
    face_emphasis: float = 4.0
    """How much more the pixel losses weigh at a taught keypoint (lips, lids) than far from all; 0 weighs evenly."""
    equivariance: float = 10.0
    """Keypoints under a random thin-plate spline (FOMM, section 3.1)."""
    landmarks: float = 20.0
    """L1 distance of the first keypoints from face landmarks, where the store has them (``training.landmarks``)."""
    spread: float = 10.0
    """Hinge on squared distances of keypoints under ``spread_distance`` (face-vid2vid, supplement A.2)."""
    spread_distance: float = 0.05
    """Squared distance in [-1, 1] coordinates under which two keypoints repel each other."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a weight is negative, or feature matching has no discriminator.
        """
        for name, weight in dataclasses.asdict(self).items():
            if weight < 0:
                raise ConfigError(f"losses.{name} is {weight}; it must not be negative")
        if self.feature_matching and not self.gan:
            raise ConfigError(f"losses.feature_matching is {self.feature_matching}; it needs losses.gan")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What one run trains."""

    name: str = "custom"
    """Name of the recipe."""
    codec: CodecConfig = field(default_factory=compact_256)
    """Shape of the model."""
    picture_size: int = 256
    """Height and width of the training pictures, pixels; smaller than the codec's for cheap early steps."""
    batch_size: int = 8
    """Samples a step, all processes together."""
    num_references: tuple[int, int] = (1, 4)
    """Fewest and most references of a sample."""
    learning_rate: float = 2e-4
    """Adam's step size at the start."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""
    learning_rate_factors: tuple[tuple[str, float], ...] = ()
    """Factor of the learning rate by prefix of parameter names, such as ("decoder.", 4.0); the longest prefix holds,
    others have 1, and 0 freezes."""
    steps: int | None = None
    """Steps of the whole run; without them ``epochs`` are counted."""
    epochs: int | None = None
    """Times that the run draws as many samples as the store has clips."""
    drop_at: float = 1.0
    """Share of the run after which the learning rate is a tenth; 1 leaves it."""
    decay_steps: int = 0
    """Last steps, over which the learning rate falls to a tenth of itself by a cosine."""
    ema_halflife_steps: float = 250.0
    """Half-life of the averaged weights, in steps."""
    key_dropout: float = 0.1
    """Share of the references' keys hidden from the attention (key/value dropout)."""
    quantise: bool = True
    """Whether the generator sees keypoints as the receiver gets them, rounded to the bitstream's steps."""
    coding_noise: float = 0.0
    """Standard deviation of noise on the driving keypoints, in steps of the bitstream's quantiser: what coding does."""
    crop_jitter_share: float = 0.5
    """Share of samples whose pictures are each moved and scaled a little, as the sender's crop does."""
    mirror: bool = True
    """Whether half of the samples are mirrored."""
    clip_gradient: float = 1.0
    """Upper limit of the gradient's norm."""
    perceptual_sizes: tuple[int, ...] = (256, 128)
    """Heights of the pictures that the perceptual loss compares, pixels."""
    perceptual_crop_share: float = 0.0
    """Share of the perceptual comparisons that cut a window of ``perceptual_sizes`` out, instead of shrinking."""
    vgg_stages: int = 4
    """Stages of VGG that the perceptual loss compares, 1 to 5."""
    face_keypoints: int = 0
    """First keypoints that sit on the face already, where a store without landmarks does not teach them."""
    discriminator_scales: int = 1
    """Sizes at which discriminators look: the picture's, half of it, ..."""
    discriminator_width: int = 64
    """Channels after the discriminator's first layer; doubled by each further one up to 512."""
    discriminator_layers: int = 4
    """Strided layers of a discriminator."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    seed: int = 0
    """Seed of weights and samples."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a field is out of range.
        """
        for name in ("batch_size", "picture_size", "discriminator_scales", "discriminator_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")
        if (self.steps is None or self.steps < 1) and (self.epochs is None or self.epochs < 1):
            raise ConfigError(f"steps is {self.steps} and epochs {self.epochs}; one of them must be positive")
        for name, low, high in (
            ("coding_noise", 0, 4),
            ("crop_jitter_share", 0, 1),
            ("perceptual_crop_share", 0, 1),
            ("drop_at", 0, 1),
            ("key_dropout", 0, 0.95),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in [{low}, {high}]")
        if not 1 <= self.num_references[0] <= self.num_references[1]:
            raise ConfigError(
                f"num_references is {self.num_references}; it must be (fewest, most) with 1 <= fewest <= most"
            )
        for prefix, factor in self.learning_rate_factors:
            if factor < 0:
                raise ConfigError(f"learning_rate_factors has {factor} for {prefix!r}; it must not be negative")

    def num_steps(self, num_clips: int) -> int:
        """Return the steps of the whole run on a set of this many clips."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * num_clips / self.batch_size)

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Return the learning rate of a step: constant, dropped to a tenth, or falling at the end by a cosine."""
        dropped = 0.1 if self.drop_at < 1 and step >= self.drop_at * num_steps else 1.0
        share = min(1.0, (num_steps - step) / max(1, self.decay_steps))
        return self.learning_rate * dropped * (0.1 + 0.9 * 0.5 * (1 - math.cos(math.pi * share)))

    def to_json(self) -> str:
        """Return the config as canonical JSON (sorted keys)."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def describe(self) -> str:
        """Return every setting on a line of its own, indented under its group."""
        return "\n".join(_lines(dataclasses.asdict(self), 0))


def _lines(settings: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for name, value in settings.items():
        if isinstance(value, dict):
            lines += [f"{'  ' * depth}{name}:", *_lines(value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{name}: {value}")
    return lines


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run reads and writes, and how it computes."""

    frames: Path
    """Frame store made by ``python -m training frames`` or ``training.prepare``."""
    out: Path
    """Folder of the run: checkpoints, ``stats.jsonl``, pictures, weights. A run that is there goes on."""
    held_out: Path | None = None
    """Frame store of other people, on which PSNR and LPIPS are measured now and then."""
    vgg: Path | None = None
    """Safetensors of VGG convolutions (``features.N.weight``); without it torchvision's VGG-19 is downloaded."""
    loss_weights: Path | None = None
    """Folder with lpips_alex.safetensors; without it the lpips package's weights are downloaded."""
    init: Path | None = None
    """Weights to start from."""
    init_partial: bool = False
    """Let parameters that ``--init`` lacks, or has in another shape, stay as they begin; they are named in the log."""
    time_limit: float = math.inf
    """Seconds after which the run stops cleanly."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints."""
    picture_every: int = 500
    """Steps between pictures."""
    held_out_every: float = 600.0
    """Seconds between measurements on the held-out store."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 computes convolutions and attention in bfloat16; auto takes it where the device has it."""
    frames_in: Literal["auto", "device", "stream"] = "auto"
    """Keep all frames on the device, or stream them; auto streams what does not fit."""
    workers: int = 4
    """Processes that read frames, when streaming."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    compile: bool = False
    """Compile the networks (torch.compile): minutes at the start, faster steps after."""
    tensorboard: bool = True
    """Write TensorBoard events beside ``stats.jsonl``."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        for name in ("checkpoint_every", "held_out_every", "picture_every", "time_limit", "workers", "threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
