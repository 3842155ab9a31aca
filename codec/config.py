"""What both ends of a call must share: the shape of the networks and the steps of the quantiser.

``CodecConfig`` is saved as JSON beside the weights and confirmed at the start of a call. The paper is Mallya, Wang and
Liu, "Implicit Warping for Animation with Image Sets", NeurIPS 2022 (arXiv 2210.01794), and its supplement, section C.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from codec.errors import ConfigError

WIRE_VERSION = 5
CLOCK_RATE_HZ = 90_000
RTP_CODEC_NAME = "X-WARPCALL"

Step = Literal["fine", "usual", "coarse"]
STEPS: tuple[Step, ...] = get_args(Step)
"""Steps of the quantiser from the finest on, as the bitstream's priors have them: their index is a frame's scale."""


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Shape of the networks and of the bitstream; one instance describes one model."""

    name: str
    """Name of the preset."""
    image_size: int = 256
    """Height and width of the coded picture, pixels."""
    num_keypoints: int = 20
    """Keypoints a frame (K)."""
    location_bits: int = 12
    """Bits of an x or y as the receiver is told it; the bitstream's own steps are those of its priors."""
    strength_bits: int = 8
    """Bits of a strength as the receiver is told it."""

    detector_size: int = 64
    """Height and width of the picture that the keypoint detector sees, pixels: 1/4 in the paper."""
    detector_width: int = 32
    """Channels after the detector's first DownBlock; doubled by each further one."""
    detector_max_width: int = 1024
    """Upper limit of the detector's channels."""
    detector_blocks: int = 5
    """DownBlocks of the detector's hourglass."""
    detector_temperature: float = 0.1
    """Temperature of the spatial softmax."""
    keypoint_variance: float = 0.01
    """Variance of the Gaussians of the spatial keypoint representation, in [-1, 1] coordinates."""

    attention_stride: int = 4
    """Pixels of the picture per cell of the attention's grid, each way: 4 in the paper."""
    unet_size: int = 64
    """Height and width of the query and key U-nets' maps: 1/4 of the picture in the paper."""
    unet_width: int = 64
    """Channels after the first DownBlock of the query and key U-nets."""
    unet_max_width: int = 512
    """Upper limit of the U-nets' channels."""
    unet_blocks: int = 4
    """DownBlocks of the query and key U-nets."""
    key_dim: int = 256
    """Channels of queries and keys (d)."""
    value_dim: int = 256
    """Channels of the values (d')."""
    num_extra_keys: int = 64
    """Learned extra key-value pairs; 0 switches them off (the paper's ablation)."""
    residual_connection: bool = True
    """Whether the attention's residual connection is on (the paper's ablation)."""

    decoder_width: int = 256
    """Channels of the decoder's residual blocks."""
    decoder_blocks: int = 8
    """Residual blocks of the decoder: 8 in the paper."""

    batch_norm: bool = True
    """Whether blocks are normalised over the batch."""
    anchored_keypoints: bool = False
    """Start each keypoint's heat map around an anchor of its own (ours; the paper has none)."""
    keypoint_motion: bool = False
    """Look for each cell where its keypoints have moved to in each reference (ours, see ``model.query_key``)."""
    rigid_motion: bool = False
    """Move the head as a whole first, and let keypoints tell the rest (ours, see ``model.query_key``)."""
    warped_pixels: bool = False
    """Carry the references' own pixels along the attention's correspondences (ours, see ``model.generator``)."""
    still_background: bool = False
    """Carry them in two layers, the speaker before what stands still (ours, see ``model.background``)."""
    sampling: str = "bilinear"
    """How carried pixels are interpolated: "bilinear", or "bicubic", which blurs less."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a field is out of range; the message gives its name and value.
        """
        for field, low, high in (
            ("image_size", 32, 4096),
            ("num_keypoints", 1, 64),
            ("location_bits", 4, 12),
            ("strength_bits", 1, 12),
            ("detector_blocks", 1, 8),
            ("unet_blocks", 1, 8),
            ("num_extra_keys", 0, 4096),
            ("decoder_blocks", 1, 32),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"{field} is {value}; it must lie in [{low}, {high}]")
        if self.sampling not in ("bilinear", "bicubic"):
            raise ConfigError(f'sampling is {self.sampling!r}; it must be "bilinear" or "bicubic"')
        for field, needed in (("still_background", "warped_pixels"), ("rigid_motion", "keypoint_motion")):
            if getattr(self, field) and not getattr(self, needed):
                raise ConfigError(f"{field} is True; it needs {needed}")
        if self.attention_stride not in (2, 4, 8, 16):
            raise ConfigError(f"attention_stride is {self.attention_stride}; it must be 2, 4, 8 or 16")
        for field, multiple in (
            ("image_size", max(self.attention_stride, 8)),
            ("detector_size", 1 << self.detector_blocks),
            ("unet_size", 1 << self.unet_blocks),
        ):
            if getattr(self, field) % multiple or getattr(self, field) <= 0:
                raise ConfigError(f"{field} is {getattr(self, field)}; it must be a positive multiple of {multiple}")
        if self.unet_size % self.grid_size:
            raise ConfigError(f"unet_size is {self.unet_size}; it must be a multiple of the grid, {self.grid_size}")

    @property
    def can_align(self) -> bool:
        """Whether keypoints carry pixels, so that a sender can align them (``codec.model.alignment``)."""
        return self.warped_pixels and self.keypoint_motion

    @property
    def grid_size(self) -> int:
        """Cells of the attention's grid, each way."""
        return self.image_size // self.attention_stride

    def to_json(self) -> str:
        """Return the config as canonical JSON (sorted keys)."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2)

    @classmethod
    def from_json(cls, text: str) -> CodecConfig:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: not JSON, an unknown field, or a value out of range.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**fields)
        except (json.JSONDecodeError, TypeError) as error:
            raise ConfigError(f"not a codec config: {error}") from error


def compact_256() -> CodecConfig:
    """Return the embedded default: live on two CPU cores."""
    return CodecConfig(
        name="compact-256",
        detector_width=32,
        detector_max_width=128,
        detector_blocks=4,
        attention_stride=8,
        unet_size=32,
        unet_width=64,
        unet_max_width=128,
        unet_blocks=3,
        key_dim=64,
        value_dim=96,
        num_extra_keys=16,
        decoder_width=96,
        decoder_blocks=4,
        batch_norm=False,
        anchored_keypoints=True,
        keypoint_motion=True,
        rigid_motion=True,
        warped_pixels=True,
        still_background=True,
        sampling="bicubic",
    )


def compact_512() -> CodecConfig:
    """Return the embedded default for pictures of 512x512: detector, attention's grid and bitstream are the same."""
    return dataclasses.replace(compact_256(), name="compact-512", image_size=512, attention_stride=16)


def paper_256() -> CodecConfig:
    """Return the paper's network at 256x256."""
    return CodecConfig(name="paper-256")


def paper_512() -> CodecConfig:
    """Return the paper's network at 512x512 (finetuned from 256x256)."""
    return CodecConfig(name="paper-512", image_size=512, detector_size=128, unet_size=128)


def paper_384() -> CodecConfig:
    """Return the paper's network at 384x384 (TED-talk)."""
    return CodecConfig(name="paper-384", image_size=384, detector_size=96, unet_size=96)


PRESETS = {
    "compact-256": compact_256,
    "compact-512": compact_512,
    "paper-256": paper_256,
    "paper-512": paper_512,
    "paper-384": paper_384,
}


def preset(name: str) -> CodecConfig:
    """Return a preset by name.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()
