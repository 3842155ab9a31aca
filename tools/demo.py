"""A call from one process to another over WebRTC on this machine, and what became of the picture.

examples/media/call.mp4 -> python -m sender -> WebRTC -> python -m receiver, both with --sources examples/media/refs
`-- what was coded ---+--- what was shown --'
side_by_side.mp4, strip.png, report.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import tyro
from PIL import Image

from codec.errors import OutputError, SignallingError, WarpcallError
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.evaluate.metrics.ssim import ssim

ROOT = Path(__file__).parent.parent
STRIP_FRAMES = 8
START_TIMEOUT_S = 120.0
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Send the shipped clip to a receiver on this machine and compare what was shown with what was coded."""

    out: Path = Path("build/demo")
    """Folder to write."""
    video: Path = ROOT / "examples/media/call.mp4"
    """Video to send."""
    sources: Path = ROOT / "examples/media/refs"
    """Reference pictures of the receiver."""
    weights: Path | None = None
    """Weights, instead of the embedded ones."""
    duration: float | None = None
    """Seconds to send, instead of the whole video."""
    debug: bool = False
    """Show a traceback when something fails."""


@dataclass(frozen=True, slots=True)
class Call:
    """What both ends kept of a call.

    Attributes:
        sent, shown: pictures (N, S, S, 3) by frame number.
        sender, receiver: their reports.
    """

    sent: dict[int, Frames]
    shown: dict[int, Frames]
    sender: dict[str, Any]
    receiver: dict[str, Any]


def call(config: DemoConfig, folder: Path) -> Call:
    """Run receiver and sender to the end of the video.

    Raises:
        SignallingError: one of them failed; the message holds its last line.
    """
    weights = [] if config.weights is None else ["--weights", str(config.weights.resolve())]
    duration = [] if config.duration is None else ["--duration", str(config.duration)]
    receiver = start(
        folder, "receiver", "--sources", str(config.sources.resolve()), "--port", "0", "--once",
        "--record", str((config.out / "received.mp4").resolve()), "--report", str(folder / "receiver.json"),
        "--dump", str(folder / "receiver.npz"), *weights,
    )  # fmt: skip
    try:
        sender = start(
            folder, "sender", "--video", str(config.video.resolve()), "--peer", wait_for_url(receiver),
            "--sources", str(config.sources.resolve()),
            "--report", str(folder / "sender.json"), "--dump", str(folder / "sender.npz"), *weights, *duration,
        )  # fmt: skip
        try:
            finish(sender)
        finally:
            stop(sender)
        finish(receiver)
    finally:
        stop(receiver)
    return Call(
        read_dump(folder / "sender.npz"),
        read_dump(folder / "receiver.npz"),
        json.loads((folder / "sender.json").read_text()),
        json.loads((folder / "receiver.json").read_text()),
    )


@dataclass(frozen=True, slots=True)
class Program:
    """One of our programs, running; its lines go to a file, so that no pipe fills up."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        """Return all that it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_line(self) -> str:
        """Return the last line that is not empty."""
        return ([line for line in self.output().splitlines() if line.strip()] or ["no word"])[-1]


def start(folder: Path, name: str, *arguments: str) -> Program:
    """Start one of our programs; its log goes to ``folder``."""
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", name, *arguments], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    return Program(name, process, log)


def wait_for_url(receiver: Program) -> str:
    """Return the WHIP address that the receiver prints.

    Raises:
        SignallingError: it ended, or printed none in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for word in receiver.output().split():
            if word.startswith("http://") and word.endswith("/whip"):
                return word
        if receiver.process.poll() is not None:
            break
        time.sleep(0.1)
    raise SignallingError(f"the receiver did not start: {receiver.last_line()}")


def finish(program: Program) -> None:
    """Wait for a program.

    Raises:
        SignallingError: it failed.
    """
    try:
        code = program.process.wait(300)
    except subprocess.TimeoutExpired as error:
        raise SignallingError(f"the {program.name} did not end") from error
    if code:
        raise SignallingError(f"the {program.name} ended with {code}: {program.last_line()}")


def stop(program: Program) -> None:
    """End a program that still runs."""
    if program.process.poll() is None:
        program.process.terminate()
        program.process.wait(30)


def read_dump(path: Path) -> dict[int, Frames]:
    """Read pictures by frame number."""
    with np.load(path) as dump:
        return dict(zip(dump["numbers"].tolist(), dump["pictures"], strict=True))


def compare(made: Call) -> dict[str, Any]:
    """Return the report of a call.

    Raises:
        OutputError: no picture was shown.
    """
    pairs = [(made.sent[number], picture) for number, picture in made.shown.items() if number in made.sent]
    if not pairs:
        raise OutputError("the receiver showed no picture of the call")
    sent, shown = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
    return {
        "frames_sent": made.sender["frames_sent"],
        "frames_shown": made.receiver["frames_shown"],
        "payload_bits_per_s": made.sender["payload_bits_per_s"],
        "wire_bits_per_s": made.sender["wire_bits_per_s"],
        "psnr_db": round(float(psnr_db(mean_squared_error(shown, sent)).mean()), 2),
        "ssim": round(float(ssim(shown, sent).mean()), 4),
        "latency_ms": made.receiver["latency_ms"],
        "decoder_fps": made.receiver["decoder_fps"],
        "device": made.receiver["device"],
        "weights_sha256": made.receiver["weights_sha256"],
    }


def write_strip(path: Path, made: Call) -> None:
    """Write a row of source frames over a row of received ones."""
    numbers = sorted(set(made.shown) & set(made.sent))
    chosen = [numbers[i] for i in np.linspace(0, len(numbers) - 1, min(STRIP_FRAMES, len(numbers))).astype(int)]
    rows = [np.concatenate([pictures[number] for number in chosen], axis=1) for pictures in (made.sent, made.shown)]
    Image.fromarray(np.concatenate(rows)).save(path)


def write_side_by_side(path: Path, made: Call) -> None:
    """Write a video: every frame sent, beside the newest frame that had been shown by then."""
    fps = max(1, round(made.sender["fps"]))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        shown = np.zeros_like(next(iter(made.sent.values())))
        stream.height, stream.width, stream.pix_fmt = shown.shape[0], 2 * shown.shape[1], "yuv420p"
        for count, number in enumerate(sorted(made.sent)):
            shown = made.shown.get(number, shown)
            frame = av.VideoFrame.from_ndarray(np.concatenate((made.sent[number], shown), axis=1), format="rgb24")
            frame.pts, frame.time_base = count, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 is good, 1 a failure told in one line."""
    config = tyro.cli(DemoConfig, args=argv, prog="python -m tools.demo")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            made = call(config, Path(folder))
        report = compare(made)
        write_strip(config.out / "strip.png", made)
        write_side_by_side(config.out / "side_by_side.mp4", made)
        (config.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    except (WarpcallError, OSError) as error:
        if config.debug:
            raise
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2))
    print(f"look at {config.out / 'side_by_side.mp4'} and {config.out / 'strip.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
