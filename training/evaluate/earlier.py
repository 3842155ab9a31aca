"""Points of peers from an earlier result of ``rd``: other weights of ours change nothing of them.

    rd.json -> EarlierPeers.points -> a peer's points on a clip, or None where they have to be measured

What they depend on must be the same: the clip's bytes, the seconds measured, the frames scored, the metrics' weights.
Features for FID are not in the file, so that peers taken from one have no FID. The file's own record tells with which
encoders they were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codec.errors import TrainingError
from training.evaluate.cache import FEATURES

SETTINGS = ("seconds", "every", "references", "slow_every")


class EarlierPeers:
    """An earlier result.

    Args:
        path: an ``rd.json``.
        settings: of this run, by name: those of ``SETTINGS``.
        weights: SHA-256 of this run's weights of metrics, by metric.

    Raises:
        TrainingError: not such a file, or made in another way.
    """

    def __init__(self, path: Path, settings: dict[str, Any], weights: dict[str, str]) -> None:
        try:
            result = json.loads(path.read_text())
            theirs = {name: result["settings"][name] for name in SETTINGS}
            metrics = {name: source["sha256"] for name, source in result["metric_weights"].items()}
            self._points = {row["sha256"]: row["points"] for row in result["clips"].values() if isinstance(row, dict)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path} is not a result of rd: {error}") from error
        for name in SETTINGS:
            if theirs[name] != settings[name]:
                raise TrainingError(f"{path} was made with {name} {theirs[name]}, not {settings[name]}")
        for name, sha256 in weights.items():
            if metrics.get(name) != sha256:
                raise TrainingError(f"{path} was made with other weights of {name}, or without it")

    def points(self, clip_sha256: str, who: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the points of a coder on a clip.

        Args:
            clip_sha256: of the clip's file.
            who: coder, setting, size and target of a point.
        """
        found = [
            {name: value for name, value in point.items() if name != FEATURES}
            for point in self._points.get(clip_sha256, [])
            if all(point.get(name) == value for name, value in who.items())
        ]
        return found or None
