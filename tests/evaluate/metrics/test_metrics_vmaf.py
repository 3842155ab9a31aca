from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from codec.errors import TrainingError
from training.evaluate.clips import Frames
from training.evaluate.metrics.vmaf import Vmaf, luma

MakePictures = Callable[..., Frames]


@pytest.fixture(scope="module")
def vmaf() -> Vmaf:
    return Vmaf()


def noisy(frames: Frames, deviation: float) -> Frames:
    noise = np.random.default_rng(0).normal(0, deviation, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def test_luma_agrees_with_ffmpeg() -> None:
    random = np.random.default_rng(0)
    # Blocks of 2x2 equal pixels, so that no chroma is averaged.
    rgb = np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), 2, 0), 2, 1)
    expected = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p").to_ndarray()[:16]
    difference = luma(rgb[None])[0].astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_more_noise_scores_lower(vmaf: Vmaf, moving_pictures: MakePictures) -> None:
    source = luma(moving_pictures(4))
    same, little, much = (vmaf.score(source, luma(noisy(moving_pictures(4), sigma))) for sigma in (0, 12, 60))
    assert same > 97 > little > 90 > much
    assert vmaf.source.name.startswith("libvmaf in FFmpeg ")


def test_frames_without_their_neighbours_keep_their_score(vmaf: Vmaf, moving_pictures: MakePictures) -> None:
    """The motion feature is the smaller of the changes before and after: pairs of neighbours do not see the gap."""
    frames = np.concatenate([moving_pictures(4), moving_pictures(4, seed=1)])
    source, received = luma(frames), luma(noisy(frames, 12))
    pairs = [2, 3, 6, 7]
    apart = [vmaf.score(source[part], received[part]) for part in (slice(2, 4), slice(6, 8))]
    assert vmaf.score(source[pairs], received[pairs]) == pytest.approx(np.mean(apart), abs=1.0)


@pytest.mark.parametrize(("step", "expected"), [(1, 99.571), (8, 99.098), (24, 95.988), (64, 57.910)])
def test_agrees_with_a_second_implementation(vmaf: Vmaf, step: int, expected: float) -> None:
    """The figures are vmaf-torch 1.1.0's, in PyTorch, of these pictures (``VMAF(temporal_pooling=True)``)."""
    y, x, channel = np.arange(96)[:, None, None], np.arange(160)[None, :, None], np.arange(3)
    waves = (
        60 * np.sin((x + 3 * t) / 9 + channel) + 45 * np.cos((y - 2 * t) / 7 - channel) * np.sin(x / 23)
        for t in range(6)
    )
    source = np.stack([(110 + wave).astype(np.uint8) for wave in waves])
    coarse = source // step * step + step // 2
    assert vmaf.score(luma(source), luma(coarse)) == pytest.approx(expected, abs=0.1)


def test_no_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(TrainingError, match=r"pip install 'warpcall\[evaluate\]'"):
        Vmaf()


def test_a_program_without_libvmaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho nothing\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(TrainingError, match="has no libvmaf"):
        Vmaf()


def test_a_program_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' ... libvmaf  VV->V'\ncat > /dev/null\necho no memory >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(TrainingError, match="VMAF failed: no memory"):
        Vmaf().score(np.zeros((2, 16, 16), np.uint8), np.zeros((2, 16, 16), np.uint8))
