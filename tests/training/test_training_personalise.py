from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from codec import load_model
from codec.config import CodecConfig
from codec.errors import TrainingError
from codec.face import Face, Picture
from codec.model.generator import Generator
from codec.model.weights import save_weights
from training.__main__ import main
from training.dataset import FrameStore
from training.personalise import carry_priors
from training.speaker import find_videos, read_speaker, split_speaker

FACE = Path(__file__).parent.parent / "fixtures" / "face.jpg"


def record(path: Path, num_frames: int = 40) -> Path:
    picture = Image.open(FACE).convert("RGB")
    width, height = picture.width // 2 * 2 - 32, picture.height // 2 * 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            left = round(16 + 14 * np.sin(number / 3))
            rgb = np.asarray(picture.crop((left, 0, left + width, height)))
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("videos") / "me.mp4")


@pytest.fixture
def weights(tiny_config: CodecConfig, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "released" / "tiny.safetensors"
    save_weights(path, Generator(tiny_config).state_dict(), tiny_config, {})
    return path


def test_a_speaker_becomes_weights_for_a_call(
    video: Path, weights: Path, vgg: Path, lpips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--weights", weights, "--vgg", vgg, "--loss-weights", lpips_folder, "--device", "cpu", "--steps", "3"]
    out = tmp_path / "me"
    assert main(["personalise", str(video), "--out", str(out), *map(str, flags), "--perceptual-sizes", "32"]) == 0
    figures = json.loads((out / "personalise.json").read_text())
    assert figures["before"]["psnr_db"] > 5
    assert figures["after"]["psnr_db"] != figures["before"]["psnr_db"]
    assert f"--weights {out / 'tiny.safetensors'}" in capsys.readouterr().out
    before, after = load_model(weights, device="cpu"), load_model(out / "tiny.safetensors", device="cpu")
    assert after.sha256 != before.sha256
    known = before.generator.state_dict()
    for name, tensor in after.generator.state_dict().items():
        if name.startswith("detector."):
            assert torch.equal(tensor, known[name]), name


class OneFace:
    def detect(self, rgb: Picture) -> list[Face]:
        height, width = rgb.shape[:2]
        box = (0.3 * width, 0.3 * height, 0.6 * width, 0.7 * height)
        return [Face(box, 1.0, np.zeros((5, 2), np.float32))]


class NoFace:
    def detect(self, rgb: Picture) -> list[Face]:
        return []


def test_the_last_part_is_held_out(video: Path, tmp_path: Path) -> None:
    cropped = read_speaker(video, 64, OneFace(), max_seconds=1.2)
    assert cropped.frames_NSS3.shape == (30, 64, 64, 3)
    frames, clips = split_speaker([cropped], tmp_path, 64, 0.2, 2)
    store = FrameStore(frames)
    assert np.array_equal(store.frames, cropped.frames_NSS3[:24:2])
    [held_out] = clips.glob("*.mp4")
    with av.open(str(held_out)) as container:
        kept = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert kept.shape == (6, 64, 64, 3)
    assert np.abs(kept.astype(float) - cropped.frames_NSS3[24:]).mean() < 4


def test_bad_input_is_one_line(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video")
    with pytest.raises(TrainingError, match=r"broken\.mp4: cannot be decoded"):
        read_speaker(broken, 64, OneFace(), 10)
    with pytest.raises(TrainingError, match=r"me\.mp4: no face was found"):
        read_speaker(video, 64, NoFace(), 10)
    with pytest.raises(TrainingError, match=r"me\.mp4: has 5 frames; 20 are needed"):
        read_speaker(video, 64, OneFace(), 0.2)
    with pytest.raises(TrainingError, match="does not exist"):
        find_videos((tmp_path / "none",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no video file in"):
        find_videos((tmp_path / "empty",))
    with pytest.raises(TrainingError, match="give at least one video"):
        find_videos(())


def test_a_folder_gives_its_videos(video: Path) -> None:
    assert find_videos((video.parent,)) == [video]


def test_priors_of_the_keypoints_go_with_the_weights(tmp_path: Path) -> None:
    carry_priors(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.priors.safetensors").write_bytes(b"priors")
    carry_priors(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "b.priors.safetensors").read_bytes() == b"priors"
