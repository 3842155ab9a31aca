"""Evaluation ``animate``: references of one person, keypoints of another.

    clip of a person, driver -> keypoints moved relative to the first reference -> Decoder -> pictures -> figures

There is no source to compare a picture with, so what is measured is this. **AKD**: the distance of MTCNN's landmarks in
the animated picture from those of the first reference moved as the driver's landmarks move, with the scale of the
keypoints' motion. **Identity**: the similarity of the animated face to the reference's that is most like it, and the
driver's, which should be lower. **FID**: animated pictures against as many real ones of the animated people, all clips
together. The first reference, repeated, stands beside AKD: it is how far the driver moves at all. Shape legend: N
frames, R references, S height and width, K keypoints, 5 landmarks, 2 = (x, y).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codec import Decoder, Encoder, Model, load_model
from codec.bitstream.quantise import quantise
from codec.errors import TrainingError
from codec.structs import CodedFrame, Keypoints
from training.evaluate.cache import FEATURES, FeatureStore, ResultCache, code_sha256, default_folder
from training.evaluate.choice import open_bench
from training.evaluate.clips import Clip, Frames, file_sha256, find_clips, read_clip, reference_positions
from training.evaluate.measure import Bench
from training.evaluate.metrics.identity import similarity
from training.evaluate.metrics.landmarks import Landmarks, keypoint_distance
from training.evaluate.pool import OnFrames, Row
from training.evaluate.protocol_config import AnimateConfig
from training.evaluate.protocols import evenly
from training.evaluate.relative_motion import Motion, Points
from training.evaluate.strip import Row as StripRow
from training.evaluate.strip import evenly_spaced, sheet, write_picture

BATCH = 8
STRIP_COLUMNS = 8


def pair(config: AnimateConfig) -> dict[str, Path]:
    """Return the driver of each clip: the clip half the folder away, or the next after it that is another person's.

    Raises:
        TrainingError: no clip, or all are of one person.
    """
    paths = find_clips(config.clips)
    people = [_person(path, config.identity) for path in paths]
    drivers = {}
    for index in range(len(paths)):
        for step in range(len(paths)):
            other = (index + len(paths) // 2 + step) % len(paths)
            if people[other] != people[index]:
                drivers[paths[index].name] = paths[other]
                break
    if not drivers:
        raise TrainingError(f"{config.clips} has clips of one person alone; animation needs two")
    chosen = {path.name for path in evenly(paths, config.limit)}
    return {name: driver for name, driver in drivers.items() if name in chosen}


def _person(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.stem)
    return found[1] if found is not None and found[1] else path.stem


class Animation:
    """Model, metrics and memory, ready to animate clips.

    Args:
        config: settings of the run.
        model: the networks under test.
        bench: the metrics.
    """

    def __init__(self, config: AnimateConfig, model: Model, bench: Bench) -> None:
        self.config, self.model, self.bench = config, model, bench
        self.results = ResultCache(config.cache or default_folder())
        self.features = FeatureStore(config.cache or default_folder())

    def row(self, path: Path, driver: Path, on_frames: OnFrames) -> Row:
        """Return the figures of one clip animated by another.

        Raises:
            TrainingError: a clip cannot be read, is too short, or shows no face; the message says why.
            OutputError: a result cannot be written.
        """
        dependencies = {
            "what": "animate",
            "clips": (file_sha256(path), file_sha256(driver)),
            "weights": self.model.sha256,
            "priors": self.model.priors.sha256,
            "code": code_sha256(),
            "metrics": self.bench.dependencies(),
            "device": self.model.device.type,
            "references": self.config.references,
            "frames": self.config.frames,
            "every": self.config.every,
        }
        strip_path = None if self.config.strips is None else self.config.strips / f"{path.stem}.png"
        stored = self.results.load(dependencies)
        if stored is not None and self.features.holds(stored) and (strip_path is None or strip_path.exists()):
            return dict(stored)
        size = self.model.config.image_size
        try:
            driving = read_clip(driver, size)
        except TrainingError as error:
            raise TrainingError(f"its driver {driver.name} {error}") from error
        measured = ClipAnimation(self, read_clip(path, size), driving)
        row: Row = {"driver": driver.name, **measured.run(on_frames)}
        self.results.store(dependencies, row)
        if strip_path is not None:
            write_picture(measured.strip(), strip_path)
        return row


class ClipAnimation:
    """One clip and its driver.

    Args:
        animation: model and metrics.
        clip: of the animated person.
        driver: of another.

    Raises:
        TrainingError: too short, or no face in the first reference or in the driver's frames.
    """

    def __init__(self, animation: Animation, clip: Clip, driver: Clip) -> None:
        config = animation.config
        self.bench, self.features, self.model = animation.bench, animation.features, animation.model
        self.clip, self.driver, self.every = clip, driver, config.every
        self.driving_NSS3 = driver.frames_NSS3[: config.frames or len(driver) : config.every]
        self.references = {count: reference_positions(len(clip), count) for count in config.references}
        encoder = Encoder(self.model)
        self.anchor = encoder.detect(clip.frames_NSS3[0])
        self.driving = [encoder.detect(rgb) for rgb in self.driving_NSS3]
        driver_NK2 = np.stack([_points(keypoints) for keypoints in self.driving])
        self.motion = Motion.of(driver_NK2, _points(self.anchor))
        self.moved_NK2 = self.motion.moved(driver_NK2, _points(self.anchor))
        self.expected = self._expected_landmarks()
        self._animated: dict[int, Frames] = {}

    def _expected_landmarks(self) -> dict[int, Landmarks]:
        (anchor,) = self._faces(self.clip.frames_NSS3[:1])
        driving = self.driving_faces = self._faces(self.driving_NSS3)
        if not len(anchor):
            raise TrainingError("no face was found in its first frame")
        start = driving[self.motion.start]
        if not len(start):
            raise TrainingError(f"no face was found in frame {self.motion.start} of its driver {self.driver.name}")
        seen = {position: faces[0] for position, faces in enumerate(driving) if len(faces)}
        return {
            position: (anchor[0] + self.motion.scale * (landmarks_52 - start[0])).astype(np.float32)
            for position, landmarks_52 in seen.items()
        }

    def _faces(self, frames_NSS3: Frames) -> list[Landmarks]:
        detector = self.bench.detector
        assert detector is not None
        batches = (frames_NSS3[start : start + BATCH] for start in range(0, len(frames_NSS3), BATCH))
        return [faces for batch in batches for faces in detector.detect(batch)]

    def run(self, on_frames: OnFrames) -> Row:
        """Animate and measure.

        Raises:
            OutputError: features cannot be written.
        """
        row: Row = {
            "num_frames": len(self.driving_NSS3),
            "start": self.motion.start,
            "scale": self.motion.scale,
        }
        for count, positions in self.references.items():
            held_RSS3 = self.clip.frames_NSS3[list(positions)]
            animated_NSS3 = self._animate(held_RSS3)
            self._animated[count] = animated_NSS3
            row[str(count)] = {"references": list(positions), **self._figures(held_RSS3, animated_NSS3)}
            on_frames(len(animated_NSS3))
        return row

    def _animate(self, held_RSS3: Frames) -> Frames:
        decoder = Decoder(self.model)
        decoder.set_references(list(held_RSS3))
        frames = []
        for number, (points_K2, keypoints) in enumerate(zip(self.moved_NK2, self.driving, strict=True)):
            locations_BKC = torch.from_numpy(points_K2[None].astype(np.float32)).clamp(-1, 1)
            coded = quantise(Keypoints(locations_BKC, keypoints.strengths_BK), self.model.config)
            frames.append(decoder.generate(CodedFrame(number % 2**16, None, coded)))
        return np.stack(frames)

    def _figures(self, held_RSS3: Frames, animated_NSS3: Frames) -> dict[str, Any]:
        faces, held_faces = self._faces(animated_NSS3), self._faces(held_RSS3)
        distances = [keypoint_distance(expected, faces[position]) for position, expected in self.expected.items()]
        figures: dict[str, Any] = {
            "akd_relative": _mean(distances),
            "still_akd_relative": _mean(
                [keypoint_distance(expected, held_faces[0]) for expected in self.expected.values()]
            ),
            "faceless": float(np.mean([distance is None for distance in distances])),
        }
        for metric in self.bench.slow:
            animated = metric.view(animated_NSS3, faces)
            if metric.name == "identity":
                references = metric.view(held_RSS3, held_faces)
                driver = metric.view(self.driving_NSS3, self.driving_faces)
                figures["identity_similarity"] = nearest_similarity(animated, references)
                figures["driver_identity_similarity"] = nearest_similarity(animated, driver)
            else:
                real = metric.view(self._real(len(animated_NSS3)), None)
                figures[FEATURES] = self.features.store(np.stack([np.stack(real), np.stack(animated)]))
        return figures

    def _real(self, num: int) -> Frames:
        """Return as many real pictures of the animated person, evenly spaced; repeated where the clip has fewer."""
        return self.clip.frames_NSS3[[index * len(self.clip) // num for index in range(num)]]

    def strip(self) -> Any:
        """Return a picture of references, driver and what became of them; call ``run`` first."""
        count = max(self.references)
        positions = evenly_spaced(range(len(self.driving_NSS3)), STRIP_COLUMNS)
        rows = (
            StripRow("references", self.clip.frames_NSS3[list(self.references[count])], self.references[count]),
            StripRow("driver", self.driving_NSS3[list(positions)], tuple(self.every * place for place in positions)),
            StripRow("animated", self._animated[count][list(positions)], ()),
        )
        return sheet(f"{self.clip.name} as {self.driver.name}: {count} reference(s)", rows)


def nearest_similarity(animated: Sequence[Any], others: Sequence[Any]) -> float | None:
    """Return the mean over animated pictures of the highest similarity to one of the others."""
    known = [embedding for embedding in others if embedding is not None]
    if not known:
        return None
    return _mean([max(similarity(mine, other) for other in known) for mine in animated if mine is not None])


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _points(keypoints: Keypoints) -> Points:
    return keypoints.locations_BKC[0].double().cpu().numpy()


@lru_cache(maxsize=1)
def open_animation(config: AnimateConfig) -> Animation:
    """Load all that a run needs, once a process.

    Raises:
        WeightsError: the model's weights cannot be used.
        TrainingError: a metric's weights cannot be used.
    """
    model = load_model(config.weights, config.device)
    size = model.config.image_size
    return Animation(config, model, open_bench(config.metrics, 1, config.loss_weights, True, size, model.device))


def animate(config: AnimateConfig, drivers: dict[str, Path], path: Path, on_frames: OnFrames) -> Row:
    """Return the figures of one clip animated by its driver; see ``Animation.row``."""
    return open_animation(config).row(path, drivers[path.name], on_frames)
