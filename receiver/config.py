"""The receiver's settings: what ``python -m receiver --help`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from codec.errors import ConfigError
from receiver.mux import CONTAINERS

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def _shown(metavar: str, default: str | None = None) -> Any:
    """Say how ``--help`` names an option's value and, in words, its default."""
    if default is None:
        return tyro.conf.arg(metavar=metavar)
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True, kw_only=True)
class ReceiverConfig:
    """Wait for a Warpcall call, rebuild the speaker's picture and show it.

    The first line printed gives the address to call (python -m sender --peer ADDRESS) and that of a page that shows the
    call in a browser. A plain WebRTC sender gets an ordinary video call. Ctrl-C ends it; a recording is finished first.
    """

    sources: Annotated[Path | None, _shown("FOLDER", "the sender sends its own")] = None
    """Reference images of the speaker (png, jpg, webp, avif, bmp)."""
    max_references: Annotated[int, _shown("N")] = 4
    """How many reference images are held; each one makes the picture better and the decoder slower."""
    host: Annotated[str, _shown("ADDRESS")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines call (give a --token then)."""
    port: Annotated[int, _shown("PORT")] = 8080
    """Port to listen on; 0 takes any free one."""
    token: Annotated[str | None, _shown("TOKEN", "none")] = None
    """Bearer token that senders and viewers must show."""
    stun: Annotated[tuple[str, ...], _shown("URI ...", "none")] = ()
    """STUN servers, as stun:host:port. None is asked unless named here."""
    turn: Annotated[tuple[str, ...], _shown("URI ...", "none")] = ()
    """TURN servers, as turn:host:port."""
    turn_username: Annotated[str | None, _shown("NAME", "none")] = None
    """User name for the TURN servers."""
    turn_password: Annotated[str | None, _shown("PASSWORD", "none")] = None
    """Password for the TURN servers."""
    weights: Annotated[Path | None, _shown("FILE", "the ones built in")] = None
    """Model weights (.safetensors with their .json beside them) for other networks than the ones built in."""
    device: str = "auto"
    """Where the generator runs: auto, cpu, cuda, cuda:1, mps."""
    threads: Annotated[int, _shown("N")] = 0
    """Threads of the networks on a CPU; 0 leaves it to PyTorch."""
    record: Annotated[Path | None, _shown("FILE", "not recorded")] = None
    """Record each call with sound (mp4, mov, mkv); the second call goes to NAME-2, and so on."""
    once: Flag = False
    """End after the first call."""
    silence_s: Annotated[float, _shown("S")] = 3.0
    """A call from which nothing came for so many seconds is over."""
    max_viewers: Annotated[int, _shown("N")] = 8
    """How many browsers may watch at a time."""
    report: Annotated[Path | None, _shown("FILE", "not written")] = None
    """Write the figures of each call as JSON when it ends; the last one stays."""
    dump: Annotated[Path | None, _shown("FILE", "not written")] = None
    """Write the pictures shown (2000 at most) with their frame numbers as a NumPy .npz file."""
    quiet: Annotated[Flag, tyro.conf.arg(aliases=["-q"])] = False
    """Show no table and no line a second; only warnings."""
    verbose: Annotated[Flag, tyro.conf.arg(aliases=["-v"])] = False
    """Log what happens in detail."""
    debug: Flag = False
    """Show a traceback on errors, and log in detail."""

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
        if self.record is not None and self.record.suffix.lower() not in CONTAINERS:
            raise ConfigError(f"--record is {self.record}; it must end in {', '.join(CONTAINERS)}")
        if self.token is not None and not self.token.strip():
            raise ConfigError("--token is empty")
        for uri in self.stun:
            if not uri.startswith(("stun:", "stuns:")):
                raise ConfigError(f"--stun is {uri}; it must look like stun:host:port")
        for uri in self.turn:
            if not uri.startswith(("turn:", "turns:")):
                raise ConfigError(f"--turn is {uri}; it must look like turn:host:port")
