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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache, partial
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
from training.evaluate.earlier import SETTINGS as EARLIER_SETTINGS
from training.evaluate.earlier import EarlierPeers
from training.evaluate.ffmpeg import FFmpeg, find_ffmpeg
from training.evaluate.ladder import rungs
from training.evaluate.measure import Bench, Look
from training.evaluate.peer_table import PEERS
from training.evaluate.peers import SETTINGS, Peer, Rung, Setting, coded_side
from training.evaluate.pool import OnFrames, Row
from training.evaluate.tally import Tally
from training.evaluate.transmission import PACKET_OVERHEAD_BYTES, Transmission, as_sent, nearest_references

MAX_PACKET_BYTES = 1200
BATCH = 8
OURS, FROZEN = "Warpcall", "frozen"
# Over how long a call the references' bits are spread, seconds.
SPREADS_S = (10, 300)

Point = dict[str, Any]
Job = Callable[["ClipRates"], list[Point]]


def wire_bytes(frame_bytes: Iterable[int]) -> int:
    """Return bytes on the wire of frames, each cut into packets of at most 1,200 bytes of payload."""
    return sum(size + PACKET_OVERHEAD_BYTES * math.ceil(size / MAX_PACKET_BYTES) for size in frame_bytes)


class RateDistortion:
    """Model, metrics, peers and memory, ready to measure clips.

    Args:
        config: settings of the run.
        model: the networks under test.
        bench: the metrics.
        ffmpeg: the program that runs the peers.
        peers: whom to compare with.
    """

    def __init__(
        self,
        config: RateDistortionConfig,
        model: Model,
        bench: Bench,
        ffmpeg: FFmpeg,
        peers: Sequence[Peer],
    ) -> None:
        self.config, self.model, self.bench, self.ffmpeg, self.peers = config, model, bench, ffmpeg, peers
        self.results = ResultCache(config.cache or default_folder())
        self.features = FeatureStore(config.cache or default_folder())
        self.earlier: EarlierPeers | None = None
        if config.peers_from is not None:
            weights = {name: source.sha256 for name, source in bench.sources.items()}
            settings = {name: getattr(config, name) for name in EARLIER_SETTINGS}
            settings["references"] = list(config.references)
            self.earlier = EarlierPeers(config.peers_from, settings, weights)

    def row(self, path: Path, on_frames: OnFrames, coder: str | None = None) -> Row:
        """Return the points of one clip, of all coders or one; each is kept as soon as it is measured.

        Raises:
            TrainingError: the clip cannot be measured; the message says why.
            OutputError: a result cannot be written.
        """
        sha256 = file_sha256(path)
        size = self.model.config.image_size
        rates: ClipRates | None = None
        points: list[Point] = []
        for name, who, key, job in self._jobs(sha256, size):
            if coder not in (None, name):
                continue
            found = self.results.load(key)
            if found is None and self.earlier is not None and name != OURS:
                found = self.earlier.points(sha256, who)
            if found is None or not self.features.holds(found):
                rates = rates or ClipRates(self, read_clip(path, size))
                found = job(rates)
                self.results.store(key, found)
                on_frames(len(rates.scored))
            points.extend(found)
        return {"sha256": sha256, "points": points}

    def _jobs(self, clip_sha256: str, size: int) -> Iterator[tuple[str, Point, dict[str, Any], Job]]:
        yield OURS, {"coder": OURS}, self.ours_key(clip_sha256), ClipRates.ours
        for peer, setting, rung in self._plan(size):
            job = partial(ClipRates.peer, peer=peer, setting=setting, rung=rung)
            who = who_of(peer, setting, rung, size)
            yield peer.name, who, self._peer_key(clip_sha256, peer, setting, rung), job

    def _plan(self, size: int) -> Iterator[tuple[Peer, Setting, Rung]]:
        settings = SETTINGS if self.config.offline else SETTINGS[:1]
        for peer in self.peers:
            for setting in settings:
                for rung in rungs(peer.mode(setting), self.config, size):
                    yield peer, setting, rung

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

    def ours_key(self, clip_sha256: str) -> dict[str, Any]:
        """Return all that our points of a clip depend on."""
        model = self.model
        how = {"weights": model.sha256, "priors": model.priors.sha256, "device": model.device.type}
        return {**self._key(clip_sha256), **how}

    def _peer_key(self, clip_sha256: str, peer: Peer, setting: Setting, rung: Rung) -> dict[str, Any]:
        how = {"options": peer.mode(setting).options, "ffmpeg": self.ffmpeg.version(), **asdict(rung)}
        return {**self._key(clip_sha256), "peer": peer.name, "setting": setting, **how}


def who_of(peer: Peer, setting: Setting, rung: Rung, size: int) -> Point:
    """Return what tells a peer's point from its others."""
    side, target = coded_side(size, rung.scale), f"{rung.target} {peer.mode(setting).unit}"
    return {"coder": peer.name, "setting": setting, "size": side, "target": target}


class ClipRates:
    """One clip's points, one coder after the other.

    Args:
        run: model, metrics and settings.
        clip: to be coded; its first seconds count.

    Raises:
        TrainingError: too short.
    """

    def __init__(self, run: RateDistortion, clip: Clip) -> None:
        config = run.config
        self.clip = beginning(clip, max(1, round(config.seconds * clip.fps)))
        num_frames = len(self.clip)
        self.bench, self.model, self.ffmpeg = run.bench, run.model, run.ffmpeg
        self.features = run.features
        self.size = run.model.config.image_size
        self.references = {count: reference_positions(num_frames, count) for count in config.references}
        positions = {position for references in self.references.values() for position in references}
        self.all_references = tuple(sorted(positions))
        self.scored = scored_positions(num_frames, self.all_references, config.every)
        if not self.scored:
            raise TrainingError(f"has {num_frames} frame(s); none is left to score")

    @cached_property
    def source(self) -> list[Look]:
        """What the metrics see of the scored frames, by batch.

        Raises:
            TrainingError: no face in any of them.
        """
        looks = [self.bench.look(self.clip.frames_NSS3[list(batch)]) for batch in self._batches()]
        if self.bench.detector is not None and not any(len(faces) for look in looks for faces in look.faces or ()):
            raise TrainingError("no face was found in any scored frame")
        return looks

    def _batches(self) -> list[tuple[int, ...]]:
        return [self.scored[start : start + BATCH] for start in range(0, len(self.scored), BATCH)]

    def _scores(self, looks: Iterable[Look]) -> dict[str, Any]:
        tally = Tally()
        for batch, source, look in zip(self._batches(), self.source, looks, strict=True):
            self.bench.compare(tally, list(batch), source, look)
        sets = tally.feature_sets()
        return asdict(tally.scores()) | ({} if sets is None else {FEATURES: self.features.store(sets)})

    def bit_rates(self, frame_bytes: Sequence[int]) -> dict[str, float]:
        """Return bits a second of frames, payload and on the wire."""
        seconds = len(self.clip) / self.clip.fps
        return {
            "payload_bits_per_s": 8 * sum(frame_bytes) / seconds,
            "wire_bits_per_s": 8 * wire_bytes(frame_bytes) / seconds,
        }

    def ours(self) -> list[Point]:
        """Return our points and the frozen picture's, one for each number of references."""
        held = {position: as_sent(self.clip.frames_NSS3[position]) for position in self.all_references}
        points = []
        for count, references in self.references.items():
            pictures = [held[position][0] for position in references]
            transmission = Transmission(self.clip, self.model, pictures)
            rates = self.bit_rates(transmission.payload_bytes)
            reference_bits = 8 * wire_bytes(held[position][1] for position in references)
            sent = {f"wire_bits_per_s_over_{seconds}_s": reference_bits / seconds for seconds in SPREADS_S}
            spread = {name: rates["wire_bits_per_s"] + bits_per_s for name, bits_per_s in sent.items()}
            scores = self._scores(self.bench.look(transmission.pictures(batch)) for batch in self._batches())
            who = {"setting": "realtime", "references": count, "size": self.size}
            points.append({"coder": OURS, **who, **rates, **spread, **scores})
            frozen = self._scores(self._frozen(np.stack(pictures)))
            points.append({"coder": FROZEN, **who, **self.bit_rates(()), **sent, **frozen})
        return points

    def _frozen(self, references_RSS3: Frames) -> Iterable[Look]:
        look = self.bench.look(references_RSS3)
        for batch in self._batches():
            yield look[nearest_references(self.clip.frames_NSS3[list(batch)], references_RSS3)]

    def peer(self, peer: Peer, setting: Setting, rung: Rung) -> list[Point]:
        """Return the point of a peer at one setting, size and rate, or the reason why there is none."""
        who = who_of(peer, setting, rung, self.size)
        try:
            sent = peer.send(self.ffmpeg, self.clip.frames_NSS3, self.clip.fps, setting, rung)
        except TrainingError as error:
            return [{**who, "reason": str(error)}]
        scores = self._scores(self.bench.look(sent.frames_NSS3[list(batch)]) for batch in self._batches())
        how = {"command": sent.command, "encoder": sent.encoder}
        return [{**who, **how, **self.bit_rates(sent.frame_bytes), **scores}]


@lru_cache(maxsize=1)
def open_run(config: RateDistortionConfig) -> RateDistortion:
    """Load all that a run needs, once a process.

    Raises:
        WeightsError: the model's weights cannot be used.
        TrainingError: the metric's weights cannot be used, or there is no ffmpeg.
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
    peers = [peer for peer in PEERS if peer.name in config.peers]
    return RateDistortion(config, model, bench, find_ffmpeg(config.ffmpeg), peers)
