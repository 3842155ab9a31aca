"""The receiver's settings: what ``python -m receiver --help`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codec.errors import ConfigError

RECORDING_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


@dataclass(frozen=True, kw_only=True)
class ReceiverConfig:
    """Wait for a Warpcall call, rebuild the speaker's picture and show it.

    Opens a WHIP endpoint that ``python -m sender --peer URL`` calls, and a page that shows the call in a browser. The
    first line printed gives both addresses. Ctrl-C ends it; a recording is finished first.
    """

    sources: Path | None = None
    """Folder of reference images of the speaker (png, jpg, webp, avif, bmp). Without it the sender sends its own."""
    max_references: int = 4
    """How many reference images are held; each one makes the picture better and the decoder slower."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines call (give a --token then)."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""
    token: str | None = None
    """Bearer token that senders and viewers must show."""
    record: Path | None = None
    """Write each call, with sound, to this file (mp4, mov or mkv); a second call goes to NAME-2."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where the generator runs: auto, cpu, cuda, cuda:1, mps."""
    threads: int = 0
    """Threads of the generator on a CPU; 0 leaves it to PyTorch."""
    stun: tuple[str, ...] = ()
    """STUN servers, as stun:host:port. None is asked unless named here."""
    turn: tuple[str, ...] = ()
    """TURN servers, as turn:host:port."""
    turn_username: str | None = None
    """User name for the TURN servers."""
    turn_password: str | None = None
    """Password for the TURN servers."""
    once: bool = False
    """End after the first call."""
    report: Path | None = None
    """Write the figures of the last call as JSON when the receiver ends."""
    dump: Path | None = None
    """Write the pictures shown in the last call (2000 at most) with their frame numbers as a NumPy .npz file."""
    max_viewers: int = 8
    """How many browsers may watch at a time."""
    silence_s: float = 3.0
    """A call from which nothing came for this long is over, seconds."""
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    """Log what happens, frame by frame."""
    debug: bool = False
    """Show a traceback on errors."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range; the message gives its name and value.
        """
        for name, low, high in (
            ("max_references", 1, 16),
            ("port", 0, 65535),
            ("threads", 0, 1024),
            ("max_viewers", 0, 64),
            ("silence_s", 0.5, 60.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must lie in [{low}, {high}]")
        if self.record is not None and self.record.suffix.lower() not in RECORDING_SUFFIXES:
            raise ConfigError(f"--record is {self.record}; it must end in {', '.join(RECORDING_SUFFIXES)}")
        if self.token is not None and not self.token.strip():
            raise ConfigError("--token is empty")
        for uri in self.stun:
            if not uri.startswith(("stun:", "stuns:")):
                raise ConfigError(f"--stun is {uri}; it must look like stun:host:port")
        for uri in self.turn:
            if not uri.startswith(("turn:", "turns:")):
                raise ConfigError(f"--turn is {uri}; it must look like turn:host:port")
