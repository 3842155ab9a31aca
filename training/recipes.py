"""Named training runs; a recipe is a function that returns a ``TrainConfig``.

The paper's are of its supplement, section D; where it is silent (the losses' weights) they take what FOMM and
face-vid2vid published. An ablation replaces fields of another recipe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from codec.config import CodecConfig, compact_256, compact_512, paper_256, paper_384, paper_512
from codec.errors import ConfigError
from training.config import LossWeights, TrainConfig

PAPER_LOSSES = LossWeights(
    gan=1.0,
    feature_matching=10.0,
    perceptual=10.0,
    equivariance=20.0,
    pixel=0.0,
    warped=0.0,
    face_emphasis=0.0,
    landmarks=0.0,
    spread=0.0,
)


def paper(name: str, codec: CodecConfig) -> TrainConfig:
    """Return what all of the paper's runs have in common, for 100,000 steps."""
    size = codec.image_size
    return TrainConfig(
        name=name,
        codec=codec,
        picture_size=size,
        batch_size=8,
        num_references=(1, 4),
        learning_rate=2e-4,
        betas=(0.5, 0.999),
        steps=100_000,
        ema_halflife_steps=500.0,
        perceptual_sizes=(size, size // 2, size // 4, size // 8),
        vgg_stages=5,
        discriminator_scales=2 if size >= 512 else 1,
        losses=PAPER_LOSSES,
    )


def talkinghead_256() -> TrainConfig:
    """Return the paper's run on TalkingHead-1KH: 120 epochs, the learning rate a tenth after 100."""
    recipe = paper("talkinghead-256", paper_256())
    return dataclasses.replace(recipe, steps=None, epochs=120, drop_at=100 / 120)


def talkinghead_512() -> TrainConfig:
    """Return the finetuning at 512x512, from the weights of ``talkinghead-256``: 30 epochs."""
    recipe = paper("talkinghead-512", paper_512())
    return dataclasses.replace(recipe, steps=None, epochs=30)


def voxceleb2_256() -> TrainConfig:
    """Return the paper's run on VoxCeleb2: 100 epochs, the learning rate a tenth after 70."""
    recipe = paper("voxceleb2-256", paper_256())
    return dataclasses.replace(recipe, steps=None, epochs=100, drop_at=70 / 100)


def tedtalk_384() -> TrainConfig:
    """Return the paper's run on TED-talk: 100,000 steps."""
    return paper("tedtalk-384", paper_384())


ABLATIONS: dict[str, dict[str, Any]] = {
    "neither": {"residual_connection": False, "num_extra_keys": 0},
    "residual": {"num_extra_keys": 0},
    "both": {},
}
"""What each column of the paper's Table 5 changes of the network: residual connection and extra key-values."""


def ablated(recipe: TrainConfig, variant: str, name: str) -> TrainConfig:
    """Return a recipe with a column of ``ABLATIONS`` for its network."""
    return dataclasses.replace(recipe, name=name, codec=dataclasses.replace(recipe.codec, **ABLATIONS[variant]))


def ablation_no_residual() -> TrainConfig:
    """Return ``talkinghead-256`` without residual connection and without extra key-values (Table 5, first column)."""
    return ablated(talkinghead_256(), "neither", "ablation-no-residual")


def ablation_no_extra() -> TrainConfig:
    """Return ``talkinghead-256`` with the residual connection, without extra key-values (Table 5, second column)."""
    return ablated(talkinghead_256(), "residual", "ablation-no-extra")


COMPACT_LOSSES = LossWeights(perceptual=0.5, lpips=20.0, spread=0.0)


def compact(name: str, codec: CodecConfig, picture_size: int, perceptual_size: int) -> TrainConfig:
    """Return what the legs of the embedded default have in common.

    The matte network stays as ``python -m training teach`` left it: labels teach it faster and better than pictures.
    Few samples are moved as the sender's crop moves, for what is behind the speaker stands still in most
    calls.
    """
    return TrainConfig(
        name=name,
        codec=codec,
        picture_size=picture_size,
        perceptual_sizes=(perceptual_size,),
        perceptual_crop_share=0.6,
        coding_noise=0.35,
        crop_jitter_share=0.15,
        num_references=(1, 3),
        learning_rate=3e-4,
        learning_rate_factors=(("matte_network.", 0.0), ("value_encoder.", 2.0)),
        face_keypoints=18,
        steps=100_000,
        decay_steps=2_000,
        losses=COMPACT_LOSSES,
    )


def compact_256_small() -> TrainConfig:
    """Return the first leg of the embedded default: 128x128 pictures, where steps are cheap."""
    leg = compact("compact-256-small", compact_256(), 128, 96)
    return dataclasses.replace(leg, learning_rate=4e-4)


def compact_256_full() -> TrainConfig:
    """Return the second leg of the embedded default: 256x256 pictures."""
    return compact("compact-256", compact_256(), 256, 128)


def compact_512_full() -> TrainConfig:
    """Return the embedded default for 512x512 pictures, from the weights of ``compact-256`` (``--init-partial``)."""
    return compact("compact-512", compact_512(), 512, 256)


def personalise() -> TrainConfig:
    """Return the finetuning of released weights on one speaker, for minutes on a CPU.

    The detector stays as it is: its keypoints are the stream, and a minute of video would only unlearn other poses. On
    the example clip half of this learning rate for 200 steps made the held-out seconds worse (docs/training.md).
    """
    return TrainConfig(
        name="personalise",
        codec=compact_256(),
        picture_size=256,
        batch_size=4,
        num_references=(1, 3),
        perceptual_sizes=(128,),
        perceptual_crop_share=0.6,
        crop_jitter_share=0.0,
        learning_rate=1.5e-4,
        learning_rate_factors=(("detector.", 0.0),),
        face_keypoints=18,
        steps=200,
        decay_steps=150,
        ema_halflife_steps=30.0,
        mirror=False,
        losses=LossWeights(perceptual=2.0, equivariance=0.0, landmarks=0.0, spread=0.0),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "talkinghead-256": talkinghead_256,
    "talkinghead-512": talkinghead_512,
    "voxceleb2-256": voxceleb2_256,
    "tedtalk-384": tedtalk_384,
    "compact-256": compact_256_full,
    "compact-256-small": compact_256_small,
    "compact-512": compact_512_full,
    "ablation-no-residual": ablation_no_residual,
    "ablation-no-extra": ablation_no_extra,
    "personalise": personalise,
}


def recipe(name: str) -> TrainConfig:
    """Return a recipe by name.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]()
