"""A scripted call over a link whose bandwidth steps: ``python -m benchmarks.bandwidth_steps --out results``.

The shipped receiver in a process of its own, the shipped sender with ``--mode auto`` in this one, real peer connections
between them, and a link of ``benchmarks.shaper`` in the sender's way out. What is shown at the receiver is logged
picture by picture, at the generator's own speed on this machine; a freeze is the time between two new pictures. Writes
``bandwidth_steps.json`` (the timeline) and ``bandwidth_steps.png``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from aiohttp import ClientSession

from benchmarks.shaper import Shaper
from sender.config import CodingConfig, OutputConfig, PeerConfig, SenderConfig, SourceConfig
from sender.session import Session
from sender.stats import Second

SAMPLE_S = 0.1
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BandwidthStepsConfig:
    """One call over a link whose bandwidth steps."""

    video: Path
    """What the camera sees; begins again at its end."""
    out: Path = Path("results")
    """Folder of the two files."""
    name: str = "bandwidth_steps"
    """Of the two files, without the suffix."""
    kbps: tuple[float, ...] = (500, 20, 8, 500)
    """Bandwidth of each step, kbit/s."""
    seconds: tuple[float, ...] = (25, 20, 20, 25)
    """Length of each step."""
    queue_s: float = 0.4
    """Longest wait in the link's queue; what would wait longer is dropped."""
    delay_s: float = 0.02
    """One way."""
    loss: float = 0.0
    """Share of packets lost at random."""
    crop: str = "face"
    """face, or center for a clip that is a square already."""
    fps: float = 25.0
    """Most pictures a second."""
    verbose: bool = False
    """Log what the sender does."""
    role: str = "sender"
    """For the process that it starts itself."""


@dataclass(slots=True)
class Timeline:
    """What happened, by seconds since the first picture was shown."""

    samples: list[dict[str, Any]] = field(default_factory=list)
    """Ten times a second: the link, what the sender thinks of it, its mode, what it sent."""
    shown: list[dict[str, Any]] = field(default_factory=list)
    """Each picture shown: when, how it was coded, and how long after its capture."""


async def receive() -> None:
    """Run the shipped receiver and print a line of JSON for each picture that it shows."""
    from receiver.__main__ import open_studio
    from receiver.config import ReceiverConfig
    from receiver.output import Picture
    from receiver.server import ReceiverServer
    from receiver.stats import CallStats

    studio = open_studio(ReceiverConfig(port=0, threads=1, quiet=True))
    show, last = studio.screen.show, {"kind": ""}

    def logged_show(picture: Picture) -> None:
        last.update(kind="video" if picture.number is None else "keypoints")
        show(picture)

    def logged_note(self: CallStats, latency_ms: float | None) -> None:
        print(json.dumps({"time_s": time.time(), "latency_ms": latency_ms, **last}), flush=True)
        note(self, latency_ms)

    note = CallStats.note_shown
    studio.screen.show = logged_show  # type: ignore[method-assign]
    CallStats.note_shown = logged_note  # type: ignore[method-assign]
    async with ReceiverServer(studio) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await server.switchboard.first_ended.wait()


async def read_shown(stream: asyncio.StreamReader, shown: list[dict[str, Any]]) -> None:
    """Take the receiver's lines until it ends."""
    while line := await stream.readline():
        if line.startswith(b"{"):
            shown.append(json.loads(line))


async def sample(session: Session, shaper: Shaper, url: str, samples: list[dict[str, Any]]) -> None:
    """Note ten times a second how things stand, and once a second what the receiver says."""
    state, count = "", 0
    async with ClientSession() as http:
        while True:
            if count % 5 == 0:
                async with http.get(f"{url}/stats") as response:
                    state = (await response.json())["state"]
            count += 1
            samples.append(
                {
                    "time_s": time.time(),
                    "link_kbps": shaper.bps / 1000,
                    "estimate_kbps": round(session.director.link.bps / 1000, 2),
                    "mode": session.director.mode,
                    "verdict": session.director.verdict.reason,
                    "queue_s": round(shaper.queued_s, 3),
                    "sent_bytes": shaper.num_sent_bytes,
                    "passed_bytes": shaper.num_passed_bytes,
                    "dropped": shaper.num_dropped,
                    "receiver": state,
                }
            )
            await asyncio.sleep(SAMPLE_S)


async def call(config: BandwidthStepsConfig) -> tuple[Timeline, list[float], dict[str, object]]:
    """Make the call; return its timeline, the times of the steps and the sender's report."""
    timeline = Timeline()
    receiver = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.bandwidth_steps",
        "--video",
        ".",
        "--role",
        "receiver",
        stdout=asyncio.subprocess.PIPE,
    )
    assert receiver.stdout is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        url = json.loads(await receiver.stdout.readline())["url"]
    session = Session(
        SenderConfig(
            source=SourceConfig(video=config.video, loop=True, audio=False, crop=config.crop),  # type: ignore[arg-type]
            peer=PeerConfig(peer=f"{url}/whip"),
            coding=CodingConfig(mode="auto", fps=config.fps),
            output=OutputConfig(quiet=True),
        ),
        _ignore,
    )
    with Shaper(config.kbps[0] * 1000, queue_s=config.queue_s, delay_s=config.delay_s, loss=config.loss) as shaper:
        tasks = [
            asyncio.create_task(read_shown(receiver.stdout, timeline.shown)),
            asyncio.create_task(sample(session, shaper, url, timeline.samples)),
        ]
        running = asyncio.create_task(session.run())
        while not timeline.shown and not running.done():  # noqa: ASYNC110 - the receiver is another process
            await asyncio.sleep(0.05)
        steps = []
        for kbps, seconds in zip(config.kbps, config.seconds, strict=True):
            shaper.bps = kbps * 1000
            steps.append(time.time())
            await asyncio.sleep(seconds)
        session.stop()
        await running
        tasks[1].cancel()
        await asyncio.wait_for(receiver.wait(), 20)
        await tasks[0]
    return timeline, [*steps, time.time()], session.book.report(0)


def figures_of(timeline: Timeline, steps: list[float], config: BandwidthStepsConfig) -> list[dict[str, object]]:
    """Return the figures of each step."""
    rows: list[dict[str, object]] = []
    times = [each["time_s"] for each in timeline.shown]
    for index, kbps in enumerate(config.kbps):
        start_s, end_s = steps[index], steps[index + 1]
        inside = [each for each in timeline.shown if start_s <= each["time_s"] < end_s]
        samples = [each for each in timeline.samples if start_s <= each["time_s"] < end_s]
        before = [each for each in times if each < start_s][-1:]
        moments = [*before, *(each["time_s"] for each in inside)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        latencies = sorted(each["latency_ms"] for each in inside if each["latency_ms"] is not None)
        passed = samples[-1]["passed_bytes"] - samples[0]["passed_bytes"]
        rows.append(
            {
                "link_kbps": kbps,
                "seconds": config.seconds[index],
                "pictures": len(inside),
                "pictures_as_video": sum(each["kind"] == "video" for each in inside),
                "longest_freeze_s": round(max(gaps, default=end_s - start_s), 3),
                "freezes_over_1_s": sum(gap > 1 for gap in gaps),
                "latency_ms_p50": round(statistics.median(latencies), 1) if latencies else None,
                "latency_ms_p95": round(latencies[int(0.95 * len(latencies))], 1) if latencies else None,
                "passed_kbps": round(8e-3 * passed / max(1e-3, samples[-1]["time_s"] - samples[0]["time_s"]), 2),
                "packets_dropped_by_the_link": samples[-1]["dropped"] - samples[0]["dropped"],
            }
        )
    return rows


def relative(timeline: Timeline, steps: list[float]) -> tuple[Timeline, list[float]]:
    """Count times from the first step."""
    zero = steps[0]
    for each in [*timeline.samples, *timeline.shown]:
        each["time_s"] = round(each["time_s"] - zero, 3)
    return timeline, [round(step - zero, 3) for step in steps]


def session_changes(report: dict[str, object]) -> list[dict[str, Any]]:
    """Return the changes of mode in a sender's report."""
    changes = report["mode_changes"]
    assert isinstance(changes, list)
    return changes


def main(argv: Sequence[str] | None = None) -> int:
    """Make the call and write the files."""
    config = tyro.cli(BandwidthStepsConfig, args=argv, prog="python -m benchmarks.bandwidth_steps")
    torch.set_num_threads(1)
    if config.role == "receiver":
        asyncio.run(receive())
        return 0
    if config.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
        logging.getLogger("aioice").setLevel(logging.WARNING)
    timeline, steps, report = asyncio.run(call(config))
    rows = figures_of(timeline, steps, config)
    for change in session_changes(report):
        change["time_s"] = round(float(change["time_s"]) - steps[0], 3)
    timeline, steps = relative(timeline, steps)
    settings = {key: value.name if isinstance(value, Path) else value for key, value in asdict(config).items()}
    result = {"settings": settings, "steps": rows, "sender": report, "step_times_s": steps, **asdict(timeline)}
    path = config.out / f"{config.name}.json"
    path.write_text(json.dumps(result) + "\n")
    for row in rows:
        print(json.dumps(row))
    from benchmarks.plot_steps import plot

    plot(path, path.with_suffix(".png"))
    return 0


def _ignore(second: Second) -> None:
    return None


if __name__ == "__main__":
    raise SystemExit(main())
