"""Real faces: the shipped clip, and a photograph."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from codec.face import FaceDetector, FaceTracker, Picture
from codec.frames import rgb_from_frame
from sender.face import Framer
from training.prepare.__main__ import main
from training.prepare.identity import clusters, embed

WriteVideo = Callable[..., Path]
ReadVideo = Callable[[Path], list[Picture]]
CALL = Path(__file__).parents[3] / "examples" / "media" / "call.mp4"
PHOTOGRAPH = Path(__file__).parents[2] / "fixtures" / "face.jpg"
NUM_FRAMES = 45


def test_a_real_face_is_cut_as_the_sender_cuts_it(
    tmp_path: Path, write_video: WriteVideo, read_video: ReadVideo
) -> None:
    with av.open(str(CALL)) as container:
        pictures = [rgb_from_frame(frame) for frame in itertools.islice(container.decode(video=0), NUM_FRAMES)]
    video = write_video(tmp_path / "clips" / "call.mp4", pictures)
    framer = Framer(256, FaceTracker(FaceDetector(), background=False))
    with av.open(str(video)) as container:
        sent = [framer.frame(frame, round((frame.time or 0) * 1e6)) for frame in container.decode(video=0)]
    words = ["folder", "--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--jobs", "1", "--crf", "4"]
    assert main(words) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "manifest.csv").read_text().splitlines())
    assert (row["frames"], row["identity"], row["split"]) == (str(NUM_FRAMES), "face0001", "train")
    cut = read_video(tmp_path / "out" / row["file"])
    errors = [np.square(one.astype(float) - other.rgb).mean() for one, other in zip(cut, sent, strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 36  # chroma is halved and coded; a pixel's shift costs 8 dB more


def test_faces_tell_people_apart() -> None:
    detector = FaceDetector()
    photograph = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))
    with av.open(str(CALL)) as container:
        call = [rgb_from_frame(frame) for frame in container.decode(video=0)][::90]
    embeddings = [embed(rgb, detector.detect(rgb)[0]) for rgb in (*call, photograph)]
    labels = clusters(embeddings, 0.45)
    assert len(set(labels[:-1])) == 1
    assert labels[-1] not in labels[:-1]


def test_an_identical_square_for_the_same_frame(tmp_path: Path) -> None:
    """The pixels before coding are the sender's, bit by bit."""
    from codec.face import HEAD, crop
    from training.prepare.follow import FaceFollower
    from training.prepare.task import Seconds
    from training.prepare.video import read_pictures

    framer = Framer(256, FaceTracker(FaceDetector(), background=False))
    follower = FaceFollower(FaceDetector(), HEAD, None)
    with av.open(str(CALL)) as container:
        frames = container.decode(video=0)
        for frame, picture in zip(frames, read_pictures(CALL, Seconds(0, 1.2), 30), strict=False):
            sent = framer.frame(frame, round(picture.time_s * 1e6)).rgb
            square = follower.follow(picture.rgb, picture.time_s).square
            assert np.array_equal(crop(picture.rgb, square, 256), sent)
