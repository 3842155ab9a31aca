"""Settings of a training run; a recipe is a function that returns one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from codec.config import CodecConfig, compact_256
from codec.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of each loss; 0 switches it off."""

    pixel: float = 20.0
    """L1 distance of the pictures, in [0, 1]."""
    warped: float = 20.0
    """L1 distance of the carried pixels alone: keeps the correspondences honest."""
    perceptual: float = 0.5
    """VGG features' L1 distance over a pyramid."""
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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    codec: CodecConfig = field(default_factory=compact_256)
    """Shape of the model."""
    picture_size: int = 256
    """Height and width of the training pictures, pixels; smaller than the codec's for cheap early steps."""
    batch_size: int = 8
    """Samples a step."""
    num_references: tuple[int, int] = (1, 3)
    """Fewest and most references of a sample."""
    learning_rate: float = 2e-4
    """Adam's step size at the start."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""
    learning_rate_factors: tuple[tuple[str, float], ...] = ()
    """Factor of the learning rate by prefix of parameter names, such as ("decoder.", 4.0); the longest prefix holds,
    others have 1, and 0 freezes."""
    steps: int = 10_000
    """Steps of the whole run."""
    decay_steps: int = 2_000
    """Last steps, over which the learning rate falls to a tenth of itself by a cosine."""
    ema_halflife_steps: float = 250.0
    """Half-life of the averaged weights, in steps."""
    key_dropout: float = 0.1
    """Share of the references' keys hidden from the attention (key/value dropout)."""
    quantise: bool = True
    """Whether the generator sees keypoints as the receiver gets them, rounded to the bitstream's steps."""
    crop_jitter_share: float = 0.5
    """Share of samples whose pictures are each moved and scaled a little, as the sender's crop does."""
    clip_gradient: float = 1.0
    """Upper limit of the gradient's norm."""
    perceptual_sizes: tuple[int, ...] = (256, 128)
    """Heights of the pictures that the perceptual loss compares, pixels."""
    vgg_stages: int = 4
    """Stages of VGG that the perceptual loss compares, 1 to 5."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    seed: int = 0
    """Seed of weights and samples."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a field is out of range.
        """
        for name in ("batch_size", "steps", "picture_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")
        if not 0 <= self.crop_jitter_share <= 1:
            raise ConfigError(f"crop_jitter_share is {self.crop_jitter_share}; it must lie in [0, 1]")
        for prefix, factor in self.learning_rate_factors:
            if factor < 0:
                raise ConfigError(f"learning_rate_factors has {factor} for {prefix!r}; it must not be negative")
        if not 1 <= self.num_references[0] <= self.num_references[1]:
            raise ConfigError(
                f"num_references is {self.num_references}; it must be (fewest, most) with 1 <= fewest <= most"
            )


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Where a run reads and writes."""

    frames: Path
    """Frame store made by ``python -m training frames``."""
    out: Path
    """Folder of the run: checkpoints, ``stats.jsonl``, pictures, exported weights."""
    vgg: Path | None = None
    """Safetensors of VGG convolutions (``features.N.weight``); without it torchvision's VGG-19 is downloaded."""
    init: Path | None = None
    """Weights to start from."""
    init_partial: bool = False
    """Whether parameters that ``init`` lacks, or has in another shape, may stay as they begin."""
