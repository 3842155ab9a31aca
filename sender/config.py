"""The sender's settings: what ``python -m sender --help`` shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from codec.errors import ConfigError

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def _shown(metavar: str, default: str | None = None) -> Any:
    """Say how ``--help`` names an option's value and, in words, its default."""
    if default is None:
        return tyro.conf.arg(metavar=metavar)
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where picture and sound come from."""

    camera: Annotated[str | None, _shown("N", "0, when no other source is named")] = None
    """Camera: its number, or a device's path or name."""
    video: Annotated[Path | None, _shown("FILE", "none")] = None
    """Video file, played in real time; the call ends with it."""
    test_pattern: Flag = False
    """FFmpeg's moving test picture: a camera without hardware."""
    loop: Flag = False
    """Begin the video again at its end."""
    microphone: Annotated[str | None, _shown("NAME", "none")] = None
    """Microphone: "default" or a device's name. Without it, a video's own sound is sent."""
    audio: bool = True
    """Send sound, if there is any."""
    crop: Literal["face", "center"] = "face"
    """Which square of the picture is sent: around the face, steadily following it, or the picture's middle."""


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Who is called, and how."""

    peer: Annotated[str, _shown("URL")]
    """URL of the receiver's WHIP endpoint, such as http://host:8080/whip."""
    token: Annotated[str | None, _shown("TOKEN", "none")] = None
    """Bearer token that the endpoint asks for."""
    stun: Annotated[tuple[str, ...], _shown("URI ...", "none")] = ()
    """STUN servers, as stun:host:port. None is asked unless named here or by the endpoint."""
    turn: Annotated[tuple[str, ...], _shown("URI ...", "none")] = ()
    """TURN servers, as turn:host:port."""
    turn_username: Annotated[str | None, _shown("NAME", "none")] = None
    """User name for the TURN servers."""
    turn_password: Annotated[str | None, _shown("PASSWORD", "none")] = None
    """Password for the TURN servers."""
    reconnect: bool = True
    """Call again when the connection is lost: five attempts, over 15 seconds."""


@dataclass(frozen=True, kw_only=True)
class CodingConfig:
    """How pictures and sound are coded."""

    weights: Annotated[Path | None, _shown("FILE", "the ones built in")] = None
    """Model weights (.safetensors with their .json beside them) for other networks than the ones built in."""
    device: str = "auto"
    """Where the keypoint detector runs: auto, cpu, cuda, cuda:1, mps."""
    threads: Annotated[int, _shown("N")] = 1
    """Threads of the networks on a CPU: more are a little faster on an idle machine and far slower on a busy one. 0
    leaves it to PyTorch."""
    fps: Annotated[float, _shown("FPS")] = 30.0
    """Most pictures a second. Headers cost more than keypoints, so this sets the bitrate."""
    max_kbps: Annotated[float, _shown("KBPS", "no limit")] = 0.0
    """Most kbit/s of pictures, headers included: pictures share packets, then there are fewer of them."""
    repeats: Annotated[int, _shown("N")] = 2
    """Pictures before it that each packet sends once more: so many lost packets in a row cost nothing."""
    frames_per_packet: Annotated[int, _shown("N", "1, and up to 3 on a link too thin for it")] = 0
    """Pictures that share a packet, 1 to 4: fewer headers, and 40 ms more delay for each at 25 a second. Those on the
    way to the next are interpolated."""
    step: Literal["auto", "fine", "usual", "coarse"] = "auto"
    """Step of the quantiser: finer ones take more bits for a better picture. Auto is usual, and coarse on a link so
    thin that pictures would be left out."""
    sources: Annotated[Path | None, _shown("FOLDER", "none")] = None
    """The receiver's own reference images (the folder of its --sources), to align keypoints to those that it names."""
    align: Literal["auto", "on", "off"] = "auto"
    """Align keypoints to the references that the receiver holds: better pictures of the same bits, for some 10 ms
    a picture. With auto, while there is time for it between pictures."""
    header_extensions: bool = True
    """Send beside the pictures when each packet left: 8 bytes a packet. Without it the receiver judges the link less
    well."""
    auth_tag_bytes: Literal[4, 10, 16] = 10
    """Bytes of each packet that authenticate it: 10 by HMAC-SHA1-80, as every WebRTC peer can, 16 by AES-GCM; 4 by
    HMAC-SHA1-32, easier to forge (one packet in 4 thousand million passes). A peer that cannot has another."""
    rest_fps: Annotated[float, _shown("FPS", "as many as ever")] = 0.0
    """Least pictures a second while the face keeps still, such as 5: what the receiver shows is right already."""
    mode: Literal["auto", "keypoints", "video"] = "keypoints"
    """How pictures are sent: as keypoints, as conventional video (H.264), or as whichever looks better at what the link
    carries. With auto, what keypoints cannot show goes as video or, on a thin link, holds the last good picture."""
    crossover_kbps: Annotated[float, _shown("KBPS")] = 45.0
    """From how many kbit/s on, headers included, conventional video is the better picture: for --mode auto. Measured
    by benchmarks/crossover.py, in LPIPS-Alex."""
    video_kbps: Annotated[float, _shown("KBPS")] = 250.0
    """Most kbit/s of conventional video, headers included."""
    references: Annotated[int, _shown("N")] = 4
    """How many pictures of the speaker the receiver is to hold when it has none; 0 sends none. The best ones of the
    call are sent as it goes on, the others forgotten."""
    reference_quality: Annotated[int, _shown("Q")] = 50
    """Quality of these pictures, 1 to 100: 50 makes 2 to 4 kB each, 75 twice as much."""
    audio_kbps: Annotated[float, _shown("KBPS")] = 16.0
    """Opus bitrate, kbit/s, headers not included."""
    audio_packet_ms: Literal[20, 40, 60] = 40
    """Sound in a packet, milliseconds: longer ones cost fewer headers and more delay."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is shown and kept."""

    duration: Annotated[float, _shown("S", "until the source ends")] = math.inf
    """End the call after this many seconds."""
    report: Annotated[Path | None, _shown("FILE", "not written")] = None
    """Write the final figures as JSON."""
    dump: Annotated[Path | None, _shown("FILE", "not written")] = None
    """Write the coded squares (2000 at most) with their frame numbers as a NumPy .npz file."""
    quiet: Annotated[Flag, tyro.conf.arg(aliases=["-q"])] = False
    """Show no table and no line a second."""
    verbose: Annotated[Flag, tyro.conf.arg(aliases=["-v"])] = False
    """Log what happens."""
    debug: Flag = False
    """Show a traceback on errors, and log everything."""


@dataclass(frozen=True, kw_only=True)
class SenderConfig:
    """Call a Warpcall receiver: send a face as keypoints.

    Finds the face, follows it, and sends 20 keypoints a picture over WebRTC, with sound. A receiver without the codec
    gets ordinary video. Ctrl-C ends the call.
    """

    source: SourceConfig = field(default_factory=SourceConfig)
    peer: PeerConfig
    coding: CodingConfig = field(default_factory=CodingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        """Check ranges and combinations.

        Raises:
            ConfigError: a setting is out of range or contradicts another; the message names it.
        """
        self._check_source()
        for name, value, low, high in (
            ("threads", self.coding.threads, 0, 1024),
            ("fps", self.coding.fps, 1, 120),
            ("max-kbps", self.coding.max_kbps, 0, 10_000),
            ("repeats", self.coding.repeats, 0, 4),
            ("frames-per-packet", self.coding.frames_per_packet, 0, 4),
            ("rest-fps", self.coding.rest_fps, 0, 120),
            ("crossover-kbps", self.coding.crossover_kbps, 1, 10_000),
            ("video-kbps", self.coding.video_kbps, 20, 4_000),
            ("references", self.coding.references, 0, 16),
            ("reference-quality", self.coding.reference_quality, 1, 100),
            ("audio-kbps", self.coding.audio_kbps, 6, 510),
            ("duration", self.output.duration, 0.1, math.inf),
        ):
            if not low <= value <= high:
                raise ConfigError(f"--{name} is {value:g}; it must lie in [{low}, {high}]")
        if self.peer.token is not None and not self.peer.token.strip():
            raise ConfigError("--token is empty")
        for name, uris in (("stun", self.peer.stun), ("turn", self.peer.turn)):
            for uri in uris:
                if not uri.startswith((f"{name}:", f"{name}s:")):
                    raise ConfigError(f"--{name} is {uri}; it must look like {name}:host:port")

    def _check_source(self) -> None:
        source = self.source
        if sum((source.camera is not None, source.video is not None, source.test_pattern)) > 1:
            raise ConfigError("--camera, --video and --test-pattern exclude each other")
        if source.loop and source.video is None:
            raise ConfigError("--loop needs a --video")
        if source.microphone is not None and not source.audio:
            raise ConfigError("--microphone and --no-audio exclude each other")
