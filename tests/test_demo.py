from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image

from tools.demo import main

REPORT_KEYS = {
    "frames_sent",
    "frames_shown",
    "payload_bits_per_s",
    "wire_bits_per_s",
    "psnr_db",
    "ssim",
    "latency_ms",
    "decoder_fps",
    "device",
    "weights_sha256",
}


@pytest.mark.timeout(300)
def test_the_demo_is_a_real_call(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--duration", "4"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report.keys() >= REPORT_KEYS
    assert 0 < report["frames_shown"] <= report["frames_sent"]
    assert 0 < report["payload_bits_per_s"] < report["wire_bits_per_s"] < 40_000
    assert report["psnr_db"] > 18
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.height == 512
    for name in ("side_by_side.mp4", "received.mp4"):
        with av.open(str(tmp_path / name)) as video:
            assert sum(1 for _ in video.decode(video=0)) > 0


@pytest.mark.timeout(300)
def test_a_receiver_that_cannot_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "refs"
    empty.mkdir()
    assert main(["--out", str(tmp_path / "out"), "--sources", str(empty)]) == 1
    assert "demo: the receiver did not start" in capsys.readouterr().err
