"""Reference pictures from a folder, for either end: read, find the face, crop as the sender crops.

folder -> image files -> codec.face.crop_reference -> Reference (S, S, 3)
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from codec.errors import FaceNotFoundError, ReferenceImageError
from codec.face.detect import Detector, FaceDetector
from codec.face.square import crop_reference

logger = logging.getLogger(__name__)

Rgb = npt.NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp")
MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A reference picture ready for the generator.

    Attributes:
        sha256: of the file's bytes, 64 hex digits.
        rgb: (S, S, 3).
        name: the file's name, for people.
    """

    sha256: str
    rgb: Rgb
    name: str


def read_image(path: Path) -> tuple[str, Rgb]:
    """Return the SHA-256 of an image file and its pixels (H, W, 3), turned upright as its EXIF says.

    Raises:
        ReferenceImageError: unreadable, no image, or absurdly large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ReferenceImageError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise ReferenceImageError(f"{path.name} is no image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ReferenceImageError(f"{path.name} cannot be read: {error}") from error
    return hashlib.sha256(data).hexdigest(), np.asarray(upright)


def read_sources(folder: Path, size: int, max_references: int, detector: Detector | None = None) -> list[Reference]:
    """Read the reference pictures of a folder, in the order of their names.

    Unusable ones are named in a warning each and left out.

    Args:
        folder: where the images are.
        size: height and width of the crops, pixels.
        max_references: how many are taken at most.
        detector: finds the faces; None for the one that ships.

    Raises:
        ReferenceImageError: not a folder, or nothing usable in it.
    """
    if not folder.is_dir():
        raise ReferenceImageError(
            f"--sources {folder}: {'it is not a folder' if folder.exists() else 'no such folder'}"
        )
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ReferenceImageError(f"--sources {folder}: no image in it ({', '.join(SUFFIXES)})")
    detector = detector or FaceDetector()
    references: dict[str, Reference] = {}
    for position, path in enumerate(paths):
        if len(references) == max_references:
            logger.warning("%d more images in %s are not used (--max-references)", len(paths) - position, folder)
            break
        try:
            sha256, rgb = read_image(path)
            crop = crop_reference(rgb, size, detector)
        except ReferenceImageError as error:
            logger.warning("not used: %s", error)
        except FaceNotFoundError:
            logger.warning("not used: %s shows no face", path.name)
        else:
            references.setdefault(sha256, Reference(sha256, crop, path.name))
    if not references:
        raise ReferenceImageError(f"--sources {folder}: none of its {len(paths)} images is usable")
    return list(references.values())
