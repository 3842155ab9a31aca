"""Measure the wire format: ``python -m benchmarks.wire --clips DIR --out FILE.json``.

Bytes a frame of each design on every clip; LPIPS and PSNR against the quantiser's step; bits a second on the wire by
lever; and calls over links that lose packets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.progress import Progress

from benchmarks.wire.designs import sizes, train_dictionary
from benchmarks.wire.levers import LEVERS, levers_table
from benchmarks.wire.loss import CONDITIONS, loss_table
from benchmarks.wire.quality import means_of, qualities
from codec import load_model
from codec.errors import WarpcallError
from training.evaluate.clips import find_clips, read_clip
from training.evaluate.metrics.lpips import load_lpips
from training.tracks import find_tracks


@dataclass(frozen=True, kw_only=True)
class WireConfig:
    """Measure the wire format."""

    clips: Path
    """Folder of square mp4 clips."""
    out: Path
    """JSON file to write; parts that are not measured now stay as they are in it."""
    loss_weights: Path | None = None
    """Folder with lpips_alex.safetensors; the lpips package is used without it."""
    parts: tuple[str, ...] = ("designs", "quality", "levers", "loss")
    """What to measure."""
    tracks: Path | None = None
    """File that keeps the clips' keypoints for the next time."""
    dictionary_clips: Path | None = None
    """Clips to train zstd's dictionary on; half of ``--clips`` without them, the other half being measured."""
    dictionary_tracks: Path | None = None
    """File that keeps their keypoints."""
    quality_clips: int = 20
    """Clips whose pictures are compared, evenly spaced."""
    quality_frames: int = 4
    """Frames of each of them."""
    call_clip: str | None = None
    """File name of the clip that is sent in calls; the one with the most frames without it."""
    call_frames: int = 400
    """Most frames of a call."""
    loss_pictures: int = 40
    """Pictures made for the PSNR of each call."""
    seed: int = 1
    """Of the losses."""


def measure_designs(config: WireConfig) -> dict[str, Any]:
    """Return bytes a frame by clip and design, and their means."""
    model = load_model()
    tracks = find_tracks(config.clips, model, 0, config.tracks)
    names = sorted(tracks)
    teachers = [tracks[name].values_FK3 for name in names[::2]]
    if config.dictionary_clips is not None:
        found = find_tracks(config.dictionary_clips, model, 200, config.dictionary_tracks)
        teachers = [each.values_FK3 for each in found.values()]
    else:
        names = names[1::2] or names
    dictionary = train_dictionary(teachers)
    clips, pooled, keyframes = {}, {}, []
    for name in names:
        by_design = sizes(tracks[name], model, dictionary)
        clips[name] = {design: float(np.mean(each)) for design, each in by_design.items()}
        keyframes.append(by_design["ours"][0])
        for design, each in by_design.items():
            pooled.setdefault(design, []).extend(each)
    return {
        "bytes_per_frame": {design: float(np.mean(each)) for design, each in pooled.items()},
        "bytes_per_frame_mean_of_clips": {
            design: float(np.mean([clip[design] for clip in clips.values()])) for design in pooled
        },
        "p95_bytes": {design: float(np.percentile(each, 95)) for design, each in pooled.items()},
        "keyframe_bytes": float(np.mean(keyframes)),
        "clips": clips,
    }


def measure_quality(config: WireConfig) -> dict[str, Any]:
    """Return LPIPS, PSNR and bytes by step, and how each differs from keypoints that are not rounded."""
    model = load_model()
    lpips = load_lpips(config.loss_weights, torch.device("cpu"))
    tracks = find_tracks(config.clips, model, 0, config.tracks)
    paths = [path for path in find_clips(config.clips, config.quality_clips) if len(tracks[path.stem]) > 4]
    found, num_frames = [], []
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("pictures", total=None)
        for path in paths:
            clip = read_clip(path, model.config.image_size)
            track = tracks[path.stem]
            found.append(
                qualities(clip, track, model, lpips, config.quality_frames, lambda n: progress.advance(task, n))
            )
            num_frames.append(len(track))
    return {"clips": [path.stem for path in paths], "steps": means_of(found, num_frames)}


def measure_calls(config: WireConfig, part: str) -> dict[str, Any]:
    """Return the levers' or the losses' table."""
    model = load_model()
    paths = {path.name: path for path in find_clips(config.clips)}
    name = config.call_clip or max(paths, key=lambda each: paths[each].stat().st_size)
    clip = read_clip(paths[name], model.config.image_size)
    clip = type(clip)(clip.name, clip.frames_NSS3[: config.call_frames], clip.fps, clip.file_size, clip.sha256)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("calls", total=len(CONDITIONS if part == "loss" else LEVERS))
        if part == "levers":
            table = levers_table(clip, model, lambda: progress.advance(task))
        else:
            table = loss_table(clip, model, config.seed, config.loss_pictures, lambda: progress.advance(task))
    return {"clip": name, "frames": len(clip), "calls": table}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write; 0 is good, 1 a failure told in one line."""
    config = tyro.cli(WireConfig, args=argv, prog="python -m benchmarks.wire", description=__doc__)
    torch.set_num_threads(1)
    try:
        results: dict[str, Any] = json.loads(config.out.read_text()) if config.out.exists() else {}
        model = load_model()
        results |= {"model_sha256": model.sha256, "priors_sha256": model.priors.sha256}
        for part in config.parts:
            if part == "designs":
                results[part] = measure_designs(config)
            elif part == "quality":
                results[part] = measure_quality(config)
            else:
                results[part] = measure_calls(config, part)
            config.out.write_text(json.dumps(results, indent=1) + "\n")
    except (WarpcallError, OSError, json.JSONDecodeError) as error:
        sys.stderr.write(f"benchmarks.wire: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
