"""Where conventional video becomes the better picture: ``python -m benchmarks.crossover --clips DIR --out FILE.json``.

Each clip is sent as keypoints with the references that the sender would choose, and as H.264 by the encoder that a call
uses, at several rates with headers, as many pictures a second as a call would send. Both are measured at the same
frames of the clip, a picture that was not sent being the one before. The first second and a half is left out: keypoints
wait for their first reference, video has just begun with a keyframe. The crossover is the lowest rate at which video is
better on average.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import tyro
from aiortc.codecs.h264 import H264Decoder, h264_depayload
from aiortc.jitterbuffer import JitterFrame

from benchmarks.references import ReferencesBenchmarkConfig, SimulatedCall, read, score
from codec import Model, load_model
from codec.face import Picture
from codec.frames import rgb_from_frame
from codec.rtc import HEADER_BYTES
from codec.rtc.video import RateH264Encoder
from sender.pace import THIN_BPS, THIN_VIDEO_FPS
from training.evaluate.clips import Clip, beginning, find_clips
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import MtcnnLandmarks
from training.evaluate.metrics.lpips import load_lpips


@dataclass(frozen=True, kw_only=True)
class CrossoverConfig:
    """Keypoints against H.264 at several rates."""

    clips: Path
    """Folder of square clips, or one video file; a file that is not square is cropped as the sender crops."""
    out: Path
    """JSON file."""
    loss_weights: Path | None = None
    """Folder with the LPIPS weights; the lpips package without it."""
    kbps: tuple[float, ...] = (20, 25, 30, 35, 45, 60, 90)
    """Rates of video, kbit/s, headers included."""
    link_kbps: float = 30.0
    """Link on which the references of the keypoints travel."""
    frames: int = 250
    """Of each clip, from its beginning."""
    every: int = 6
    """Score two neighbouring frames out of each 2 n."""


def as_video(clip: Clip, kbps: float) -> tuple[list[Picture], float]:
    """Send a clip as video; return what is shown at each frame, and the kbit/s that it took with headers."""
    fps = min(clip.fps, THIN_VIDEO_FPS if 1000 * kbps < THIN_BPS else clip.fps)
    encoder, decoder = RateH264Encoder(), H264Decoder()
    encoder.target_bitrate = round(1000 * kbps - 8 * HEADER_BYTES * fps)
    shown: list[Picture] = []
    due_s, wire_bytes = 0.0, 0
    for position, rgb in enumerate(clip.frames_NSS3):
        picture = shown[-1] if shown else rgb
        if position / clip.fps >= due_s - 1e-6:
            due_s += 1 / fps
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = round(90_000 * position / clip.fps), Fraction(1, 90_000)
            payloads, timestamp = encoder.encode(frame)
            wire_bytes += sum(len(payload) + HEADER_BYTES for payload in payloads)
            data = b"".join(map(h264_depayload, payloads))
            decoded = decoder.decode(JitterFrame(data, timestamp))
            picture = rgb_from_frame(decoded[-1]) if decoded else picture  # type: ignore[arg-type]
        shown.append(picture)
    return shown, 8e-3 * wire_bytes / (len(clip) / clip.fps)


def as_keypoints(model: Model, clip: Clip, config: CrossoverConfig) -> list[Picture | None]:
    """Send a clip as keypoints; return what is shown at each frame, nothing before there is a reference."""
    settings = ReferencesBenchmarkConfig(clips=config.clips, out=config.out, kbps=config.link_kbps)
    call = SimulatedCall(model, settings, is_adaptive=True)
    return [call.send(rgb, position / clip.fps) for position, rgb in enumerate(clip.frames_NSS3)]


def row_of(model: Model, bench: Bench, clip: Clip, config: CrossoverConfig) -> dict[str, object]:
    """Measure one clip."""
    positions = [
        position for position in range(round(1.5 * clip.fps), len(clip)) if (position // 2) % config.every == 0
    ]

    by_keypoints = as_keypoints(model, clip, config)
    positions = [position for position in positions if by_keypoints[position] is not None]

    def measured(shown: Sequence[Picture | None]) -> dict[str, float]:
        pictures = [picture for position in positions if (picture := shown[position]) is not None]
        return score(bench, clip, positions, pictures)

    row: dict[str, object] = {"clip": clip.name, "keypoints": measured(by_keypoints)}
    for kbps in config.kbps:
        shown, taken_kbps = as_video(clip, kbps)
        row[f"video_{kbps:g}"] = {"taken_kbps": round(taken_kbps, 2), **measured(shown)}
    return row


def means_of(rows: list[dict[str, object]], names: list[str]) -> dict[str, dict[str, float]]:
    """Return the means over clips of the figures that all have."""
    means: dict[str, dict[str, float]] = {}
    for name in names:
        figures = [row[name] for row in rows]
        assert all(isinstance(each, dict) for each in figures)
        keys = figures[0].keys()  # type: ignore[attr-defined]
        means[name] = {
            key: round(float(np.mean([each[key] for each in figures])), 4)  # type: ignore[index]
            for key in keys
            if all(key in each for each in figures)  # type: ignore[operator]
        }
    return means


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the file."""
    config = tyro.cli(CrossoverConfig, args=argv, prog="python -m benchmarks.crossover")
    torch.set_num_threads(1)
    model = load_model(None, "cpu")
    detector = MtcnnLandmarks(model.config.image_size, model.device)
    bench = Bench(load_lpips(config.loss_weights, model.device), detector)
    rows = []
    for path in [config.clips] if config.clips.is_file() else find_clips(config.clips):
        rows.append(row_of(model, bench, beginning(read(path, model.config.image_size), config.frames), config))
        print(path.name, file=sys.stderr)
    names = ["keypoints", *(f"video_{kbps:g}" for kbps in config.kbps)]
    means = means_of(rows, names)
    for name, figures in means.items():
        print(f"{name:12s}", {key: figures[key] for key in ("lpips_alex", "psnr_db", "akd") if key in figures})
    settings = {key: value.name if isinstance(value, Path) else value for key, value in asdict(config).items()}
    text = json.dumps({"settings": settings, "model": model.sha256, "means": means, "clips": rows}, indent=1)
    config.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
