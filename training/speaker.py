"""One speaker's videos, cropped as the sender crops its camera: frames to train on, and a last part held out.

    video -> read_pictures -> FaceTracker, crop -> first part -> frame store;  last part -> mp4 clip, for the evaluation

The crop is ``codec.face``, the sender's own, so that the model sees what it will see in a call.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from codec.errors import TrainingError
from codec.face import Detector, FaceTracker, crop
from codec.frames import frame_from_rgb
from training.dataset import Frames, write_store
from training.prepare.task import Seconds
from training.prepare.video import read_pictures

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
MAX_FPS = 30.0
LEAST_FRAMES = 20
HELD_OUT_CRF = "8"


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerVideo:
    """A cropped video.

    Attributes:
        name: of its file.
        frames_NSS3: pictures, uint8 RGB.
        fps: frames a second.
    """

    name: str
    frames_NSS3: Frames
    fps: Fraction


def find_videos(paths: tuple[Path, ...]) -> list[Path]:
    """Return video files, and those in folders by name.

    Raises:
        TrainingError: there is none, or a path does not exist.
    """
    if not paths:
        raise TrainingError("give at least one video file or folder")
    videos: list[Path] = []
    for path in paths:
        if not path.exists():
            raise TrainingError(f"{path} does not exist")
        if path.is_dir():
            videos += sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
        else:
            videos.append(path)
    if not videos:
        raise TrainingError(f"no video file in {', '.join(map(str, paths))}")
    return videos


def read_speaker(path: Path, size: int, detector: Detector, max_seconds: float) -> SpeakerVideo:
    """Decode a video and crop the face in it.

    Args:
        path: any video with one speaker.
        size: height and width of the crops, pixels.
        detector: finds the face.
        max_seconds: what comes later is left.

    Raises:
        TrainingError: it cannot be decoded, shows no face or is too short.
    """
    tracker, frames, times_s = FaceTracker(detector, background=False), [], []
    try:
        for picture in read_pictures(path, Seconds(0.0, max_seconds), MAX_FPS):
            square = tracker.update(picture.rgb, picture.time_s)
            frames.append(crop(picture.rgb, square, size))
            times_s.append(picture.time_s)
    except TrainingError as error:
        raise TrainingError(f"{path.name}: {error}") from error
    if len(frames) < LEAST_FRAMES:
        raise TrainingError(f"{path.name}: has {len(frames)} frames; {LEAST_FRAMES} are needed")
    if tracker.face is None:
        raise TrainingError(f"{path.name}: no face was found")
    fps = Fraction(len(times_s) - 1) / Fraction(times_s[-1] - times_s[0]).limit_denominator(1000)
    return SpeakerVideo(path.stem, np.stack(frames), fps.limit_denominator(1001))


def split_speaker(
    videos: list[SpeakerVideo], out: Path, size: int, held_out_share: float, stride: int
) -> tuple[Path, Path]:
    """Write the first part of each video to a frame store, and its last part as a clip.

    Args:
        videos: cropped.
        out: folder to write.
        size: height and width of the crops, pixels.
        held_out_share: share of each video that is kept from training.
        stride: every n-th frame is trained on; neighbours hardly differ.

    Returns:
        The store, and the folder of clips held out.
    """
    parts, clips = [], out / "held-out"
    clips.mkdir(parents=True, exist_ok=True)
    for number, video in enumerate(videos):
        end = round(len(video.frames_NSS3) * (1 - held_out_share))
        parts.append((f"speaker-{number}", video.frames_NSS3[:end:stride]))
        write_clip(clips / f"{number}-{video.name}.mp4", video.frames_NSS3[end:], video.fps)
        logger.info("%s: %d frames to train on, %d held out", video.name, end, len(video.frames_NSS3) - end)
    write_store(out / "frames", size, parts)
    return out / "frames", clips


def write_clip(path: Path, frames_NSS3: Frames, fps: Fraction) -> None:
    """Write pictures as H.264 that loses next to nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": HELD_OUT_CRF})
        stream.height, stream.width = frames_NSS3.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, rgb in enumerate(frames_NSS3):
            frame = frame_from_rgb(rgb)
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def count_frames(path: Path) -> int:
    """Return how many frames a clip says it has."""
    with av.open(str(path)) as container:
        return container.streams.video[0].frames
