"""Measure what the plug-in adds: from a packet's arrival to its parsed frame in the program's hands.

    python examples/packet_delay.py [FRAMES]

Two peers in one process, thirty frames a second; the receiving one takes its frames "deferred", before any generator.
"""

import asyncio
import sys
import time

from aiortc import MediaStreamTrack, RTCPeerConnection, VideoStreamTrack

from codec import preset, random_model
from codec.rtc import Plugin, ReceivedFrame, register


async def delays_ms(num_frames: int) -> list[float]:
    """Make a call and return the delay of each frame, milliseconds."""
    caller, callee = RTCPeerConnection(), RTCPeerConnection()
    tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    callee.on("track", tracks.put_nowait)
    caller.addTrack(VideoStreamTrack())
    await caller.setLocalDescription()
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription()
    await caller.setRemoteDescription(callee.localDescription)
    track = await tracks.get()
    delays = []
    for _ in range(num_frames):
        received = getattr(await track.recv(), "opaque", None)
        assert isinstance(received, ReceivedFrame)
        delays.append(1000 * (time.time() - received.arrival_time_s))
    await caller.close()
    await callee.close()
    return delays


def main(num_frames: int = 300) -> None:
    """Print the percentiles."""
    register(Plugin(random_model(preset("compact-256")), pictures="deferred"))
    delays = sorted(asyncio.run(delays_ms(num_frames)))
    percentiles = ", ".join(f"p{p} {delays[min(len(delays) - 1, len(delays) * p // 100)]:.2f} ms" for p in (50, 95, 99))
    print(f"packet to parsed frame, {num_frames} frames: {percentiles}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
