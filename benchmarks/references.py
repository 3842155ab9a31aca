"""What references in the call gain: ``python -m benchmarks.references --clips DIR --loss-weights DIR --out FILE.json``.

Each clip is sent and received twice, with the shipped encoder, decoder and reference selection: with its first picture
as the only reference, and with the set that the sender keeps up to date. A reference arrives as late as the link's
share for it makes it, and the keypoints of a frame are rebuilt from what the receiver holds by then. What is rebuilt is
measured against the clip by the metrics of ``training.evaluate``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from codec import Decoder, Encoder, Model, load_model
from codec.face import FaceDetector, FaceTracker, Picture, crop
from codec.frames import rgb_from_frame
from codec.memory import ReferencePictures
from codec.rtc import HEADER_BYTES
from codec.structs import CodedFrame, QuantisedKeypoints
from sender.delivery import LinkUse, delivery_bps
from sender.face import FramedPicture
from sender.gain import GainCheck
from sender.held import CodedReference, HeldReferences
from sender.reconstruct import Reconstructor
from sender.references import BitBudget, ReferencePicker, locations_of
from training.evaluate.clips import Clip, find_clips, read_clip
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import MtcnnLandmarks
from training.evaluate.metrics.lpips import load_lpips
from training.evaluate.tally import Tally

ROUND_TRIP_S = 0.1
PART_OVERHEAD = 1.25
"""Bits on the wire for each bit of a picture that is sent in small parts."""
BATCH = 16
LEAST_CLIP_S = 5.0


@dataclass(frozen=True, kw_only=True)
class ReferencesBenchmarkConfig:
    """Quality with one fixed reference against the set that the sender keeps up to date."""

    clips: Path
    """Folder of square clips, or one video file; a file that is not square is cropped as the sender crops."""
    out: Path
    """JSON file."""
    loss_weights: Path | None = None
    """Folder with the LPIPS weights; the lpips package without it."""
    match: str = "*"
    """Which clips of the folder."""
    kbps: float = 20.0
    """Bandwidth of the link, kbit/s."""
    capacity: int = 4
    """References that the receiver holds."""
    quality: int = 50
    """Of the coded references."""
    every: int = 4
    """Score two neighbouring frames out of each 2 n."""
    measured_gain: bool = True
    """Let the generator have a word on each candidate, as the sender does."""
    landmarks: bool = True
    """Measure keypoint distance, mouth and eyes."""
    threads: int = 1
    """Of the networks."""


class SimulatedCall:
    """Sender and receiver of one clip, with a link between them for the references.

    Args:
        model: the networks.
        config: of the benchmark.
        is_adaptive: whether further references follow the first.
    """

    def __init__(self, model: Model, config: ReferencesBenchmarkConfig, *, is_adaptive: bool) -> None:
        self._config = config
        self._model_config = model.config
        self._is_adaptive = is_adaptive
        pictures = ReferencePictures(model)
        self._encoder, self._decoder = Encoder(model, pictures=pictures), Decoder(model, pictures)
        self._budget = BitBudget()
        self._picker = ReferencePicker(model.config, self._budget)
        self._held = HeldReferences(config.capacity)
        self._gain = GainCheck(Reconstructor(model) if config.measured_gain else None, config.quality)
        self._arrival: tuple[float, CodedReference] | None = None
        self.keypoint_bytes = 0
        self._wire_bytes = 0
        self.changes: list[dict[str, object]] = []
        self.num_declined = 0

    def send(self, rgb: Picture, time_s: float) -> Picture | None:
        """Send one picture; return what the receiver shows, None while it has no reference."""
        encoded = self._encoder.encode(rgb)
        self.keypoint_bytes += len(encoded.payload)
        self._wire_bytes += len(encoded.payload) + HEADER_BYTES
        self._receive_references(time_s)
        self._consider(FramedPicture(rgb, round(time_s * 1e6), None), encoded.keypoints, time_s)
        if not self._decoder.num_references:
            return None
        return self._decoder.generate(CodedFrame(encoded.number, None, encoded.keypoints, encoded.reference))

    def _consider(self, picture: FramedPicture, keypoints: QuantisedKeypoints, time_s: float) -> None:
        self._budget.earn(self._config.kbps * 1000, time_s)
        if self._held.used and not self._is_adaptive:
            return
        candidate = self._picker.offer(picture, keypoints, time_s, self._held.candidates)
        self._gain.note_picture(picture.rgb, time_s)
        self._held.note_pose(locations_of(keypoints, self._model_config), time_s)
        if candidate is None or self._held.sent is not None:
            return
        reference = self._gain.check(candidate, self._held)
        if reference is None:
            self.num_declined += 1
            self._picker.decline(candidate, time_s)
            return
        self._send_reference(reference, time_s)

    def _send_reference(self, reference: CodedReference, time_s: float) -> None:
        bits = 8 * len(reference.data) * PART_OVERHEAD
        link = LinkUse(1000 * self._config.kbps, 8 * self._wire_bytes / max(time_s, 1.0))
        self._held.send(reference)
        self._budget.spend(bits)
        self._arrival = time_s + bits / delivery_bps(link, is_first=not self._held.used) + ROUND_TRIP_S, reference

    def _receive_references(self, time_s: float) -> None:
        if self._arrival is None or time_s < self._arrival[0]:
            return
        reference, self._arrival = self._arrival[1], None
        before = self._held.used
        self._held.acknowledge(reference.sha256)
        for end in (self._encoder, self._decoder):
            end.set_references([each.rgb for each in self._held.used])
        self.changes.append(
            {
                "time_s": round(time_s, 2),
                "bytes": len(reference.data),
                "evicted": [before.index(each) for each in before if each not in self._held.used],
                "in_use": len(self._held.used),
            }
        )


def run(
    model: Model, bench: Bench, clip: Clip, config: ReferencesBenchmarkConfig, *, is_adaptive: bool
) -> dict[str, object]:
    """Send one clip and measure it."""
    call = SimulatedCall(model, config, is_adaptive=is_adaptive)
    positions: list[int] = []
    shown: list[Picture] = []
    for position, rgb in enumerate(clip.frames_NSS3):
        picture = call.send(rgb, position / clip.fps)
        if picture is not None and (position // 2) % config.every == 0:
            positions.append(position)
            shown.append(picture)
    duration_s = len(clip) / clip.fps
    reference_bytes = sum(int(str(change["bytes"])) for change in call.changes)
    return {
        "scores": score(bench, clip, positions, shown),
        "frames_scored": len(positions),
        "keypoint_kbps": round(8e-3 * call.keypoint_bytes / duration_s, 3),
        "reference_bytes": reference_bytes,
        "reference_kbps": round(8e-3 * reference_bytes / duration_s, 3),
        "candidates_declined": call.num_declined,
        "changes": call.changes,
    }


def score(bench: Bench, clip: Clip, positions: list[int], shown: list[Picture]) -> dict[str, float]:
    """Compare what was shown with the clip; return the figures that there are."""
    tally = Tally()
    for start in range(0, len(positions), BATCH):
        index = positions[start : start + BATCH]
        bench.compare(
            tally, index, bench.look(clip.frames_NSS3[index]), bench.look(np.stack(shown[start : start + BATCH]))
        )
    return {name: value for name, value in asdict(tally.scores()).items() if value is not None}


def read(path: Path, size: int) -> Clip:
    """Read a clip; one that is not square is cropped around the face."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.width == stream.codec_context.height:
            return read_clip(path, size)
        tracker = FaceTracker(FaceDetector(), background=False)
        fps = float(stream.average_rate or 25)
        frames = []
        for index, frame in enumerate(container.decode(stream)):
            rgb = rgb_from_frame(frame)
            frames.append(crop(rgb, tracker.update(rgb, index / fps), size))
    return Clip(path.name, np.stack(frames), fps, (size, size), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the file."""
    config = tyro.cli(ReferencesBenchmarkConfig, args=argv, prog="python -m benchmarks.references")
    torch.set_num_threads(config.threads)
    model = load_model(None, "cpu")
    bench = Bench(
        load_lpips(config.loss_weights, model.device),
        MtcnnLandmarks(model.config.image_size, model.device) if config.landmarks else None,
    )
    paths = [config.clips] if config.clips.is_file() else find_clips(config.clips)
    rows = []
    for path in paths:
        if not path.match(config.match):
            continue
        clip = read(path, model.config.image_size)
        if len(clip) / clip.fps < LEAST_CLIP_S:
            print(f"{path.name} is shorter than {LEAST_CLIP_S:g} s: left out", file=sys.stderr)
            continue
        row: dict[str, object] = {"clip": path.name, "frames": len(clip), "fps": clip.fps}
        for name, is_adaptive in (("fixed", False), ("adaptive", True)):
            row[name] = figures = run(model, bench, clip, config, is_adaptive=is_adaptive)
            print(path.name, name, json.dumps({k: v for k, v in figures.items() if k != "changes"}), file=sys.stderr)
        rows.append(row)
    settings = {
        key: value.name if isinstance(value, Path) else value for key, value in dataclasses.asdict(config).items()
    }
    config.out.write_text(json.dumps({"settings": settings, "model": model.sha256, "clips": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
