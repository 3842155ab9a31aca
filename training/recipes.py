"""Named training runs; a recipe is a function that returns a ``TrainConfig``."""

from __future__ import annotations

from collections.abc import Callable

from codec.config import compact_256, paper_256
from codec.errors import ConfigError
from training.config import TrainConfig


def compact_256_small() -> TrainConfig:
    """Return the first leg of the embedded default: 128x128 pictures, where steps are cheap."""
    return TrainConfig(
        codec=compact_256(),
        picture_size=128,
        perceptual_sizes=(64,),
        batch_size=8,
        learning_rate=4e-4,
        steps=100_000,
    )


def compact_256_full() -> TrainConfig:
    """Return the second leg of the embedded default: 256x256 pictures."""
    return TrainConfig(
        codec=compact_256(),
        picture_size=256,
        perceptual_sizes=(128,),
        batch_size=8,
        learning_rate=2e-4,
        steps=100_000,
    )


def paper_256_recipe() -> TrainConfig:
    """Return the paper's network at the paper's settings (supplement, section D), without its GAN loss."""
    return TrainConfig(codec=paper_256(), picture_size=256, batch_size=8, learning_rate=2e-4, steps=500_000)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "compact-256-small": compact_256_small,
    "compact-256": compact_256_full,
    "paper-256": paper_256_recipe,
}


def recipe(name: str) -> TrainConfig:
    """Return a recipe by name.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]()
