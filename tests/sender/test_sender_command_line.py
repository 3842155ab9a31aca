from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sender.__main__ import main

ROOT = Path(__file__).parents[2]


def errors_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def closed_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/whip"


def test_help_names_options_with_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for expected in (
        "--camera N",
        "--video FILE",
        "--test-pattern",
        "--peer URL",
        "--no-audio",
        "--no-reconnect",
        "kbit/s",
        "(default: 30.0)",
        "(required)",
    ):
        assert expected in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--peer", "http://x/whip", "--camera", "0", "--test-pattern"],
        ["--peer", "http://x/whip", "--fps", "0"],
        ["--peer", "http://x/whip", "--fps", "fast"],
        ["--peer", "http://x/whip", "--loop"],
        ["--peer", "http://x/whip", "--frames-per-packet", "5"],
        ["--peer", "http://x/whip", "--repeats", "5"],
        ["--peer", "http://x/whip", "--microphone", "default", "--no-audio"],
        ["--peer", "http://x/whip", "--stun", "turn:x"],
        ["--peer", "http://x/whip", "--token", " "],
        ["--peer", "http://x/whip", "--no-such-option"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_a_wrong_url_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--test-pattern", "--peer", "host:8080"]) == 1
    assert errors_of(capsys) == ["sender: 'host:8080' is not a WHIP URL; it must begin with http:// or https://"]


def test_a_refused_connection_is_1(
    capsys: pytest.CaptureFixture[str], closed_url: str, tiny_weights: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    arguments = ["--test-pattern", "--peer", closed_url, "--weights", str(tiny_weights), "--report", str(report)]
    assert main(arguments) == 1
    assert errors_of(capsys) == [f"sender: cannot reach {closed_url}: Connection refused"]


def test_a_missing_camera_is_1(capsys: pytest.CaptureFixture[str], closed_url: str, tiny_weights: Path) -> None:
    arguments = ["--camera", "93", "--crop", "center", "--peer", closed_url, "--weights", str(tiny_weights)]
    assert main(arguments) == 1
    (line,) = errors_of(capsys)
    assert line.startswith("sender: cannot open camera 93 (")


def test_missing_weights_are_1(capsys: pytest.CaptureFixture[str], closed_url: str, tmp_path: Path) -> None:
    missing = tmp_path / "none.safetensors"
    assert main(["--test-pattern", "--peer", closed_url, "--weights", str(missing)]) == 1
    (line,) = errors_of(capsys)
    assert line.startswith("sender: ")
    assert "none.safetensors does not exist" in line


def test_a_malformed_stun_server_is_1(capsys: pytest.CaptureFixture[str], closed_url: str, tiny_weights: Path) -> None:
    arguments = ["--test-pattern", "--peer", closed_url, "--weights", str(tiny_weights), "--stun", "stun:a:b:c"]
    assert main(arguments) == 1
    assert errors_of(capsys) == ["sender: stun:a:b:c is no address of a STUN or TURN server"]


def test_a_report_without_a_folder_is_found_before_the_call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert main(["--test-pattern", "--peer", "http://x/whip", "--report", str(missing / "report.json")]) == 1
    assert errors_of(capsys) == [f"sender: cannot write {missing}/report.json: {missing} is not a folder"]


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--test-pattern", "--peer", "host:8080", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send one process SIGINT: Ctrl-C there goes to a whole console"
)
def test_ctrl_c_ends_the_program_in_an_orderly_way(tiny_weights: Path) -> None:
    """A listening socket that never answers keeps the sender calling until it is interrupted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/whip"
        arguments = ["--test-pattern", "--peer", url, "--weights", str(tiny_weights), "--quiet"]
        command = [sys.executable, "-m", "sender", *arguments]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            try:
                server.settimeout(60)
                with server.accept()[0]:
                    process.send_signal(signal.SIGINT)
                    _, errors = process.communicate(timeout=8)
            finally:
                process.kill()
    assert process.returncode == 0
    assert errors == ""
