"""Time the networks of a model: the whole of a frame's decoding, and each part alone.

    python -m benchmarks.decode_speed
    python -m benchmarks.decode_speed --device cuda --preset paper-256

Prints milliseconds (median, 95th percentile) of batches of one. Keys, values and backgrounds of the references are
computed once, as in a call, and their cost is a line of its own. ``picture`` is what a receiver pays for a frame:
``Decoder.generate``, from quantised keypoints to bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from codec import Decoder, Encoder, Model, load_model, preset, random_model
from codec.structs import Keypoints


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What to time."""

    weights: Path | None = None
    """Model weights in place of the ones built in."""
    preset: str | None = None
    """Time an untrained network of this preset instead."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    references: int = 3
    """Reference pictures."""
    runs: int = 50
    """Timed runs, after ten that are not counted."""


def milliseconds(work: Callable[[], object], runs: int, device: torch.device) -> tuple[float, float]:
    """Return median and 95th percentile of a piece of work, its device synchronised."""
    seconds = []
    for _ in range(runs + 10):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(seconds[10:], [50, 95])
    return 1000 * float(p50), 1000 * float(p95)


def parts(model: Model, references: int) -> dict[str, Callable[[], object]]:
    """Return the pieces of work by name; the pictures are noise, which costs what a face costs."""
    size, generator = model.config.image_size, model.generator
    pictures = [np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8) for seed in range(5)]
    encoder, decoder = Encoder(model), Decoder(model)
    for end in (encoder, decoder):
        end.set_references(pictures[:references])
    frame = decoder.parse(encoder.encode(pictures[-1]).payload)
    image_BCHW = torch.rand(1, 3, size, size, device=model.device)
    with torch.inference_mode():
        keypoints: Keypoints = generator.detect(image_BCHW)
        features = [generator.encode_reference(image_BCHW, keypoints)] * references
    return {
        "keypoint detector": lambda: generator.detect(image_BCHW),
        "reference (once each)": lambda: generator.encode_reference(image_BCHW, keypoints),
        f"set of {references} references (once a change)": lambda: generator.combine(features),
        "query network": lambda: generator.query_network(keypoints),
        "alignment (at the sender)": lambda: encoder.align(keypoints.to("cpu"), pictures[-1]),
        "picture": lambda: decoder.generate(frame),
    }


def main(argv: list[str] | None = None) -> int:
    """Time and print."""
    config = tyro.cli(SpeedConfig, args=argv, prog="python -m benchmarks.decode_speed", description=__doc__)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.preset is None:
        model = load_model(config.weights, config.device)
    else:
        model = random_model(preset(config.preset), device=config.device)
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)
    print(f"{model.config.name}, {config.references} references, {device}, {torch.get_num_threads()} CPU threads")
    with torch.inference_mode():
        for name, work in parts(model, config.references).items():
            p50, p95 = milliseconds(work, config.runs, model.device)
            print(f"{name:42} p50 {p50:8.2f} ms   p95 {p95:8.2f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
