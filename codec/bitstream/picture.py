"""Stages 3 to 5 of 8 for reference pictures: a square picture to a small file, and back.

    rgb (S, S, 3) uint8 --encode_picture--> AVIF (or WebP) bytes --decode_picture--> rgb (S, S, 3) uint8

A picture from the network is hostile: its bytes, its format and the size that it claims are checked before its pixels
are decoded.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from codec.errors import ConfigError, ReferenceImageError

Picture = npt.NDArray[np.uint8]

MAX_PICTURE_BYTES = 512 * 1024
MAX_PICTURE_SIDE = 4096
FORMATS = ("AVIF", "WEBP", "JPEG", "PNG")
DEFAULT_QUALITY = 65


def encode_picture(rgb: Picture, *, quality: int = DEFAULT_QUALITY) -> bytes:
    """Encode a square picture as AVIF, or as WebP where Pillow was built without AVIF.

    Args:
        rgb: (S, S, 3).
        quality: 0 to 100.

    Raises:
        ConfigError: another shape or type, or quality out of range.
        ReferenceImageError: the file would be larger than a receiver accepts.
    """
    if rgb.ndim != 3 or rgb.shape[0] != rgb.shape[1] or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ConfigError(f"picture has shape {rgb.shape} and type {rgb.dtype}; it must be (S, S, 3) of uint8")
    if not 1 <= rgb.shape[0] <= MAX_PICTURE_SIDE:
        raise ConfigError(f"picture is {rgb.shape[0]} pixels wide; it must lie in [1, {MAX_PICTURE_SIDE}]")
    if not 0 <= quality <= 100:
        raise ConfigError(f"quality is {quality}; it must lie in [0, 100]")
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if features.check("avif"):
        image.save(stream, "AVIF", quality=quality, speed=4, max_threads=1)
    else:
        image.save(stream, "WEBP", quality=quality, method=6)
    data = stream.getvalue()
    if len(data) > MAX_PICTURE_BYTES:
        raise ReferenceImageError(f"picture takes {len(data)} bytes; a receiver accepts {MAX_PICTURE_BYTES}")
    return data


def decode_picture(data: bytes, size: int) -> Picture:
    """Decode a picture from the network.

    Args:
        data: a file of one of ``FORMATS``.
        size: wanted height and width, pixels; a square picture of another size is resampled.

    Returns:
        (size, size, 3).

    Raises:
        ReferenceImageError: too many bytes or pixels, not square, corrupt, or of another format.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise ReferenceImageError(f"reference picture has {len(data)} bytes; at most {MAX_PICTURE_BYTES} are accepted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.width, image.height)
                rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, OverflowError, MemoryError, Warning) as error:
        raise ReferenceImageError(f"reference picture cannot be decoded: {error}") from error
    if rgb.width != size:
        rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
    return np.array(rgb, dtype=np.uint8)


def _check_size(width: int, height: int) -> None:
    if width != height:
        raise ReferenceImageError(f"reference picture is {width}x{height}; it must be square")
    if not 1 <= width <= MAX_PICTURE_SIDE:
        raise ReferenceImageError(f"reference picture is {width} pixels wide; at most {MAX_PICTURE_SIDE} are accepted")
