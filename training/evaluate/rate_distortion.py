"""Evaluation ``rd``: bitrate against quality of one clip, ours and every peer at every rate.

    Clip -> ours with 1, 2, 3 references; frozen; peers x settings x sizes x rates -> points

A point is a dict of plain values: who, how, bits a second of payload and on the wire, and ``tally.Scores``. Every
coder is scored on the same frames: those that are a reference for none. Bits are counted in the same way for all:
payload; and wire, with 68 bytes of headers (IPv4, UDP, RTP, extensions, GCM tag) for each packet of at most 1,200
bytes. Our references are coded as a call sends them; their bits are not in these figures but spread over a call beside
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from codec import Model, load_model
from codec.errors import TrainingError
from training.evaluate.cache import FEATURES, FeatureStore, ResultCache, code_sha256, default_folder
from training.evaluate.choice import open_bench
from training.evaluate.clips import (
    Clip,
    Frames,
    beginning,
    file_sha256,
    read_clip,
    reference_positions,
    scored_positions,
)
from training.evaluate.config import RateDistortionConfig
from training.evaluate.measure import Bench, Look
from training.evaluate.peers import PEERS, SETTINGS, Peer, Setting
from training.evaluate.pool import OnFrames, Row
from training.evaluate.tally import Tally
from training.evaluate.transmission import PACKET_OVERHEAD_BYTES, Transmission, as_sent, nearest_references

MAX_PACKET_BYTES = 1200
SMALLEST_SIDE = 64
BATCH = 8
OURS, FROZEN = "Warpcall", "frozen"
# Over how long a call the references' bits are spread, seconds.
SPREADS_S = (10, 300)

Point = dict[str, Any]


def wire_bytes(frame_bytes: Iterable[int]) -> int:
    """Return bytes on the wire of frames, each cut into packets of at most 1,200 bytes of payload."""
    return sum(size + PACKET_OVERHEAD_BYTES * math.ceil(size / MAX_PACKET_BYTES) for size in frame_bytes)


class RateDistortion:
    """Model, metrics, peers and memory, ready to measure clips.

    Args:
        config: settings of the run.
        model: the networks under test.
        bench: the metrics.
        peers: whom to compare with.
    """

    def __init__(self, config: RateDistortionConfig, model: Model, bench: Bench, peers: Sequence[Peer] = PEERS) -> None:
        self.config, self.model, self.bench, self.peers = config, model, bench, peers
        self.results = ResultCache(config.cache or default_folder())
        self.features = FeatureStore(config.cache or default_folder())

    def row(self, path: Path, on_frames: OnFrames) -> Row:
        """Return all points of one clip.

        Raises:
            TrainingError: the clip cannot be measured; the message says why.
            OutputError: a result cannot be written.
        """
        sha256 = file_sha256(path)
        missing: list[tuple[dict[str, Any], Any]] = []
        points: list[Point] = []
        size = self.model.config.image_size
        jobs: list[tuple[dict[str, Any], Any]] = [(self._ours_key(sha256), ClipRates.ours)]
        for peer, setting, side, kbit in self._plan(size):
            key = self._peer_key(sha256, peer, setting, side, kbit)
            jobs.append((key, partial(ClipRates.peer, peer=peer, setting=setting, side=side, bits_per_s=1000 * kbit)))
        for key, job in jobs:
            stored = self.results.load(key)
            if stored is None or not self.features.holds(stored):
                missing.append((key, job))
            else:
                points.extend(stored)
        if missing:
            rates = ClipRates(self, read_clip(path, size))
            for key, job in missing:
                found = job(rates)
                self.results.store(key, found)
                points.extend(found)
                on_frames(len(rates.scored))
        return {"sha256": sha256, "points": points}

    def _plan(self, size: int) -> Iterable[tuple[Peer, Setting, int, int]]:
        settings = SETTINGS if self.config.offline else SETTINGS[:1]
        sides = [size // scale // 2 * 2 for scale in self.config.scales]
        for peer in self.peers:
            for setting in settings:
                for side in sides:
                    if side >= min(SMALLEST_SIDE, size):
                        for kbit in self.config.rates:
                            yield peer, setting, side, kbit

    def _key(self, clip_sha256: str) -> dict[str, Any]:
        config = self.config
        return {
            "what": "rd",
            "clip": clip_sha256,
            "code": code_sha256(),
            "metrics": self.bench.dependencies(),
            "size": self.model.config.image_size,
            "references": config.references,
            "seconds": config.seconds,
            "every": config.every,
        }

    def _ours_key(self, clip_sha256: str) -> dict[str, Any]:
        return {**self._key(clip_sha256), "weights": self.model.sha256, "device": self.model.device.type}

    def _peer_key(self, clip_sha256: str, peer: Peer, setting: Setting, side: int, kbit: int) -> dict[str, Any]:
        options = peer.options(setting, 1000 * kbit)
        return {**self._key(clip_sha256), "peer": peer.name, "options": options, "side": side, "kbit": kbit}


class ClipRates:
    """One clip's points, one coder after the other.

    Args:
        run: model, metrics and settings.
        clip: to be coded; its first seconds count.

    Raises:
        TrainingError: too short, or no face in any scored frame.
    """

    def __init__(self, run: RateDistortion, clip: Clip) -> None:
        config = run.config
        self.clip = beginning(clip, max(1, round(config.seconds * clip.fps)))
        num_frames = len(self.clip)
        self.bench, self.model, self.features = run.bench, run.model, run.features
        self.references = {count: reference_positions(num_frames, count) for count in config.references}
        positions = {position for references in self.references.values() for position in references}
        self.all_references = tuple(sorted(positions))
        self.scored = scored_positions(num_frames, self.all_references, config.every)
        if not self.scored:
            raise TrainingError(f"has {num_frames} frame(s); none is left to score")
        self.source = [self.bench.look(self.clip.frames_NSS3[list(batch)]) for batch in self._batches()]
        if self.bench.detector is not None and not any(
            len(faces) for look in self.source for faces in look.faces or ()
        ):
            raise TrainingError("no face was found in any scored frame")

    def _batches(self) -> list[tuple[int, ...]]:
        return [self.scored[start : start + BATCH] for start in range(0, len(self.scored), BATCH)]

    def _scores(self, looks: Iterable[Look]) -> Point:
        tally = Tally()
        for batch, source, look in zip(self._batches(), self.source, looks, strict=True):
            self.bench.compare(tally, list(batch), source, look)
        sets = tally.feature_sets()
        return asdict(tally.scores()) | ({} if sets is None else {FEATURES: self.features.store(sets)})

    def _rates(self, frame_bytes: Sequence[int]) -> dict[str, float]:
        seconds = len(self.clip) / self.clip.fps
        return {
            "payload_bits_per_s": 8 * sum(frame_bytes) / seconds,
            "wire_bits_per_s": 8 * wire_bytes(frame_bytes) / seconds,
        }

    def ours(self) -> list[Point]:
        """Return our points and the frozen picture's, one for each number of references."""
        transmission = Transmission(self.clip, self.model)
        held = {position: as_sent(self.clip.frames_NSS3[position]) for position in self.all_references}
        points = []
        for count, references in self.references.items():
            pictures = [held[position][0] for position in references]
            receiver = transmission.receiver(pictures)
            rates = self._rates(transmission.payload_bytes)
            reference_bits = 8 * wire_bytes(held[position][1] for position in references)
            spread = {
                f"wire_bits_per_s_over_{seconds}_s": rates["wire_bits_per_s"] + reference_bits / seconds
                for seconds in SPREADS_S
            }
            scores = self._scores(self.bench.look(receiver.pictures(batch)) for batch in self._batches())
            who = {"setting": "realtime", "references": count, "size": self.model.config.image_size}
            points.append({"coder": OURS, **who, **rates, **spread, **scores})
            frozen = self._scores(self._frozen(np.stack(pictures)))
            points.append({"coder": FROZEN, **who, **self._rates(()), **frozen})
        return points

    def _frozen(self, references_RSS3: Frames) -> Iterable[Look]:
        look = self.bench.look(references_RSS3)
        for batch in self._batches():
            yield look[nearest_references(self.clip.frames_NSS3[list(batch)], references_RSS3)]

    def peer(self, peer: Peer, setting: Setting, side: int, bits_per_s: int) -> list[Point]:
        """Return the point of a peer at one setting, size and rate, or the reason why there is none."""
        who = {"coder": peer.name, "setting": setting, "size": side, "target_bits_per_s": bits_per_s}
        who["options"] = peer.options(setting, bits_per_s)
        try:
            sent = peer.send(self.clip.frames_NSS3, self.clip.fps, setting, side, bits_per_s)
        except TrainingError as error:
            return [{**who, "reason": str(error)}]
        scores = self._scores(self.bench.look(sent.frames_NSS3[list(batch)]) for batch in self._batches())
        return [{**who, **self._rates(sent.frame_bytes), **scores}]


@lru_cache(maxsize=1)
def open_run(config: RateDistortionConfig) -> RateDistortion:
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
    return RateDistortion(config, model, bench)


def measure_rates(config: RateDistortionConfig, path: Path, on_frames: OnFrames) -> Row:
    """Return all points of one clip; see ``RateDistortion.row``."""
    return open_run(config).row(path, on_frames)
