"""Evaluation ``rd``, to look at: one clip as all coders show it at our wire rate, in one video.

    ClipRates, its points -> tiles -> atlas (columns x rows of cells) -> mp4;  strip

A cell of the atlas is a tile's picture above its error, |received - source| four times as bright. All tiles share one
video, so that they cannot run apart: the page cuts it up. A peer's tile is its best picture at about our wire rate.
Shape legend: N frames, S height and width, R references, H and W of the attention's grid.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from codec.bitstream.picture import encode_picture
from codec.errors import OutputError
from codec.frames import rgb_from_image
from codec.model.generator import MIX_SHARPNESS
from training.evaluate.clips import Clip, Frames
from training.evaluate.curves import coders, of_coder
from training.evaluate.peers import Peer, Rung
from training.evaluate.rate_distortion import FROZEN, OURS, ClipRates, Point
from training.evaluate.strip import Row, error_picture, evenly_spaced, sheet, write_picture
from training.evaluate.transmission import Transmission, as_sent, nearest_references

SOURCE, ATTENTION = "source", "attention"
# Of the first, second, ... reference, in the map of the attention's picks; grey is what is found in none.
REFERENCE_COLOURS = ((230, 60, 50), (60, 170, 60), (60, 110, 240), (240, 180, 30), (170, 80, 200), (40, 180, 190))
NONE_COLOUR = (128, 128, 128)
PICTURE_WEIGHT = 0.35
VIDEO_OPTIONS = {"crf": "20", "preset": "medium", "movflags": "+faststart"}
STRIP_COLUMNS, STRIP_CELL = 6, 192
# A coder that goes as low as ours may take so much more for a better picture; and so may one that cannot go so low.
RATE_TOLERANCE = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One coder's pictures of a clip.

    Attributes:
        name: of the coder.
        setting: "realtime" or "offline" for peers, else empty.
        frames_NSS3: what is shown.
        below_NSS3: what is shown under it: its error; the shares alone under the attention's map.
        point: its figures on this clip; empty where it has none.
    """

    name: str
    setting: str
    frames_NSS3: Frames
    below_NSS3: Frames
    point: Point


def tiles_of(rates: ClipRates, peers: Sequence[Peer], points: list[Point]) -> list[Tile]:
    """Return source, ours, frozen, the attention's picks, and every peer at our wire rate.

    Args:
        rates: the clip.
        peers: whom to show.
        points: of this clip.

    Raises:
        TrainingError: a peer fails where it did not before.
    """
    source_NSS3 = rates.clip.frames_NSS3
    most = max(rates.references)
    pictures = [as_sent(source_NSS3[position])[0] for position in rates.references[most]]
    receiver = Transmission(rates.clip, rates.model, pictures)
    received_NSS3, shares_NSS3 = _received(receiver, len(source_NSS3), rates.size)
    frozen_NSS3 = np.stack(pictures)[nearest_references(source_NSS3, np.stack(pictures))]
    ours, frozen = (
        next(point for point in of_coder(points, name) if point["references"] == most) for name in (OURS, FROZEN)
    )
    tiles = [
        Tile(SOURCE, "", source_NSS3, np.zeros_like(source_NSS3), {}),
        Tile(OURS, "", received_NSS3, error_picture(received_NSS3, source_NSS3), ours),
        Tile(FROZEN, "", frozen_NSS3, error_picture(frozen_NSS3, source_NSS3), frozen),
    ]
    if shares_NSS3 is not None:
        overlaid_NSS3 = _overlaid(received_NSS3, shares_NSS3)
        tiles.append(Tile(ATTENTION, "", overlaid_NSS3, shares_NSS3, {}))
    named = {peer.name: peer for peer in peers}
    for name, setting in coders(point for point in points if "reason" not in point):
        theirs = [point for point in of_coder(points, name, setting) if "reason" not in point]
        tiles.append(_peer_tile(rates, named[name], at_rate(theirs, ours["wire_bits_per_s"])))
    return tiles


def at_rate(points: list[Point], wire_bits_per_s: float) -> Point:
    """Return the best picture (LPIPS-Alex) of up to a tenth more than a wire rate, or than the lowest of all rates."""
    most = RATE_TOLERANCE * max(wire_bits_per_s, min(float(point["wire_bits_per_s"]) for point in points))
    return min(
        (point for point in points if point["wire_bits_per_s"] <= most), key=lambda point: float(point["lpips_alex"])
    )


def _received(receiver: Transmission, num_frames: int, size: int) -> tuple[Frames, Frames | None]:
    """Return our pictures, and the references' shares as colours where the network tells them."""
    pictures, maps = [], []
    for position in range(num_frames):
        generated = receiver.generated(position)
        pictures.append(rgb_from_image(generated.image_BCHW))
        if generated.shares_BRHW is not None:
            maps.append(share_colours(generated.shares_BRHW[0].float().cpu().numpy(), size))
    return np.stack(pictures), np.stack(maps) if maps else None


def share_colours(shares_RHW: np.ndarray[Any, np.dtype[np.float32]], size: int) -> Frames:
    """Return each cell's mixture of the references' colours, as sharp as their pixels are mixed, (size, size, 3)."""
    found_HW = np.clip(shares_RHW.sum(axis=0), 0, 1)
    sharp_RHW = np.clip(shares_RHW, 1e-6, 1) ** MIX_SHARPNESS
    mixed_RHW = found_HW * sharp_RHW / sharp_RHW.sum(axis=0)
    colours_R3 = np.array([REFERENCE_COLOURS[index % len(REFERENCE_COLOURS)] for index in range(len(shares_RHW))])
    mixed_HW3 = np.einsum("rhw,rc->hwc", mixed_RHW, colours_R3) + (1 - found_HW)[..., None] * np.array(NONE_COLOUR)
    cells = Image.fromarray(np.clip(mixed_HW3, 0, 255).astype(np.uint8))
    return np.asarray(cells.resize((size, size), Image.Resampling.NEAREST), np.uint8)


def _overlaid(pictures_NSS3: Frames, maps_NSS3: Frames) -> Frames:
    luma_NSS1 = pictures_NSS3.astype(np.float32).mean(axis=3, keepdims=True)
    mixed_NSS3: Frames = (PICTURE_WEIGHT * luma_NSS1 + (1 - PICTURE_WEIGHT) * maps_NSS3).astype(np.uint8)
    return mixed_NSS3


def _peer_tile(rates: ClipRates, peer: Peer, point: Point) -> Tile:
    rung = Rung(round(rates.size / point["size"]), int(point["target"].split()[0]))
    source_NSS3 = rates.clip.frames_NSS3
    frames_NSS3 = peer.send(rates.ffmpeg, source_NSS3, rates.clip.fps, point["setting"], rung).frames_NSS3
    return Tile(peer.name, point["setting"], frames_NSS3, error_picture(frames_NSS3, source_NSS3), point)


def write_video(tiles: Sequence[Tile], fps: float, path: Path) -> int:
    """Write the atlas of tiles as mp4 and return its number of columns.

    Raises:
        OutputError: it cannot be written.
    """
    size = tiles[0].frames_NSS3.shape[1]
    columns = math.ceil(math.sqrt(2 * len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1001), VIDEO_OPTIONS)
            stream.width, stream.height, stream.pix_fmt = columns * size, rows * 2 * size, "yuv420p"
            for position in range(len(tiles[0].frames_NSS3)):
                atlas = np.zeros((rows * 2 * size, columns * size, 3), np.uint8)
                for index, tile in enumerate(tiles):
                    top, left = index // columns * 2 * size, index % columns * size
                    atlas[top : top + size, left : left + size] = tile.frames_NSS3[position]
                    atlas[top + size : top + 2 * size, left : left + size] = tile.below_NSS3[position]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(atlas, format="rgb24")))
            container.mux(stream.encode(None))
        partial.replace(path)
    except (OSError, FFmpegError) as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return columns


def write_rate_strip(clip: Clip, scored: Sequence[int], tiles: Sequence[Tile], path: Path) -> None:
    """Write source, ours, the first peer in real time and the frozen picture at some frames as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    positions = evenly_spaced(scored, STRIP_COLUMNS)
    peer = next((tile for tile in tiles if tile.setting == "realtime"), None)
    shown = [tile for tile in tiles if tile.name in (SOURCE, OURS) or tile is peer or tile.name == FROZEN]
    shown.sort(key=lambda tile: (SOURCE, OURS, tile.name if tile is peer else "", FROZEN).index(tile.name))
    rows = []
    for tile in shown:
        pictures = [
            np.asarray(Image.fromarray(tile.frames_NSS3[position]).resize((STRIP_CELL, STRIP_CELL)), np.uint8)
            for position in positions
        ]
        rows.append(Row(_strip_label(tile), np.stack(pictures), positions if tile.name == SOURCE else ()))
    write_picture(sheet(f"{clip.name}: all at about the same rate, headers counted", rows), path)


def _strip_label(tile: Tile) -> str:
    if not tile.point:
        return tile.name
    rate = f"{tile.point['wire_bits_per_s'] / 1000:.1f} kbit/s"
    return f"{tile.name}\n{rate}\nLPIPS {tile.point['lpips_alex']:.3f}"


def description(rates: ClipRates, tiles: Sequence[Tile], columns: int, video: str) -> dict[str, Any]:
    """Return what the page must know of a clip's video, as JSON values."""
    references = rates.references[max(rates.references)]
    return {
        "clip": rates.clip.name,
        "video": video,
        "columns": columns,
        "size": rates.size,
        "fps": rates.clip.fps,
        "num_frames": len(rates.clip),
        "tiles": [{"name": tile.name, "setting": tile.setting, "point": tile.point} for tile in tiles],
        "references": [
            {"position": position, "picture": _data_uri(encode_picture(rates.clip.frames_NSS3[position]))}
            for position in references
        ],
    }


def _data_uri(picture: bytes) -> str:
    kind = "avif" if picture[4:12] == b"ftypavif" else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
