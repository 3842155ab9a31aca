from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codec.errors import TrainingError
from codec.frames import frame_from_rgb
from training.evaluate.clips import Frames
from training.evaluate.ffmpeg import FFmpeg, Output
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.evaluate.peer_table import PEERS, VVENC, X264
from training.evaluate.peers import SETTINGS, FFmpegPeer, Mode, Peer, Rung, Setting, encoder_version, scaled

MakePictures = Callable[..., Frames]
FINE = {"kbit/s": 200, "CRF": 20, "QP": 22}
COARSE = {"kbit/s": 8, "CRF": 50, "QP": 50}


def rung(peer: Peer, setting: Setting, targets: dict[str, int], scale: int = 1) -> Rung:
    return Rung(scale, targets[peer.mode(setting).unit])


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_really_encode(ffmpeg: FFmpeg, peer: Peer, setting: Setting, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(6)
    sent = peer.send(ffmpeg, frames, 25.0, setting, rung(peer, setting, FINE))
    assert len(sent.frame_bytes) == 6
    assert min(sent.frame_bytes) > 0
    assert sent.frames_NSS3.shape == frames.shape
    # In order, and each its own picture: the next one in time is farther away.
    own = psnr_db(mean_squared_error(sent.frames_NSS3, frames))
    assert own.min() > 28
    assert (own[:-1] > psnr_db(mean_squared_error(sent.frames_NSS3[:-1], frames[1:]))).all()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_more_bits_are_a_better_picture(ffmpeg: FFmpeg, peer: Peer, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(12, size=128)
    poor, good = (peer.send(ffmpeg, frames, 25.0, "realtime", rung(peer, "realtime", at)) for at in (COARSE, FINE))
    assert sum(good.frame_bytes) > sum(poor.frame_bytes)
    errors = [mean_squared_error(sent.frames_NSS3, frames).mean() for sent in (poor, good)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_real_time_has_no_delay_and_one_keyframe(
    ffmpeg: FFmpeg, peer: FFmpegPeer, moving_pictures: MakePictures
) -> None:
    """A frame's packet must not depend on frames that come after it."""
    frames = moving_pictures(9)
    changed = frames.copy()
    changed[6:] = 255 - changed[6:]
    whole, other = (
        peer.send(ffmpeg, pictures, 25.0, "realtime", rung(peer, "realtime", FINE)) for pictures in (frames, changed)
    )
    assert whole.frame_bytes[:6] == other.frame_bytes[:6]
    assert whole.frame_bytes[0] > max(whole.frame_bytes[1:])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_the_kept_command_gives_the_counted_bytes(
    ffmpeg: FFmpeg, peer: FFmpegPeer, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    frames = moving_pictures(4)
    sent = peer.send(ffmpeg, frames, 30000 / 1001, "realtime", rung(peer, "realtime", FINE))
    words = shlex.split(sent.command)
    assert words[0] == "ffmpeg"
    planes = b"".join(frame_from_rgb(rgb).to_ndarray().tobytes() for rgb in frames)
    subprocess.run([ffmpeg.program, "-v", "error", *words[1:]], input=planes, cwd=tmp_path, check=True)
    container = 32 + 12 * len(frames) if peer.container == "ivf" else 0
    assert (tmp_path / words[-1]).stat().st_size == sum(sent.frame_bytes) + container


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_versions_are_known(ffmpeg: FFmpeg, peer: FFmpegPeer) -> None:
    name, *version = encoder_version(ffmpeg, peer).split()
    assert name == peer.encoder
    assert any(character.isdigit() for character in "".join(version))


def test_smaller_frames_come_back_at_the_size_of_the_source(ffmpeg: FFmpeg, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(3, size=128)
    sent = X264.send(ffmpeg, frames, 30000 / 1001, "realtime", Rung(2, 200))
    assert sent.frames_NSS3.shape == frames.shape
    assert "-video_size 64x64 -framerate 30000/1001" in sent.command
    assert psnr_db(mean_squared_error(sent.frames_NSS3, frames)).min() > 25


def test_options_carry_the_target() -> None:
    assert "-b:v 12k -maxrate 12k -bufsize 12k" in " ".join(X264.arguments(25.0, "realtime", 64, 12))
    assert "-preset veryslow -crf 44" in " ".join(X264.arguments(25.0, "offline", 64, 44))


def test_a_missing_encoder_says_so(ffmpeg: FFmpeg, moving_pictures: MakePictures) -> None:
    peer = replace(VVENC, encoder="no-such-encoder")
    with pytest.raises(TrainingError, match="VVenC: this build of ffmpeg lacks no-such-encoder"):
        peer.send(ffmpeg, moving_pictures(2), 25.0, "realtime", Rung(1, 40))


def test_a_failing_encoder_says_so(ffmpeg: FFmpeg, moving_pictures: MakePictures) -> None:
    peer = replace(X264, realtime=Mode(("-preset", "no-such-preset"), "kbit/s"))
    with pytest.raises(TrainingError, match=r"x264 failed: .*preset"):
        peer.send(ffmpeg, moving_pictures(2), 25.0, "realtime", Rung(1, 40))


def test_an_encoder_that_writes_nothing_is_asked_again(
    ffmpeg: FFmpeg, moving_pictures: MakePictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []
    real = FFmpeg.run

    def forgetful(self: FFmpeg, arguments: list[str], data: bytes = b"") -> Output:
        if "-stats_mux_pre" not in arguments:
            return real(self, arguments, data)
        runs.append(arguments)
        if len(runs) == 2:
            return real(self, arguments, data)
        Path(arguments[arguments.index("-stats_mux_pre") + 1]).write_text("")
        return Output(b"", "")

    monkeypatch.setattr(FFmpeg, "run", forgetful)
    assert len(X264.send(ffmpeg, moving_pictures(2), 25.0, "realtime", Rung(1, 40)).frame_bytes) == 2
    with pytest.raises(TrainingError, match="x264 failed: it wrote nothing"):
        X264.send(ffmpeg, moving_pictures(2), 25.0, "realtime", Rung(1, 40))


def test_scaling_to_the_same_size_changes_nothing(moving_pictures: MakePictures) -> None:
    frames = moving_pictures(2)
    assert scaled(frames, 64) is frames
    np.testing.assert_allclose(scaled(np.full_like(frames, 77), 32), 77)
