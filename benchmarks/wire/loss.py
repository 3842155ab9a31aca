"""What loss leaves of a call: frames in time, and the picture that is shown meanwhile.

CallRecord -> share of frames in time; frames shown -> shipped decoder -> PSNR, against the call without loss
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.wire.call import CallConfig, CallRecord, make_call
from benchmarks.wire.link import burst_loss, random_loss
from codec import Decoder, Model
from codec.structs import CodedFrame, QuantisedKeypoints
from training.evaluate.clips import Clip, reference_positions
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db

IN_TIME_S = 0.1
NUM_REFERENCES = 3
Loses = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A kind of loss, in both directions.

    Attributes:
        name: for people.
        share: of datagrams lost.
        burst: datagrams lost in a row.
        conceal: whether the receiver guesses frames that do not come in time.
    """

    name: str
    share: float
    burst: int
    conceal: bool = True

    def model(self, seed: int) -> Loses:
        """Return a seeded model."""
        return burst_loss(self.share, self.burst, seed) if self.burst > 1 else random_loss(self.share, seed)


CONDITIONS = (
    Condition("none", 0.0, 1),
    Condition("random 2%", 0.02, 1),
    Condition("random 5%", 0.05, 1),
    Condition("random 10%", 0.10, 1),
    Condition("bursts of 2, 10%", 0.10, 2),
    Condition("bursts of 5, 5%", 0.05, 5),
    Condition("bursts of 5, 10%", 0.10, 5),
    Condition("random 30%", 0.30, 1),
    Condition("random 10%, nothing guessed", 0.10, 1, conceal=False),
    Condition("bursts of 5, 10%, nothing guessed", 0.10, 5, conceal=False),
    Condition("random 30%, nothing guessed", 0.30, 1, conceal=False),
)


def shown(record: CallRecord, number: int, patience_s: float = IN_TIME_S) -> QuantisedKeypoints | None:
    """Return the newest keypoints that are there when a frame has to be shown; None before the first."""
    deadline_s = record.sent_s[number] + record.config.delay_s + patience_s
    there = [
        candidate
        for candidate in range(number, -1, -1)
        if candidate in record.arrived and record.arrived[candidate].due_s <= deadline_s
    ]
    return record.arrived[there[0]].keypoints if there else None


def psnr_of(record: CallRecord, clip: Clip, decoder: Decoder, positions: list[int]) -> float:
    """Return the mean PSNR of what is shown at some frames' times, dB; nothing shown is a grey picture."""
    errors = []
    for position in positions:
        keypoints = shown(record, position)
        grey = np.full_like(clip.frames_NSS3[position], 128)
        rgb = grey if keypoints is None else decoder.generate(CodedFrame(position, None, keypoints))
        errors.append(mean_squared_error(rgb[None], clip.frames_NSS3[position][None])[0])
    return float(psnr_db(np.array(errors)).mean())


def figures(record: CallRecord) -> dict[str, Any]:
    """Return what came of a call."""
    numbers = sorted(record.sent_s)
    lateness = [record.lateness_s(number) for number in numbers]
    in_time = [late is not None and late <= IN_TIME_S for late in lateness]
    concealed = sum(arrived.is_concealed for number, arrived in record.arrived.items() if number in record.sent_s)
    decoded = [number in record.arrived and not record.arrived[number].is_concealed for number in numbers]
    came = [late for late in lateness if late is not None]
    gaps = np.flatnonzero(np.diff(np.flatnonzero([True, *in_time, True])) - 1)
    longest = int((np.diff(np.flatnonzero([True, *in_time, True])) - 1).max()) if len(gaps) else 0
    rtp, _, lost = record.up
    return {
        "frames": len(numbers),
        "in_time": float(np.mean(in_time)),
        "decoded_in_time": float(np.mean(np.array(in_time) & np.array(decoded))),
        "came_at_all": len(came) / len(numbers),
        "concealed": concealed / len(numbers),
        "repeated": sum(frame.is_repeated for frame in record.arrived.values()),
        "longest_gap_frames": longest,
        "lateness_ms_p50": 1000 * float(np.percentile(came, 50)),
        "lateness_ms_p99": 1000 * float(np.percentile(came, 99)),
        "datagrams_lost": lost.packets,
        "datagrams": rtp.packets + record.up[1].packets,
        "payload_bytes_per_frame": sum(record.payload_bytes) / len(numbers),
        "video_wire_kbps": 8e-3 * rtp.wire_bytes / record.duration_s,
        "back_wire_kbps": 8e-3 * record.down[1].wire_bytes / record.duration_s,
        "keyframes": record.keyframes,
    }


def loss_table(
    clip: Clip, model: Model, seed: int, num_pictures: int, on_call: Callable[[], None]
) -> dict[str, dict[str, Any]]:
    """Return the figures of one call for each kind of loss.

    Args:
        clip: sent in real time.
        model: the networks.
        seed: of the losses.
        num_pictures: made for the PSNR of each call.
        on_call: told after each call.
    """
    decoder = Decoder(model)
    decoder.set_references([clip.frames_NSS3[position] for position in reference_positions(len(clip), NUM_REFERENCES)])
    table: dict[str, dict[str, Any]] = {}
    for condition in CONDITIONS:
        config = CallConfig(conceal=condition.conceal)
        record = asyncio.run(
            make_call(clip.frames_NSS3, model, config, condition.model(seed), condition.model(seed + 1))
        )
        positions = np.linspace(5, len(record.sent_s) - 1, num_pictures).astype(int).tolist()
        psnr_db_shown = psnr_of(record, clip, decoder, positions) if num_pictures else float("nan")
        table[condition.name] = figures(record) | {"psnr_db": psnr_db_shown} | dataclasses.asdict(condition)
        on_call()
    return table
