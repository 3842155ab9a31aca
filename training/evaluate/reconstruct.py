"""Evaluation ``reconstruct``: each clip sent and received with each number of references, and measured.

    paths -> Workbench.row -> rows -> report.summary -> JSON

A clip that cannot be measured gives its reason in place of figures, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from codec import Model, load_model
from codec.errors import TrainingError
from training.evaluate.cache import FEATURES, FeatureStore, LandmarkMemory, ResultCache, code_sha256, default_folder
from training.evaluate.choice import open_bench
from training.evaluate.clips import Clip, beginning, file_sha256, read_clip, reference_positions, scored_positions
from training.evaluate.config import ReconstructConfig
from training.evaluate.measure import Bench, Look
from training.evaluate.metrics.landmarks import SMALLEST_FACE_SHARE
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.evaluate.pool import OnFrames, Row
from training.evaluate.strip import Strip, evenly_spaced, write_strip
from training.evaluate.tally import Tally
from training.evaluate.transmission import Transmission, as_sent, nearest_references

MOVING_BELOW_DB = 23.0
BATCH = 8
STRIP_COLUMNS = 8


class Workbench:
    """Model, metrics and memory, ready to measure clips.

    Args:
        config: settings of the run.
        model: the networks under test.
        bench: the metrics.
    """

    def __init__(self, config: ReconstructConfig, model: Model, bench: Bench) -> None:
        self.config, self.model, self.bench = config, model, bench
        self.results = ResultCache(config.cache or default_folder())
        self.features = FeatureStore(config.cache or default_folder())

    def row(self, path: Path, on_frames: OnFrames) -> Row:
        """Return the figures of one clip, from memory where it was measured before.

        Args:
            path: the clip.
            on_frames: told how many more frames are done.

        Raises:
            TrainingError: the clip cannot be measured; the message says why.
            OutputError: a result cannot be written.
        """
        sha256 = file_sha256(path)
        dependencies = self._dependencies(sha256)
        strip_path = None if self.config.strips is None else self.config.strips / f"{path.stem}.png"
        stored = self.results.load(dependencies)
        if stored is not None and self.features.holds(stored) and (strip_path is None or strip_path.exists()):
            return dict(stored)
        clip = read_clip(path, self.model.config.image_size)
        if self.config.frames:
            clip = beginning(clip, self.config.frames)
        measured = ClipMeasurement(self, clip)
        row = measured.run(on_frames)
        self.results.store(dependencies, row)
        if strip_path is not None:
            write_strip(measured.strip(), strip_path)
        return row

    def _dependencies(self, clip_sha256: str) -> dict[str, Any]:
        config = self.config
        return {
            "what": "reconstruct",
            "clip": clip_sha256,
            "weights": self.model.sha256,
            "priors": self.model.priors.sha256,
            "code": code_sha256(),
            "metrics": self.bench.dependencies(),
            "device": self.model.device.type,
            "references": config.references,
            "frames": config.frames,
            "every": config.every,
            "align": config.align,
            "coded_references": config.coded_references,
        }

    def landmark_memory(self, clip: Clip) -> LandmarkMemory:
        """Return what is known of the landmarks of a clip's own frames."""
        detector = f"facenet-pytorch {version('facenet-pytorch')} {SMALLEST_FACE_SHARE}"
        return LandmarkMemory(
            self.results, {"what": "landmarks", "clip": clip.sha256, "size": clip.frames_NSS3.shape[1], "by": detector}
        )


class ClipMeasurement:
    """One clip on the workbench.

    Args:
        workbench: model and metrics.
        clip: to be measured.

    Raises:
        TrainingError: too short for the references asked for.
    """

    def __init__(self, workbench: Workbench, clip: Clip) -> None:
        config = workbench.config
        self.clip, self.bench, self.model = clip, workbench.bench, workbench.model
        self.features = workbench.features
        self.counts, self.align = config.references, config.align
        self.references = {count: reference_positions(len(clip), count) for count in self.counts}
        self.scored = {
            count: scored_positions(len(clip), references, config.every)
            for count, references in self.references.items()
        }
        self.known = workbench.landmark_memory(clip)
        self.held = {position: clip.frames_NSS3[position] for position in self._all_references()}
        self.reference_bytes: dict[int, int] = {}
        if config.coded_references:
            for position, picture in self.held.items():
                self.held[position], self.reference_bytes[position] = as_sent(picture)
        widest = max(self.counts)
        self.strip_positions = evenly_spaced(self.scored[widest], STRIP_COLUMNS)
        self._strip_pictures: dict[int, tuple[Any, int]] = {}

    def _all_references(self) -> list[int]:
        return sorted({position for references in self.references.values() for position in references})

    def run(self, on_frames: OnFrames) -> Row:
        """Send, receive and measure the clip.

        Raises:
            TrainingError: no face in any scored frame.
        """
        self._find_faces()
        order = self._all_references()
        looks = self.bench.look(np.stack([self.held[position] for position in order]))
        index_of = {position: index for index, position in enumerate(order)}
        self.sent = {
            count: Transmission(
                self.clip, self.model, [self.held[position] for position in references], align=self.align
            )
            for count, references in self.references.items()
        }
        ours, frozen = {count: Tally() for count in self.counts}, {count: Tally() for count in self.counts}
        for batch in self._batches():
            source = self._source_look(batch)
            for count in self.counts:
                part = [position for position in batch if position in self.scored[count]]
                if part:
                    held = looks[[index_of[position] for position in self.references[count]]]
                    self._measure(
                        part, source[[batch.index(p) for p in part]], self.sent[count], held, ours[count], frozen[count]
                    )
            on_frames(len(batch))
        return self._row(ours, frozen)

    def _batches(self) -> Iterator[list[int]]:
        positions = sorted({position for scored in self.scored.values() for position in scored})
        for start in range(0, len(positions), BATCH):
            yield positions[start : start + BATCH]

    def _find_faces(self) -> None:
        if self.bench.detector is None:
            return
        found = False
        for batch in self._batches():
            unknown = [position for position in batch if position not in self.known]
            if unknown:
                for position, faces in zip(
                    unknown, self.bench.detector.detect(self.clip.frames_NSS3[unknown]), strict=True
                ):
                    self.known[position] = faces
            found = found or any(len(self.known[position]) for position in batch)
        self.known.save()
        if not found:
            raise TrainingError("no face was found in any scored frame")

    def _source_look(self, batch: list[int]) -> Look:
        faces = None if self.bench.detector is None else [self.known[position] for position in batch]
        return self.bench.look(self.clip.frames_NSS3[batch], faces)

    def _measure(
        self, positions: list[int], source: Look, sent: Transmission, held: Look, ours: Tally, frozen: Tally
    ) -> None:
        received_NSS3 = sent.pictures(positions)
        self.bench.compare(ours, positions, source, self.bench.look(received_NSS3))
        nearest = nearest_references(source.frames_NSS3, held.frames_NSS3)
        self.bench.compare(frozen, positions, source, held[nearest])
        if len(held.frames_NSS3) == max(self.counts):
            for index, position in enumerate(positions):
                if position in self.strip_positions:
                    self._strip_pictures[position] = (received_NSS3[index], nearest[index])

    def _row(self, ours: dict[int, Tally], frozen: dict[int, Tally]) -> Row:
        clip, transmission = self.clip, self.sent[max(self.counts)]
        first = mean_squared_error(clip.frames_NSS3[1:], clip.frames_NSS3[:1])
        frozen_first_db = float(psnr_db(first).mean())
        row: Row = {
            "sha256": clip.sha256,
            "num_frames": len(clip),
            "fps": clip.fps,
            "file_size": list(clip.file_size),
            "payload_bits_per_s": transmission.payload_bits_per_s(clip.fps),
            "wire_bits_per_s": transmission.wire_bits_per_s(clip.fps),
            "frozen_first_psnr_db": frozen_first_db,
            "moving": frozen_first_db < MOVING_BELOW_DB,
        }
        for count in self.counts:
            row[str(count)] = {
                "references": list(self.references[count]),
                "num_scored": len(self.scored[count]),
                "bits_per_frame": self.sent[count].bits_per_frame,
                **self._scores(ours[count]),
                **{f"frozen_{name}": value for name, value in self._scores(frozen[count]).items()},
            }
            if self.reference_bytes:
                row[str(count)]["reference_bytes"] = [
                    self.reference_bytes[position] for position in self.references[count]
                ]
        return row

    def _scores(self, tally: Tally) -> dict[str, Any]:
        sets = tally.feature_sets()
        return asdict(tally.scores()) | ({} if sets is None else {FEATURES: self.features.store(sets)})

    def strip(self) -> Strip:
        """Return the strip of what was measured with the most references; call ``run`` first."""
        widest = max(self.counts)
        held_RSS3 = np.stack([self.held[position] for position in self.references[widest]])
        pictures = [self._strip_pictures[position] for position in self.strip_positions]
        return Strip(
            title=f"{self.clip.name}: {widest} reference(s), {self.sent[widest].bits_per_frame:.0f} bits a frame",
            references=self.references[widest],
            references_RSS3=held_RSS3,
            positions=self.strip_positions,
            source_NSS3=self.clip.frames_NSS3[list(self.strip_positions)],
            received_NSS3=np.stack([received for received, _ in pictures]),
            frozen_NSS3=held_RSS3[[nearest for _, nearest in pictures]],
        )


@lru_cache(maxsize=1)
def open_workbench(config: ReconstructConfig) -> Workbench:
    """Load all that a run needs, once a process.

    Raises:
        WeightsError: the model's weights cannot be used.
        TrainingError: the metric's weights cannot be used.
    """
    model = load_model(config.weights, config.device)
    bench = open_bench(
        config.metrics,
        config.slow_every,
        config.loss_weights,
        config.landmarks,
        model.config.image_size,
        model.device,
    )
    return Workbench(config, model, bench)


def measure(config: ReconstructConfig, path: Path, on_frames: OnFrames) -> Row:
    """Return the figures of one clip; see ``Workbench.row``."""
    return open_workbench(config).row(path, on_frames)
