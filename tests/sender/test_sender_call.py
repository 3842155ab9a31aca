from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codec.errors import CaptureError, ModelMismatchError, ReferenceImageError, SignallingError, VersionError
from codec.rtc import HEADER_BYTES
from codec.structs import Bye, Hello
from sender.__main__ import main
from sender.config import OutputConfig, SourceConfig
from sender.session import Session
from sender.stats import Second

if TYPE_CHECKING:
    from tests.sender.conftest import FakeReceiver, Settings

TIMEOUT_S = 30.0
FACE = Path(__file__).parents[1] / "fixtures" / "face.jpg"


async def run(session: Session) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await session.run()


def ignore(second: Second) -> None:
    return None


async def test_a_clip_arrives_with_sound_clocks_and_references(
    receiver: FakeReceiver, settings: Settings, clip: Path, tmp_path: Path
) -> None:
    report, dump = tmp_path / "report.json", tmp_path / "dump.npz"
    seconds: list[Second] = []
    config = settings(
        source=SourceConfig(video=clip, crop="center"),
        output=OutputConfig(report=report, dump=dump),
    )
    await run(Session(config, seconds.append))

    assert receiver.num_frames["video"] >= 1
    assert receiver.num_frames["audio"] >= 1
    assert type(receiver.messages[0]) is Hello
    assert {clock.media for clock in receiver.clocks} == {"video", "audio"}
    assert len(receiver.references) >= 1
    assert [bye.reason for bye in receiver.byes] == ["the source has ended"]
    assert receiver.deleted == ["1"]

    figures = json.loads(report.read_text())
    assert figures["codec"] == "X-WARPCALL"
    assert figures["frames_sent"] + figures["frames_skipped"] == 25
    assert receiver.numbers == list(range(figures["frames_sent"]))
    assert 0 < figures["payload_bits_per_s"] < figures["wire_bits_per_s"]
    packets, octets = figures["video"]["packets"], figures["video"]["payload_bytes"]
    assert figures["video"]["header_bytes"] == HEADER_BYTES * packets
    assert figures["wire_bits_per_s"] / figures["payload_bits_per_s"] == pytest.approx(
        (octets + HEADER_BYTES * packets) / octets, rel=1e-3
    )
    assert all(reference["accepted"] for reference in figures["references"])
    assert 0 < figures["frames_aligned"] <= figures["frames_sent"]
    with np.load(dump) as dumped:
        assert dumped["pictures"].shape == (figures["frames_sent"], 64, 64, 3)
        assert dumped["pictures"].dtype == np.uint8
        numbers = receiver.numbers
        assert set(numbers) <= set(dumped["numbers"].tolist())
        assert (np.diff(dumped["times_us"]) > 0).all()
    assert seconds[-1].state == "connected"


async def test_the_test_pattern_runs_until_the_duration_is_over(receiver: FakeReceiver, settings: Settings) -> None:
    seconds: list[Second] = []
    await run(Session(settings(output=OutputConfig(duration=1.5)), seconds.append))
    assert receiver.num_frames["video"] >= 1
    assert receiver.num_frames["audio"] == 0
    assert [bye.reason for bye in receiver.byes] == ["the sender stops"]


async def test_stop_ends_the_call_in_an_orderly_way(receiver: FakeReceiver, settings: Settings) -> None:
    session = Session(settings(), ignore)
    receiver.on_frame = lambda _receiver, _kind: session.stop()
    await run(session)
    assert receiver.num_frames["video"] >= 1
    assert len(receiver.byes) == 1


async def test_a_goodbye_of_the_receiver_ends_the_call(receiver: FakeReceiver, settings: Settings) -> None:
    receiver.on_frame = lambda fake, _kind: fake.say(Bye("enough")) if len(fake.numbers) == 5 else None
    await run(Session(settings(), ignore))
    assert receiver.byes == []


async def test_references_are_kept_back_from_a_receiver_that_has_some(
    receiver: FakeReceiver, settings: Settings, clip: Path
) -> None:
    assert receiver.hello is not None
    receiver.hello = dataclasses.replace(receiver.hello, reference_sha256s=("f" * 64,))
    session = Session(settings(source=SourceConfig(video=clip, crop="center")), ignore)
    await run(session)
    assert receiver.references == []
    assert receiver.num_frames["video"] >= 1


async def test_another_model_ends_the_call(receiver: FakeReceiver, settings: Settings) -> None:
    assert receiver.hello is not None
    receiver.hello = dataclasses.replace(receiver.hello, model_sha256="0" * 64)
    with pytest.raises(ModelMismatchError, match="the peer has the model tiny 000000000000, this sender tiny "):
        await run(Session(settings(), ignore))
    assert receiver.byes[0].reason.startswith("the peer has the model")


async def test_other_priors_end_the_call(receiver: FakeReceiver, settings: Settings) -> None:
    assert receiver.hello is not None
    receiver.hello = dataclasses.replace(receiver.hello, priors_sha256="0" * 64)
    with pytest.raises(ModelMismatchError, match="the peer has the bitstream priors 000000000000, this sender "):
        await run(Session(settings(), ignore))
    assert receiver.byes[0].reason.startswith("the peer has the bitstream priors")


async def test_another_wire_version_ends_the_call(receiver: FakeReceiver, settings: Settings) -> None:
    assert receiver.hello is not None
    receiver.hello = dataclasses.replace(receiver.hello, wire_version=77)
    with pytest.raises(VersionError, match="the peer speaks wire version 77, this sender 5"):
        await run(Session(settings(), ignore))


async def test_a_refusal_without_hello_is_an_error(receiver: FakeReceiver, settings: Settings) -> None:
    receiver.hello = None
    receiver.on_frame = lambda fake, _kind: fake.say(Bye("no room")) if len(fake.numbers) == 1 else None
    with pytest.raises(SignallingError, match="the peer refused the call: no room"):
        await run(Session(settings(), ignore))


async def test_the_mode_video_sends_conventional_video_in_the_same_stream(
    receiver: FakeReceiver, settings: Settings, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    config = settings(output=OutputConfig(report=report))
    config = dataclasses.replace(config, coding=dataclasses.replace(config.coding, mode="video"))
    session = Session(config, ignore)
    receiver.on_frame = lambda fake, _kind: session.stop() if fake.num_ordinary == 5 else None
    await run(session)
    assert session.book.codec == "X-WARPCALL"
    assert receiver.numbers == []
    assert receiver.num_offers == 1
    figures = json.loads(report.read_text())
    assert figures["video_frames_sent"] == figures["frames_sent"] >= 5
    assert len(receiver.byes) == 1


async def test_a_peer_without_the_codec_gets_ordinary_video(receiver: FakeReceiver, settings: Settings) -> None:
    receiver.ordinary = True
    session = Session(settings(), ignore)
    receiver.on_frame = lambda fake, _kind: session.stop() if fake.num_ordinary == 3 else None
    await run(session)
    assert session.book.codec == "VP8"
    assert receiver.numbers == []


async def test_a_peer_that_never_says_hello_is_called_again_with_ordinary_video(
    receiver: FakeReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.call.HELLO_TIMEOUT_S", 0.5)
    receiver.hello = None
    session = Session(settings(), ignore)
    receiver.on_frame = lambda fake, _kind: session.stop() if fake.num_ordinary == 3 else None
    await run(session)
    assert receiver.num_offers == 2
    assert "X-WARPCALL" in receiver.offers[0]
    assert "X-WARPCALL" not in receiver.offers[1]
    assert receiver.deleted == ["1", "2"]


async def test_a_peer_that_refuses_data_channels_is_called_again_without_one(
    receiver: FakeReceiver, settings: Settings
) -> None:
    receiver.ordinary = receiver.refuses_data = True
    session = Session(settings(), ignore)
    receiver.on_frame = lambda fake, _kind: session.stop() if fake.num_ordinary == 3 else None
    await run(session)
    assert receiver.num_offers == 2
    assert "m=application" not in receiver.offers[1]


async def test_a_receiver_that_falls_silent_is_called_again(
    receiver: FakeReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.call.SILENCE_S", 2.0)
    session = Session(settings(), ignore)

    def on_frame(fake: FakeReceiver, kind: str) -> None:
        if fake.num_offers == 1 and len(fake.numbers) == 5:
            fake.vanish()
        if fake.num_offers == 2:
            session.stop()

    receiver.on_frame = on_frame
    await run(session)
    assert session.book.num_calls == 2
    assert session.book.report(0)["calls"] == 2


async def test_no_reconnect_makes_a_lost_connection_an_error(
    receiver: FakeReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.call.SILENCE_S", 1.5)
    receiver.on_frame = lambda fake, _kind: fake.vanish() if len(fake.numbers) == 3 else None
    with pytest.raises(SignallingError, match=r"the connection was lost: nothing came from the peer for 1\.5 s"):
        await run(Session(settings(reconnect=False), ignore))


async def test_reconnecting_ends_after_its_attempts(
    receiver: FakeReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.session.BACKOFF_S", (0.01, 0.01))
    monkeypatch.setattr("sender.call.SILENCE_S", 1.5)

    def on_frame(fake: FakeReceiver, kind: str) -> None:
        fake.status = 503
        fake.vanish()

    receiver.on_frame = on_frame
    with pytest.raises(SignallingError, match=r"the connection was lost: .*/whip answered HTTP 503"):
        await run(Session(settings(), ignore))


async def test_an_answer_that_cannot_be_used_is_one_error(receiver: FakeReceiver, settings: Settings) -> None:
    receiver.answer = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 127\r\n"
    with pytest.raises(SignallingError, match=r"the answer of .*/whip cannot be used: "):
        await run(Session(settings(), ignore))


async def test_a_missing_video_is_found_before_the_call(
    receiver: FakeReceiver, settings: Settings, tmp_path: Path
) -> None:
    source = SourceConfig(video=tmp_path / "nothing.mp4", crop="center")
    with pytest.raises(CaptureError, match=r"cannot read .*nothing\.mp4: No such file or directory"):
        await run(Session(settings(source=source), ignore))
    assert receiver.num_offers == 0


async def test_the_command_line_makes_a_whole_call(
    receiver: FakeReceiver, tiny_weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--video", str(clip), "--loop", "--duration", "2.5", "--crop", "center", "--peer", receiver.url]
    arguments += ["--weights", str(tiny_weights), "--report", str(report)]
    assert await asyncio.to_thread(main, arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("state ")
    assert "codec X-WARPCALL" in shown.out.splitlines()[-1]
    assert json.loads(report.read_text())["frames_sent"] >= 1
    assert receiver.num_frames["video"] >= 1


async def test_keypoints_are_aligned_to_pictures_of_the_receiver_that_the_sender_has_too(
    receiver: FakeReceiver, settings: Settings, clip: Path, tmp_path: Path
) -> None:
    folder, report = tmp_path / "refs", tmp_path / "report.json"
    folder.mkdir()
    shutil.copy(FACE, folder / "face.jpg")
    assert receiver.hello is not None
    for held, is_aligned in ((hashlib.sha256(FACE.read_bytes()).hexdigest(), True), ("ab" * 32, False)):
        receiver.hello = dataclasses.replace(receiver.hello, reference_sha256s=(held,))
        config = settings(source=SourceConfig(video=clip, crop="center"), output=OutputConfig(report=report))
        config = dataclasses.replace(config, coding=dataclasses.replace(config.coding, sources=folder))
        await run(Session(config, ignore))
        figures = json.loads(report.read_text())
        assert figures["references"] == []
        assert (figures["frames_aligned"] > 0) == is_aligned


async def test_an_empty_folder_of_pictures_is_told(settings: Settings, tmp_path: Path) -> None:
    config = settings()
    config = dataclasses.replace(config, coding=dataclasses.replace(config.coding, sources=tmp_path))
    with pytest.raises(ReferenceImageError, match="no image in it"):
        await run(Session(config, ignore))


async def test_the_command_line_tells_a_refusal_in_one_line(
    receiver: FakeReceiver, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert receiver.hello is not None
    receiver.hello = dataclasses.replace(receiver.hello, model_sha256="0" * 64)
    arguments = ["--test-pattern", "--quiet", "--peer", receiver.url, "--weights", str(tiny_weights)]
    assert await asyncio.to_thread(main, arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sender: the peer has the model tiny 000000000000")
