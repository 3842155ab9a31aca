"""What headers cost, and what each lever takes off them: short calls, counted on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.wire.call import CallConfig, make_call
from codec import Model
from training.evaluate.clips import Clip

LEVERS = {
    "as it is": CallConfig(),
    "tags of 16 bytes": CallConfig(auth_tag_bytes=16),
    "nothing repeated": CallConfig(repeats=0),
    "no header extensions": CallConfig(header_extensions=False),
    "no header extensions, nothing repeated": CallConfig(header_extensions=False, repeats=0),
    "no header extensions, tags of 4 bytes": CallConfig(header_extensions=False, auth_tag_bytes=4),
    "two frames a packet": CallConfig(header_extensions=False, frames_per_packet=2),
    "two frames a packet, nothing repeated": CallConfig(header_extensions=False, frames_per_packet=2, repeats=0),
    "two frames a packet, tags of 4 bytes": CallConfig(header_extensions=False, frames_per_packet=2, auth_tag_bytes=4),
    "three frames a packet": CallConfig(header_extensions=False, frames_per_packet=3),
    "three frames a packet, nothing repeated": CallConfig(header_extensions=False, frames_per_packet=3, repeats=0),
    "four frames a packet, nothing repeated": CallConfig(header_extensions=False, frames_per_packet=4, repeats=0),
    "5 a second at rest": CallConfig(header_extensions=False, rest_fps=5.0),
    "12.5 frames a second": CallConfig(header_extensions=False, fps=12.5),
}


def levers_table(clip: Clip, model: Model, on_call: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """Return bits a second on the wire, and the delay, of one call for each setting of the levers.

    Args:
        clip: sent in real time.
        model: the networks.
        on_call: told after each call.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, config in LEVERS.items():
        frames_NSS3 = clip.frames_NSS3 if config.fps == CallConfig().fps else clip.frames_NSS3[::2]
        record = asyncio.run(make_call(frames_NSS3, model, config))
        rtp, rtcp, _ = record.up
        lateness = [late for late in map(record.lateness_s, record.sent_s) if late is not None]
        table[name] = {
            "packets_per_s": rtp.packets / record.duration_s,
            "payload_bytes_per_packet": float(np.mean(record.payload_bytes)),
            "header_bytes_per_packet": rtp.wire_bytes / rtp.packets - float(np.mean(record.payload_bytes)),
            "video_wire_kbps": 8e-3 * rtp.wire_bytes / record.duration_s,
            "rtcp_wire_kbps": 8e-3 * rtcp.wire_bytes / record.duration_s,
            "frames_shown_per_s": len(record.arrived.keys() & record.sent_s.keys()) / record.duration_s,
            "added_ms_p50": 1000 * float(np.percentile(lateness, 50)),
            "added_ms_p95": 1000 * float(np.percentile(lateness, 95)),
        }
        on_call()
    return table
