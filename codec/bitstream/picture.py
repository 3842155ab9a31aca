"""Stages 3 to 5 of 8 for reference pictures: a square picture to a small file, and back.

    rgb (S, S, 3) uint8 --encode_picture--> AVIF (or WebP) bytes --decode_picture--> rgb (S, S, 3) uint8

A picture from the network is hostile: its bytes, its format and its size (in AVIF files, both of its sizes) are
checked before its pixels are decoded.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from codec.bitstream.avif import coded_sizes
from codec.errors import ConfigError, ReferenceImageError

Picture = npt.NDArray[np.uint8]

MAX_PICTURE_BYTES = 512 * 1024
MAX_PICTURE_SIDE = 4096
# What Pillow raises on damaged files (RuntimeError: its AVIF reader); warnings, where a program makes them errors.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
FORMATS = ("AVIF", "WEBP", "JPEG", "PNG")
# 4.3 to 9.3 kB and 39 to 43 dB on 256x256 webcam faces; 50 gives 2.3 to 4.3 kB and 35 to 40 dB.
DEFAULT_QUALITY = 75
# 60 ms a picture; speed 4 saves another 4% of the bytes and takes 500 ms.
AVIF_SPEED = 6


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
        image.save(stream, "AVIF", quality=quality, speed=AVIF_SPEED, max_threads=1)
    else:
        # WebP at the middle between a quality and 100 looks about as AVIF does at that quality, at 1.1 times the bytes.
        image.save(stream, "WEBP", quality=(quality + 100) // 2, method=6)
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
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            if image.format == "AVIF" and any(coded != image.size for coded in coded_sizes(data)):
                raise ReferenceImageError("reference picture's AV1 data have another size than the file states")
            rgb = image.convert("RGB")
    except PILLOW_ERRORS as error:
        raise ReferenceImageError(f"reference picture cannot be decoded: {error}") from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
    return np.array(rgb, dtype=np.uint8)


def _check_size(width: int, height: int) -> None:
    if width != height:
        raise ReferenceImageError(f"reference picture is {width}x{height}; it must be square")
    if not 1 <= width <= MAX_PICTURE_SIDE:
        raise ReferenceImageError(f"reference picture is {width} pixels wide; at most {MAX_PICTURE_SIDE} are accepted")
