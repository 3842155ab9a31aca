from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from codec import Model, load_model, random_model
from codec.bitstream.picture import encode_picture
from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.model.weights import save_weights
from codec.rtc import unregister
from codec.structs import Bye, ReferencePicture
from receiver.__main__ import main, run
from receiver.config import ReceiverConfig
from receiver.display import table

if TYPE_CHECKING:
    from tests.receiver.conftest import MakePeer, StartReceiver

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def weights(tmp_path: Path, tiny_config: CodecConfig) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, random_model(tiny_config).generator.state_dict(), tiny_config, {"made": "for a test"})
    return path


@pytest.fixture
def tiny_model(weights: Path) -> Model:
    """The sender's model: the one that the program loads."""
    return load_model(weights, "cpu")


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the program to its error; return the exit code and the last line on standard error."""
    code = main(["--port", "0", "--device", "cpu", *arguments])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return code, error.strip().splitlines()[-1]


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--sources", "--host", "--port", "--token", "--record", "--weights", "--stun", "--turn", "--once"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["--port", "many"], "many"),
        (["--port", "99999"], "--port is 99999"),
        (["--record", "out.avi"], "it must end in .mp4"),
        (["--max-references", "0"], "--max-references is 0"),
        (["--stun", "example.org"], "stun:host:port"),
        (["--turn", "example.org"], "turn:host:port"),
        (["--token", " "], "--token is empty"),
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_config_checks_itself() -> None:
    with pytest.raises(ConfigError, match="--silence-s"):
        ReceiverConfig(silence_s=0)


def test_an_empty_folder_is_one_line_and_1(capsys: pytest.CaptureFixture[str], weights: Path, tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    for folder, words in ((tmp_path / "refs", "no image in it"), (tmp_path / "absent", "no such folder")):
        code, line = error_of(capsys, "--weights", str(weights), "--sources", str(folder))
        assert code == 1
        assert line.startswith("receiver: --sources")
        assert words in line


def test_a_folder_without_faces_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.face.FaceDetector.detect", lambda self, rgb: [])  # the real one takes seconds to load
    (tmp_path / "refs").mkdir()
    Image.fromarray(np.zeros((80, 80, 3), dtype=np.uint8)).save(tmp_path / "refs" / "black.png")
    code, line = error_of(capsys, "--weights", str(weights), "--sources", str(tmp_path / "refs"))
    assert (code, "none of its 1 images is usable" in line) == (1, True)


def test_missing_weights_are_one_line_and_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert error_of(capsys, "--weights", str(tmp_path / "absent.safetensors"))[0] == 1


@pytest.mark.parametrize("option", ["--record", "--report", "--dump"])
def test_unwritable_outputs_are_found_at_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    code, line = error_of(capsys, option, str(tmp_path / "absent" / "out.mp4"))
    assert code == 1
    assert line.startswith(f"receiver: {option}")
    assert "No such file or directory" in line


def test_a_port_in_use_is_one_line_and_1(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, line = error_of(capsys, "--weights", str(weights), "--port", str(port))
    unregister()
    assert (code, line) == (1, f"receiver: cannot listen on 127.0.0.1:{port}: Address already in use")


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The program in a process of its own, and the WHIP address that it prints first."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "--port", "0", "--device", "cpu", "--threads", "1", *arguments),
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        match = re.match(r"listening on (http://127\.0\.0\.1:\d+/whip) ", line)
        assert match, line
        yield process, match[1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def coded_picture() -> ReferencePicture:
    data = encode_picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return ReferencePicture(hashlib.sha256(data).hexdigest(), data)


async def lines_until(process: asyncio.subprocess.Process, pattern: str) -> list[str]:
    """Return what the program prints up to the first line that matches."""
    assert process.stdout is not None
    lines = []
    async for line in process.stdout:
        lines.append(line.decode().rstrip())
        if re.search(pattern, lines[-1]):
            return lines
    raise AssertionError(lines)


async def test_ctrl_c_finishes_the_recording(weights: Path, tmp_path: Path, make_peer: MakePeer) -> None:
    record, report = tmp_path / "out.mp4", tmp_path / "out.json"
    arguments = ("--weights", str(weights), "--record", str(record), "--report", str(report))
    async with running(*arguments) as (process, url):
        peer = await make_peer(sound=True)
        await peer.call(url)
        assert peer.control is not None
        peer.control.send(coded_picture())
        lines = await lines_until(process, r"live X-WARPCALL .* shown [1-9]")
        assert any("payload" in line and "latency" in line for line in lines)
        assert not record.exists()
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 0, rest
        assert "Traceback" not in rest
    figures = json.loads(report.read_text())
    with av.open(str(record)) as container:
        assert sum(1 for _ in container.decode(video=0)) == figures["frames_shown"]
    assert figures["end_reason"] == "the receiver ends"
    assert figures["frames_shown"] > 0
    assert len(figures["weights_sha256"]) == 64
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


async def test_once_ends_after_the_first_call(
    weights: Path, capsys: pytest.CaptureFixture[str], make_peer: MakePeer
) -> None:
    config = ReceiverConfig(weights=weights, device="cpu", port=0, once=True)
    receiver = asyncio.create_task(run(config, Console(width=100)))
    printed = ""
    while not (match := re.search(r"listening on (\S+) ", printed)):
        assert not receiver.done()
        await asyncio.sleep(0.01)
        printed += capsys.readouterr().out
    peer = await make_peer()
    await peer.call(match[1])
    assert peer.control is not None
    peer.control.send(Bye("enough"))
    assert await receiver == 0


async def test_the_live_table_shows_the_call(start_receiver: StartReceiver, make_peer: MakePeer) -> None:
    server = await start_receiver()
    console = Console(file=io.StringIO(), width=100)
    console.print(table(server.switchboard, server.url))
    peer = await make_peer()
    await peer.call(f"{server.url}/whip")
    console.print(table(server.switchboard, server.url))
    await server.switchboard.close()
    console.print(table(server.switchboard, server.url))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for words in ("waiting for a call", f"{server.url}/whip", "X-WARPCALL", "the last call ended: the receiver ends"):
        assert words in text
