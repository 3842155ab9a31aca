"""Evaluation, the FFmpeg program: found, asked for its version, run on bytes.

    bytes -> ffmpeg ... -i pipe:0 ... pipe:1 -> bytes

The comparison codecs run in a program of their own and not in this process: its command line can be pasted into a
shell, it carries encoders that PyAV's libraries lack (VVC), and an encoder that crashes takes no result with it. The
package imageio-ffmpeg brings such a program; any other one will do.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from codec.errors import TrainingError

TIMEOUT_S = 900.0
NAME = "ffmpeg"


@dataclass(frozen=True, slots=True)
class Output:
    """What the program gave.

    Attributes:
        data: standard output.
        log: standard error.
    """

    data: bytes
    log: str


@dataclass(frozen=True, slots=True)
class FFmpeg:
    """One FFmpeg program.

    Attributes:
        program: its path, or a name to look up.
        timeout_s: after so long it is given up.
    """

    program: str
    timeout_s: float = TIMEOUT_S

    def run(self, arguments: list[str], data: bytes = b"") -> Output:
        """Run it with bytes on its standard input.

        Args:
            arguments: words after the program's name.
            data: its standard input.

        Raises:
            TrainingError: it cannot be started, fails, or takes too long; the message is the reason alone.
        """
        try:
            done = subprocess.run(
                [self.program, "-hide_banner", *arguments], input=data, capture_output=True, timeout=self.timeout_s
            )
        except OSError as error:
            raise TrainingError(f"{self.program} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise TrainingError(f"gave up after {self.timeout_s:g} s") from error
        log = done.stderr.decode(errors="replace")
        if done.returncode != 0:
            raise TrainingError(_reason(log) or f"ended with {done.returncode}")
        return Output(done.stdout, log)

    def version(self) -> str:
        """Return its version, such as ``n9.0.2``.

        Raises:
            TrainingError: it cannot be run.
        """
        return _version(self)


@cache
def _version(ffmpeg: FFmpeg) -> str:
    words = ffmpeg.run(["-version"]).data.decode(errors="replace").split()
    return words[2] if words[:2] == [NAME, "version"] else "unknown"


def _reason(log: str) -> str:
    """Return the first line that tells of an error, without FFmpeg's addresses."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in ("error", "unknown", "invalid", "fail"))]
    line = (telling or lines[-1:] or [""])[0]
    return line.split("] ", 1)[-1] if line.startswith("[") else line


def find_ffmpeg(path: Path | None = None) -> FFmpeg:
    """Return the program to use: the one named, else imageio-ffmpeg's, else the one on the path.

    Raises:
        TrainingError: there is none.
    """
    if path is not None:
        found = FFmpeg(str(path))
        found.version()
        return found
    try:
        return FFmpeg(str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()))
    except (ImportError, RuntimeError):
        on_path = shutil.which(NAME)
    if on_path is None:
        raise TrainingError("no ffmpeg for the comparison codecs: pip install 'warpcall[evaluate]', or give --ffmpeg")
    return FFmpeg(on_path)
