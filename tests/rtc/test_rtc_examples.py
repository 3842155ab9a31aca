from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from codec import Model
from codec.rtc import registered, unregister

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    yield
    unregister()
    assert registered() is None


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip of one second."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(30):
            pixels = np.full((64, 96, 3), 8 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_peers(
    clip: Path, tmp_path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two_peers = example("two_peers")
    monkeypatch.setattr(two_peers, "load_model", lambda _: tiny_model)
    out = tmp_path / "out.mp4"
    two_peers.main(clip, out)
    assert re.match(r"X-WARPCALL: \d+ frames, \d+ bytes of payload; picture in ", capsys.readouterr().out)
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) >= 3
    assert {(frame.width, frame.height) for frame in frames} == {(64, 64)}
    assert len((EXAMPLES / "two_peers.py").read_text().splitlines()) < 60


def test_packet_delay(tiny_model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    packet_delay = example("packet_delay")
    monkeypatch.setattr(packet_delay, "random_model", lambda _: tiny_model)
    packet_delay.main(10)
    line = capsys.readouterr().out
    assert re.fullmatch(r"packet to parsed frame, 10 frames: p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms\n", line)
