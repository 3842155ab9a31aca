"""Before stage 1: name and open what gives pictures and sound.

    --camera, --video, --test-pattern, --microphone -> Source, an open container

Cameras are read with FFmpeg's v4l2 on Linux, avfoundation on macOS and dshow on Windows; microphones with alsa,
avfoundation and dshow.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import av.device
from av.container import InputContainer

from codec.errors import CaptureError

Kind = Literal["video", "audio"]

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 3.0

# Some drivers refuse a size or a rate that they do not have: the second attempt takes what they give.
_CAMERA_OPTIONS: tuple[dict[str, str], ...] = ({"video_size": "640x480", "framerate": "30"}, {})


@dataclass(frozen=True, kw_only=True)
class Source:
    """An open container and how to read it."""

    name: str
    """What people call it: used in messages."""
    container: InputContainer
    kind: Kind
    """Which of its streams is read."""
    live: bool
    """Whether it gives frames as they happen; a played source is paced by its timestamps."""
    loop: bool = False
    """Whether it begins again at its end."""


def open_camera(camera: str) -> Source:
    """Open a camera.

    Args:
        camera: a number (0 is the first), or a device's path or name.

    Raises:
        CaptureError: there is none, or it cannot be opened.
    """
    name = f"camera {camera}"
    device, device_format = _camera_device(camera)
    problem: Exception | None = None
    for options in _CAMERA_OPTIONS:  # some drivers refuse a size or rate that they do not have
        try:
            return _source(name, "video", live=True, container=_open(device, device_format, options))
        except (av.FFmpegError, ValueError) as error:
            problem = error
    raise CaptureError(f"cannot open {name} ({device}): {reason(problem)}")


def open_microphone(microphone: str) -> Source:
    """Open a microphone.

    Args:
        microphone: a device's name; "default" takes the system's.

    Raises:
        CaptureError: there is none, or it cannot be opened.
    """
    name = f"microphone {microphone}"
    if sys.platform == "darwin":
        device, device_format = f":{microphone}", "avfoundation"
    elif sys.platform == "win32":
        device, device_format = f"audio={_first_device('audio') if microphone == 'default' else microphone}", "dshow"
    else:
        device, device_format = microphone, "alsa"
    try:
        return _source(name, "audio", live=True, container=_open(device, device_format, {}))
    except (av.FFmpegError, ValueError) as error:
        raise CaptureError(f"cannot open {name} ({device}): {reason(error)}") from error


def open_file(path: Path, kind: Kind, *, loop: bool = False) -> Source:
    """Open a file's pictures or sound.

    Raises:
        CaptureError: it is missing, unreadable or has no such stream.
    """
    try:
        container = _open(str(path), None, {})
    except (av.FFmpegError, ValueError) as error:
        raise CaptureError(f"cannot read {path}: {reason(error)}") from error
    source = _source(str(path), kind, live=False, loop=loop, container=container)
    if kind == "video":
        container.streams.video[0].thread_type = "AUTO"  # delays pictures by some frames: for files alone
    return source


def has_audio(path: Path) -> bool:
    """Return whether a file has a sound track; False when it cannot be read."""
    try:
        with av.open(str(path)) as container:
            return bool(container.streams.audio)
    except av.FFmpegError:
        return False


def open_test_pattern() -> Source:
    """Open FFmpeg's moving test picture: a camera without hardware.

    Raises:
        CaptureError: this FFmpeg was built without it.
    """
    try:
        container = _open("testsrc=size=640x480:rate=30", "lavfi", {})
    except (av.FFmpegError, ValueError) as error:
        raise CaptureError(f"no test pattern in this FFmpeg: {reason(error)}") from error
    return _source("the test pattern", "video", live=False, container=container)


def reason(error: BaseException | None) -> str:
    """Return what went wrong in a few words, without FFmpeg's number and path."""
    return getattr(error, "strerror", None) or str(error)


def _open(device: str, device_format: str | None, options: dict[str, str]) -> InputContainer:
    return av.open(device, mode="r", format=device_format, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))


def _source(name: str, kind: Kind, *, live: bool, container: InputContainer, loop: bool = False) -> Source:
    streams = container.streams.video if kind == "video" else container.streams.audio
    if not streams:
        container.close()
        raise CaptureError(f"{name} has no {kind} stream")
    return Source(name=name, container=container, kind=kind, live=live, loop=loop)


def _camera_device(camera: str) -> tuple[str, str]:
    """Return what FFmpeg calls a camera on this system: device and format."""
    if sys.platform == "darwin":
        return camera, "avfoundation"
    if sys.platform == "win32":
        return f"video={_nth_device('video', int(camera)) if camera.isdigit() else camera}", "dshow"
    return f"/dev/video{camera}" if camera.isdigit() else camera, "v4l2"


def _first_device(media_type: str) -> str:
    return _nth_device(media_type, 0)


def _nth_device(media_type: str, index: int) -> str:
    """Return the name of a DirectShow device (DirectShow knows devices by name only)."""
    names = [device.name for device in av.device.enumerate_input_devices("dshow") if media_type in device.media_types]
    if index >= len(names):
        raise CaptureError(f"no {media_type} device {index}; this system has {len(names)}")
    return names[index]
