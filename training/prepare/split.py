"""Data preparation: who is in train, val and test. Nobody is in two.

identity -> published partition, or where it was put earlier, or by its hash -> train, val, test
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

SPLITS = ("train", "val", "test")
LEAST_IDENTITIES = 3
"""Of fewer people none is held out."""


def split_identities(
    published: Mapping[str, set[str]], earlier: Mapping[str, set[str]], val_share: float, test_share: float
) -> dict[str, str]:
    """Return each identity's split.

    Who was put somewhere by an earlier run stays there, in train if his clips were in several (two people found to be
    one), so that nobody whom a model was trained on comes into test. Who has clips in the published test partition is
    in test. The others are drawn by the hash of their names until the shares are reached.

    Args:
        published: partitions of the identity's clips (train, test), empty where none is published.
        earlier: splits of the identity's clips in an earlier run.
        val_share: of the identities that are not published as test.
        test_share: of the identities, where no partition is published.
    """
    splits = {identity: _first(earlier[identity]) for identity in published if earlier.get(identity)}
    splits |= {identity: "test" for identity, partitions in published.items() if "test" in partitions}
    # A set with a partition has its test people already; without them, both shares are drawn.
    if len(published) >= LEAST_IDENTITIES:
        open_to_test = [identity for identity, partitions in published.items() if not partitions]
        _draw(splits, open_to_test, "test", test_share)
        _draw(splits, [identity for identity in published if splits.get(identity) != "test"], "val", val_share)
    return {identity: splits.get(identity, "train") for identity in sorted(published)}


def _first(splits: Iterable[str]) -> str:
    return min(splits, key=SPLITS.index)


def _draw(splits: dict[str, str], identities: list[str], split: str, share: float) -> None:
    """Put identities without a split into one until it has its share of them: at least one, but not all."""
    if len(identities) < 2 or share == 0:
        return
    wanted = max(1, round(share * len(identities))) - sum(splits.get(identity) == split for identity in identities)
    free = sorted((identity for identity in identities if identity not in splits), key=_hash)
    splits |= dict.fromkeys(free[: max(wanted, 0)], split)


def _hash(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()
