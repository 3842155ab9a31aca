from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from codec.errors import TrainingError
from training.evaluate.clips import Frames
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.evaluate.peers import PEERS, SETTINGS, FFmpegPeer, Peer, Setting, scaled

MakePictures = Callable[..., Frames]
RATE = 200_000


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_really_encode(peer: Peer, setting: Setting, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(6)
    sent = peer.send(frames, 25.0, setting, 64, RATE)
    assert len(sent.frame_bytes) == 6
    assert min(sent.frame_bytes) > 0
    assert sent.frames_NSS3.shape == frames.shape
    # In order, and each its own picture: the next one in time is farther away.
    own = psnr_db(mean_squared_error(sent.frames_NSS3, frames))
    assert own.min() > 28
    assert (own[:-1] > psnr_db(mean_squared_error(sent.frames_NSS3[:-1], frames[1:]))).all()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_more_bits_are_a_better_picture(peer: Peer, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(12, size=128)
    poor, good = (peer.send(frames, 25.0, "realtime", 128, rate) for rate in (8_000, RATE))
    assert sum(good.frame_bytes) > sum(poor.frame_bytes)
    errors = [mean_squared_error(sent.frames_NSS3, frames).mean() for sent in (poor, good)]
    assert errors[1] < errors[0]


def test_smaller_frames_come_back_at_the_size_of_the_source(moving_pictures: MakePictures) -> None:
    frames = moving_pictures(3, size=128)
    sent = PEERS[0].send(frames, 29.97, "realtime", 64, RATE)
    assert sent.frames_NSS3.shape == frames.shape
    assert psnr_db(mean_squared_error(sent.frames_NSS3, frames)).min() > 25


def test_options_carry_the_rate() -> None:
    assert "vbv-maxrate=12:" in PEERS[0].options("realtime", 12_000)["x264-params"]
    assert PEERS[0].options("offline", 12_000)["preset"] == "veryslow"


def test_a_missing_encoder_says_so(moving_pictures: MakePictures) -> None:
    assert isinstance(PEERS[0], FFmpegPeer)
    peer = replace(PEERS[0], name="VVC", encoder="no-such-encoder")
    with pytest.raises(TrainingError, match="VVC: this build of PyAV lacks no-such-encoder"):
        peer.send(moving_pictures(2), 25.0, "realtime", 64, RATE)


def test_a_failing_encoder_says_so(moving_pictures: MakePictures) -> None:
    assert isinstance(PEERS[3], FFmpegPeer)
    peer = replace(PEERS[3], realtime=(("preset", "99"),))
    with pytest.raises(TrainingError, match="SVT-AV1 failed"):
        peer.send(moving_pictures(2), 25.0, "realtime", 64, RATE)


def test_scaling_to_the_same_size_changes_nothing(moving_pictures: MakePictures) -> None:
    frames = moving_pictures(2)
    assert scaled(frames, 64) is frames
    np.testing.assert_allclose(scaled(np.full_like(frames, 77), 32), 77)
