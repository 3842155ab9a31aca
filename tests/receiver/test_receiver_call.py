"""Whole calls on loopback: a receiver and a small sender in one process, over real peer connections."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from codec import Decoder
from codec.bitstream.picture import encode_picture
from codec.rtc import Plugin
from codec.structs import Bye, CodedFrame, Hello, Hold, ReferencePicture, ReferenceSelection, ReferenceStatus
from receiver.config import ReceiverConfig
from receiver.generate import Rgb
from receiver.playout import Playout
from receiver.server import ReceiverServer

if TYPE_CHECKING:
    from tests.receiver.conftest import MakePeer, SendingPeer, StartReceiver

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def shown(server: ReceiverServer) -> int:
    call = server.switchboard.last_call
    return 0 if call is None else call.stats.num_shown


def coded_picture(seed: int) -> ReferencePicture:
    rgb = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_picture(rgb)
    return ReferencePicture(hashlib.sha256(data).hexdigest(), data)


def mute(peer: SendingPeer) -> None:
    """Cut the peer's line: nothing that it sends leaves any more."""

    async def lose(data: bytes) -> None:
        return

    assert peer.pc.sctp is not None
    peer.pc.sctp.transport.transport._send = lose


async def test_pictures_are_made_shown_and_counted(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver()
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    hello = await peer.wait_for(Hello)
    assert (hello.role, len(hello.reference_sha256s)) == ("receiver", 1)
    call = server.switchboard.last_call
    assert call is not None
    await until(lambda: shown(server) > 20 and call.stats.recent().latency_ms is not None)
    report = call.stats.recent()
    assert server.switchboard.state == "live"
    assert report.codec == "X-WARPCALL"
    assert report.frames_received > 10
    assert report.frames_undecodable == 0
    assert report.decoder_fps is not None
    assert report.payload_bits_per_s is not None
    assert report.wire_bits_per_s is not None
    assert 0 < report.payload_bits_per_s < report.wire_bits_per_s
    assert report.wire_bits_per_s < report.total_wire_bits_per_s
    assert report.latency_ms is not None
    assert 0 < report.latency_ms.p50 < 2000
    await peer.pc.close()
    await until(lambda: server.switchboard.state == "waiting")
    assert call.end_reason
    assert call.failures == []


async def test_the_next_call_gets_in(start_receiver: StartReceiver, make_peer: MakePeer, until: Until) -> None:
    server = await start_receiver()
    for number in (1, 2):
        peer = await make_peer()
        await peer.call(f"{server.url}/whip")
        await until(lambda: server.switchboard.state == "live" and shown(server) > 3)
        assert server.switchboard.num_calls == number
        assert peer.control is not None
        peer.control.send(Bye("enough"))
        await until(lambda: server.switchboard.state == "waiting")
        assert server.switchboard.last_call is not None
        assert server.switchboard.last_call.end_reason == "the sender left: enough"


async def test_references_come_from_the_sender(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver(num_own=0)
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    assert (await peer.wait_for(Hello)).reference_sha256s == ()
    await until(lambda: server.switchboard.state == "no references")
    assert peer.control is not None
    broken = b"no picture at all"
    peer.control.send(ReferencePicture(hashlib.sha256(broken).hexdigest(), broken))
    refused = await peer.wait_for(ReferenceStatus)
    assert not refused.accepted
    assert refused.reason
    assert shown(server) == 0
    peer.messages.clear()
    good = coded_picture(0)
    peer.control.send(good)
    taken = await peer.wait_for(ReferenceStatus)
    assert (taken.sha256, taken.accepted) == (good.sha256, True)
    await until(lambda: shown(server) > 3)
    assert server.switchboard.state == "live"
    assert server.switchboard.to_dict()["references"] == [good.sha256]


async def test_a_full_set_changes_when_the_sender_says_so(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver(ReceiverConfig(max_references=2), num_own=0)
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    pictures = [coded_picture(seed) for seed in range(3)]
    hashes = [picture.sha256 for picture in pictures]
    assert peer.control is not None
    for picture in pictures:
        peer.messages.clear()
        peer.control.send(picture)
        assert (await peer.wait_for(ReferenceStatus)).accepted
    assert server.switchboard.to_dict()["references"] == hashes[:2]
    peer.control.send(ReferenceSelection((hashes[2], hashes[0])))
    await until(lambda: server.switchboard.to_dict()["references"] == [hashes[0], hashes[2]])


async def test_a_held_picture_is_said_to_be_held(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver()
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    await until(lambda: server.switchboard.state == "live")
    assert peer.control is not None
    peer.control.send(Hold("no face is seen"))
    await until(lambda: server.switchboard.state == "held")
    assert server.switchboard.to_dict()["hold_reason"] == "no face is seen"
    peer.control.send(Hold(""))
    await until(lambda: server.switchboard.state == "live")
    assert server.switchboard.to_dict()["hold_reason"] == ""


async def test_the_sender_changes_to_video_and_back(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, plugin: Plugin
) -> None:
    server = await start_receiver()
    peer = await make_peer()
    is_video = False
    plugin.choose_codec = lambda opaque: 200_000 if is_video else None  # follows the variable
    await peer.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 2)
    call = server.switchboard.last_call
    assert call is not None
    for codec in ("H264", "X-WARPCALL"):
        is_video = codec == "H264"
        await until(lambda expected=codec: call.stats.codec == expected)  # type: ignore[misc]
        before = shown(server)
        await until(lambda least=before: shown(server) > least + 2)  # type: ignore[misc]
    report = call.stats.total()
    assert report.frames_undecodable == 0
    assert report.payload_bits_per_s is not None
    assert report.payload_bits_per_s > 8 * 20 * 10


async def test_references_of_a_sender_that_was_cut_off_wait_for_it(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver(num_own=0)
    picture = coded_picture(0)
    for expected, farewell in (((), None), ((picture.sha256,), Bye("done")), ((), Bye("done"))):
        peer = await make_peer()
        await peer.call(f"{server.url}/whip")
        assert (await peer.wait_for(Hello)).reference_sha256s == expected
        assert peer.control is not None
        if not expected:
            peer.control.send(picture)
            await peer.wait_for(ReferenceStatus)
        if farewell is not None:
            peer.control.send(farewell)
        else:
            await peer.pc.close()
        await until(lambda: server.switchboard.state == "waiting")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wire_version": 99}, "wire version 99"),
        ({"model_sha256": "ab" * 32}, "the sender's model is tiny abababababab"),
        ({"priors_sha256": "cd" * 32}, "the sender's bitstream priors are cdcdcdcdcdcd, the receiver's "),
    ],
)
async def test_a_peer_of_another_version_or_model_is_told_so(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, change: dict[str, object], words: str
) -> None:
    server = await start_receiver()
    peer = await make_peer()
    peer.hello = replace(peer.hello, **change)  # type: ignore[arg-type]
    await peer.call(f"{server.url}/whip")
    assert words in (await peer.wait_for(Bye)).reason
    await until(lambda: server.switchboard.state == "waiting")
    assert server.switchboard.failures == []
    another = await make_peer()
    await another.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 0)


async def test_a_plain_peer_gets_an_ordinary_call(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, tmp_path: Path
) -> None:
    config = ReceiverConfig(record=tmp_path / "out.mp4", dump=tmp_path / "out.npz", report=tmp_path / "out.json")
    server = await start_receiver(config, num_own=0)
    peer = await make_peer(ordinary=True, sound=True, size=96)
    await peer.call(f"{server.url}/whip")
    call = server.switchboard.last_call
    assert call is not None
    await until(lambda: shown(server) > 20)
    assert server.switchboard.state == "live"
    await peer.pc.close()
    await until(lambda: server.switchboard.state == "waiting")
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["codec"] == "VP8"
    assert report["frames_shown"] == report["frames_received"] == call.stats.num_shown
    assert report["payload_bits_per_s"] is None
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) > 20
    assert (frames[0].width, frames[0].height) == (96, 96)
    red, green = frames[-1].to_ndarray(format="rgb24")[..., :2].reshape(-1, 2).max(axis=0)
    assert red > green + 40  # the red bar, as it was sent


async def test_a_call_is_recorded_with_sound(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, tmp_path: Path
) -> None:
    config = ReceiverConfig(record=tmp_path / "out.mp4", dump=tmp_path / "out.npz")
    server = await start_receiver(config)
    peer = await make_peer(sound=True)
    await peer.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 30)
    await server.switchboard.close()
    assert server.switchboard.last_call is not None
    assert server.switchboard.last_call.end_reason == "the receiver ends"
    assert (await peer.wait_for(Bye)).reason == "the receiver ends"
    with av.open(str(tmp_path / "out.mp4")) as container:
        num_pictures = sum(1 for _ in container.decode(video=0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        loudest = max(float(np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0))
    assert loudest > 0.1
    with np.load(tmp_path / "out.npz") as dump:
        assert len(dump["numbers"]) == len(dump["pictures"]) == shown(server)
        assert np.all(np.diff(dump["times_us"]) >= 0)
    assert num_pictures == shown(server)


async def test_a_sender_that_falls_silent_is_given_up(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until
) -> None:
    server = await start_receiver(ReceiverConfig(silence_s=0.5))
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 3)
    mute(peer)
    await until(lambda: server.switchboard.state == "waiting")
    assert server.switchboard.last_call is not None
    assert server.switchboard.last_call.end_reason == "nothing came from the sender for 0.5 s"


async def test_a_silent_call_gives_way(start_receiver: StartReceiver, make_peer: MakePeer, until: Until) -> None:
    server = await start_receiver(ReceiverConfig(silence_s=60))
    first = await make_peer()
    await first.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 3)
    mute(first)
    call = server.switchboard.last_call
    assert call is not None
    await until(lambda: call.silent_s > 1.0)
    second = await make_peer()
    await second.call(f"{server.url}/whip")
    assert call.end_reason == "another sender took the place of a silent one"
    await until(lambda: shown(server) > 3)
    assert server.switchboard.num_calls == 2


async def test_a_sender_that_never_connects_is_given_up(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.session.CONNECT_TIMEOUT_S", 0.3)
    server = await start_receiver()
    peer = await make_peer()
    monkeypatch.setattr(peer.pc, "setRemoteDescription", lambda _: asyncio.sleep(0))
    await peer.post(f"{server.url}/whip")
    await until(lambda: server.switchboard.state == "waiting")
    assert server.switchboard.last_call is not None
    assert "did not connect" in server.switchboard.last_call.end_reason
    assert not server.switchboard.first_ended.is_set()


async def test_a_failing_generator_ends_the_call_but_not_the_receiver(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Decoder, frame: CodedFrame) -> Rgb:
        raise RuntimeError("out of memory")

    server = await start_receiver()
    peer = await make_peer()
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "generate", fail)
        await peer.call(f"{server.url}/whip")
        assert (await peer.wait_for(Bye)).reason == "the receiver failed: RuntimeError"
        await until(lambda: server.switchboard.state == "waiting")
    assert server.switchboard.failures == ["the call failed: RuntimeError: out of memory"]
    another = await make_peer()
    await another.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 3)


async def test_a_failing_recording_does_not_end_the_call(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, tmp_path: Path
) -> None:
    server = await start_receiver(ReceiverConfig(record=tmp_path / "absent" / "out.mp4"))
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 20)
    await peer.pc.close()
    await until(lambda: server.switchboard.state == "waiting")
    assert len(server.switchboard.failures) == 1
    assert "cannot record to" in server.switchboard.failures[0]


async def test_undecodable_packets_are_counted_and_the_call_goes_on(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, plugin: Plugin
) -> None:
    server = await start_receiver()
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 3)
    plugin.stats.add(undecodable_dropped=2, late_dropped=1)  # as the plug-in counts them, which its own tests show
    call = server.switchboard.last_call
    assert call is not None
    await until(lambda: call.stats.recent().frames_undecodable == 2)
    assert call.stats.recent().frames_late == 1
    before = shown(server)
    await until(lambda: shown(server) > before + 3)


async def test_an_unforeseen_failure_leaves_room_for_the_next_call(
    start_receiver: StartReceiver, make_peer: MakePeer, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Playout) -> None:
        raise RuntimeError("unforeseen")

    server = await start_receiver()
    peer = await make_peer()
    with monkeypatch.context() as patch:
        patch.setattr(Playout, "show_rest", fail)
        await peer.call(f"{server.url}/whip")
        await until(lambda: shown(server) > 3)
        await peer.pc.close()
        await until(lambda: server.switchboard.state == "waiting")
    assert server.switchboard.failures == ["the call failed: RuntimeError: unforeseen"]
    another = await make_peer()
    await another.call(f"{server.url}/whip")
    await until(lambda: shown(server) > 3)
