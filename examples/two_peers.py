"""Two ordinary aiortc peers in one process: one sends a video file, the other records what it receives.

    python examples/two_peers.py [VIDEO] [OUT.mp4] [WEIGHTS.safetensors]

One call, ``register(...)``, is all that makes their video travel as keypoints; without it they would speak VP8.
"""

import asyncio
import sys
from pathlib import Path

import av
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.contrib.media import MediaPlayer, MediaRecorder

from codec import load_model
from codec.rtc import Plugin, is_negotiated, register, square_rgb

MEDIA = Path(__file__).parent / "media"


async def call(video: Path, out: Path) -> bool:
    """Send a video file from one peer to the other; return whether it went as keypoints."""
    caller, callee = RTCPeerConnection(), RTCPeerConnection()
    recorder, ended = MediaRecorder(str(out)), asyncio.Event()

    @callee.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        recorder.addTrack(track)

    track = MediaPlayer(str(video)).video
    assert track is not None, f"{video} has no video"
    track.on("ended", ended.set)
    caller.addTrack(track)
    await caller.setLocalDescription()
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription()
    await caller.setRemoteDescription(callee.localDescription)
    await recorder.start()
    await ended.wait()
    for connection in (caller, callee):
        await connection.close()
    await recorder.stop()
    return is_negotiated(callee)


def main(video: Path = MEDIA / "call.mp4", out: Path = Path("two_peers.mp4"), weights: Path | None = None) -> None:
    """Register the codec with pictures of the speaker, make the call and say what it took."""
    model = load_model(weights)
    pictures = [next(av.open(str(path)).decode(video=0)) for path in sorted(MEDIA.glob("refs/*.png"))]
    plugin = Plugin(model, references=[square_rgb(picture, model.config.image_size) for picture in pictures])
    register(plugin)
    codec = "X-WARPCALL" if asyncio.run(call(video, out)) else "another codec"
    counts = plugin.stats.snapshot()
    print(f"{codec}: {counts.frames_sent} frames, {counts.payload_bytes_sent} bytes of payload; picture in {out}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
