"""A peer without the codec, with another one, or that echoes what it does not know, gets an ordinary video call."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from codec.errors import SignallingError
from codec.rtc import Plugin, is_negotiated

if TYPE_CHECKING:
    from tests.rtc.conftest import Loopback, MovingSquareTrack

TIMEOUT_S = 60.0

# An aiortc program that never heard of this codec: answers the offer on stdin, reads three pictures, says their size.
ORDINARY_PEER = """
import asyncio, json, sys
from aiortc import RTCPeerConnection, RTCSessionDescription

async def main():
    connection = RTCPeerConnection()
    tracks = asyncio.Queue()
    connection.on("track", tracks.put_nowait)
    await connection.setRemoteDescription(RTCSessionDescription(json.loads(sys.stdin.readline()), "offer"))
    await connection.setLocalDescription()
    print(json.dumps(connection.localDescription.sdp), flush=True)
    track = await tracks.get()
    frames = [await track.recv() for _ in range(3)]
    print(json.dumps([[frame.width, frame.height] for frame in frames]), flush=True)
    sys.stdin.readline()
    await connection.close()

asyncio.run(main())
"""


async def test_a_peer_without_the_codec_gets_vp8(deferred: Plugin, video: MovingSquareTrack) -> None:
    connection = RTCPeerConnection()
    connection.addTrack(video)
    await connection.setLocalDescription()
    assert "X-WARPCALL" in connection.localDescription.sdp
    peer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORDINARY_PEER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        peer.stdin.write(json.dumps(connection.localDescription.sdp).encode() + b"\n")
        answer = json.loads(await peer.stdout.readline())
        assert "X-WARPCALL" not in answer
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        assert not is_negotiated(connection)
        assert json.loads(await peer.stdout.readline()) == [[96, 64]] * 3
        peer.stdin.write(b"\n")
        peer.stdin.close()
        assert await peer.wait() == 0
        await connection.close()
    assert deferred.stats.snapshot().frames_sent == 0


async def test_a_caller_without_the_codec_gets_vp8(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    def strip(sdp: str) -> str:
        return re.sub(r"a=(rtpmap|fmtp|rtcp-fb):103 [^\r]*\r\n", "", sdp).replace("SAVPF 103 ", "SAVPF ")

    loopback.caller.addTrack(video)
    await loopback.connect(change_offer=strip)
    await expect_ordinary_pictures(loopback)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("role=answer", "role=offer"),
        ("version=5", "version=4"),
        (r"model=\w{16}", "model=" + "f" * 16),
        (r"priors=\w{8}", "priors=" + "f" * 8),
    ],
    ids=["an echo", "another wire version", "another model", "other priors"],
)
async def test_an_answer_in_another_tongue_is_not_believed(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack, pattern: str, replacement: str
) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect(change_answer=lambda sdp: re.sub(pattern, replacement, sdp))
    assert not is_negotiated(loopback.caller)
    [frame] = await loopback.read(1)
    assert (frame.width, frame.height, frame.opaque) == (96, 64, None)


async def test_an_offer_of_another_model_is_answered_with_vp8(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    loopback.caller.addTrack(video)
    await loopback.connect(change_offer=lambda sdp: re.sub(r"model=\w{16}", "model=" + "f" * 16, sdp))
    await expect_ordinary_pictures(loopback)


async def test_a_peer_with_nothing_but_another_model_is_refused(
    deferred: Plugin, loopback: Loopback, video: MovingSquareTrack
) -> None:
    def only_a_foreign_codec(sdp: str) -> str:
        return re.sub(r"model=\w{16}", "model=" + "f" * 16, sdp).replace("SAVPF 103 97 98 99 100 101 102", "SAVPF 103")

    loopback.caller.addTrack(video)
    with pytest.raises(SignallingError, match="the peer's only video codec is X-WARPCALL with"):
        await loopback.connect(change_offer=only_a_foreign_codec)


async def expect_ordinary_pictures(loopback: Loopback) -> None:
    assert not is_negotiated(loopback.caller)
    assert not is_negotiated(loopback.callee)
    [frame] = await loopback.read(1)
    assert (frame.width, frame.height, frame.opaque) == (96, 64, None)
