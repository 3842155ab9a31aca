"""Label a frame store with face landmarks, shoulders and mattes: what ``python -m training teach`` teaches.

    frames.npy -> face mesh, pose, selfie segmentation (MediaPipe) -> landmarks.npy (F, 20, 2), mattes.npy (F, 128, 128)

MediaPipe's wheels that carry their models need NumPy 1, so this runs in an environment of its own and imports nothing
of the project:

    python3.11 -m venv LABELS && LABELS/bin/pip install mediapipe==0.10.21
    LABELS/bin/python tools/label_people.py STORE

The 18 landmarks of a face are the places of ``training.landmarks``, but for the jaw, which MediaPipe follows higher up.
Shoulders are looked for on every other frame. About 35 ms a frame on two cores. What was done is kept: the same
command goes on.
"""

# mypy: ignore-errors

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

GROUPS = (
    (58,), (152,), (288,), (105,), (334,), (168,), (4,),
    (33,), (160, 158), (153, 144), (263,), (385, 387), (373, 380),
    (61,), (291,), (13,), (14,), (17,),
)  # fmt: skip
"""Points of the face mesh whose mean each landmark is; the order is that of ``training.landmarks.GROUPS``."""
SHOULDERS = (12, 11)
"""Of the pose: the one at the left of the picture, then the other."""
SHOULDER_EVERY = 2
SMALLEST_VISIBILITY = 0.3
MATTE_SIZE = 128


class Labels:
    """The arrays beside a store's frames, written clip by clip.

    Args:
        folder: of the store.
        num_frames: in it.
    """

    def __init__(self, folder: Path, num_frames: int) -> None:
        self.folder, self.progress = folder, folder / "labels.json"
        self.num_done = json.loads(self.progress.read_text())["clips"] if self.progress.exists() else 0
        mode = "r+" if self.num_done else "w+"
        self.landmarks = self._open("landmarks", mode, np.float32, (num_frames, len(GROUPS) + len(SHOULDERS), 2))
        self.mattes = self._open("mattes", mode, np.uint8, (num_frames, MATTE_SIZE, MATTE_SIZE))
        if mode == "w+":
            self.landmarks[:] = np.nan

    def _open(self, name, mode, dtype, shape):
        return np.lib.format.open_memmap(self.folder / f"{name}.partial.npy", mode, dtype, shape)

    def note_clip(self, number: int) -> None:
        """Keep what was done so far."""
        self.landmarks.flush()
        self.mattes.flush()
        self.progress.write_text(json.dumps({"clips": number + 1}))

    def finish(self) -> None:
        """Put the arrays where they are looked for."""
        for name in ("landmarks", "mattes"):
            (self.folder / f"{name}.partial.npy").replace(self.folder / f"{name}.npy")
        self.progress.unlink()


@contextmanager
def face_and_pose() -> Iterator[tuple]:
    """Open the two networks that follow a clip."""
    from mediapipe import solutions

    with ExitStack() as stack:
        face = solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.4)
        pose = solutions.pose.Pose(model_complexity=1, smooth_landmarks=False, min_detection_confidence=0.4)
        yield stack.enter_context(face), stack.enter_context(pose)


def face_points(found) -> np.ndarray:
    """Return the landmarks of a face, (18, 2) in [-1, 1]; NaN without one."""
    if not found.multi_face_landmarks:
        return np.full((len(GROUPS), 2), np.nan)
    points = np.array([(point.x, point.y) for point in found.multi_face_landmarks[0].landmark])
    return np.stack([points[list(group)].mean(axis=0) for group in GROUPS]) * 2 - 1


def shoulder_points(found) -> np.ndarray:
    """Return the shoulders, (2, 2) in units where the picture is [-1, 1]; NaN where they are not seen."""
    points = np.full((len(SHOULDERS), 2), np.nan)
    if found.pose_landmarks:
        for row, number in enumerate(SHOULDERS):
            point = found.pose_landmarks.landmark[number]
            if point.visibility >= SMALLEST_VISIBILITY:
                points[row] = point.x * 2 - 1, point.y * 2 - 1
    return points


def label(folder: Path) -> None:
    """Label a store."""
    import cv2
    from mediapipe import solutions

    frames = np.load(folder / "frames.npy", mmap_mode="r")
    clips = json.loads((folder / "index.json").read_text())["clips"]
    labels = Labels(folder, len(frames))
    with solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segmentation:
        for number in range(labels.num_done, len(clips)):
            first = clips[number]["start"]
            with face_and_pose() as (face, pose):
                for position in range(first, clips[number]["stop"]):
                    picture = np.ascontiguousarray(frames[position])
                    matte = segmentation.process(picture).segmentation_mask
                    matte = cv2.resize(matte, (MATTE_SIZE, MATTE_SIZE), interpolation=cv2.INTER_AREA)
                    labels.mattes[position] = np.clip(np.round(matte * 255), 0, 255)
                    labels.landmarks[position, : len(GROUPS)] = face_points(face.process(picture))
                    if (position - first) % SHOULDER_EVERY == 0:
                        labels.landmarks[position, len(GROUPS) :] = shoulder_points(pose.process(picture))
            labels.note_clip(number)
            if number % 50 == 0:
                print(f"{number} of {len(clips)} clips", flush=True)
    labels.finish()


def main() -> int:
    """Run the command line; 0 is good, 1 a failure told in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="frame store made by `python -m training frames`")
    try:
        label(parser.parse_args().store)
    except (OSError, ValueError, KeyError, ImportError) as error:
        print(f"label_people: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
