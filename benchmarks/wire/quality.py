"""What each step of the quantiser costs in the picture: LPIPS and PSNR against keypoints that were not rounded.

clip -> keypoints, detected; aligned -> rounded or coded -> generator -> LPIPS, PSNR against the clip's own frames

Keypoints are aligned to the references where nothing else is said; those as detected are there for comparison, with the
references that are named for the aligned ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.wire.designs import keypoints_at
from codec import Decoder, Model
from codec.bitstream.priors import USUAL, Priors
from codec.bitstream.quantise import dequantise
from codec.bitstream.stream import StreamReader, StreamWriter
from codec.config import STEPS
from codec.frames import image_from_rgb, rgb_from_image
from training.evaluate.clips import Clip, reference_positions
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.tracks import Track, Values, keypoints_of

NUM_REFERENCES = 3
SHARED = (2, 3)
FACTORS = (0.5, 2.0)
ROUNDINGS = ((10, 8), (9, 5), (8, 5), (7, 5), (9, 3))
ALIGNED, DETECTED = "not rounded", "detected, not rounded"
"""Exact keypoints, which others are compared with."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How near pictures come to the clip's own.

    Attributes:
        lpips: mean.
        psnr_db: mean.
        bytes_per_frame: of the clip's messages, the keyframe included; None where nothing is coded.
    """

    lpips: float
    psnr_db: float
    bytes_per_frame: float | None


def rounded(values_FK3: Values, location_bits: int, strength_bits: int) -> Values:
    """Return values as a uniform quantiser leaves it."""
    levels = np.array([1 << location_bits, 1 << location_bits, 1 << strength_bits])
    scale, offset = np.array([2, 2, 1]), np.array([-1, -1, 0])
    unit_FK3 = (values_FK3 - offset) / scale
    rounded_FK3: Values = (((np.floor(unit_FK3 * levels) + 0.5) / levels) * scale + offset).astype(np.float32)
    return rounded_FK3


def received(
    track: Track, model: Model, priors: Priors, frames_per_packet: int = 1, scale: int = USUAL
) -> tuple[Track, float]:
    """Return a track as the receiver gets it from the shipped encoder, and the bytes a frame that it takes.

    Where frames share messages, last ones that fill none are there as if they did, at no bytes, and do not count.
    """
    writer = StreamWriter(model.config, model.sha256, priors, frames_per_packet=frames_per_packet)
    reader = StreamReader(model.config, model.sha256, priors)
    writer.scale = scale
    found, num_bytes = {}, 0
    for values_K3, reference in zip(track.values_FK3, track.references_F.tolist(), strict=True):
        encoded = writer.write(keypoints_at(values_K3), reference=reference)
        found[encoded.number] = encoded.keypoints, reference
        if encoded.payload:
            found |= {each.number: (each.keypoints, each.reference) for each in reader.read_all(encoded.payload)}
            num_bytes += len(encoded.payload)
    keypoints = [dequantise(found[number][0], model.config) for number in range(len(track))]
    rows = [torch.cat((each.locations_BKC, each.strengths_BK[..., None]), dim=-1) for each in keypoints]
    references_F = np.array([found[number][1] for number in range(len(track))], dtype=np.int32)
    told = dataclasses.replace(track, values_FK3=torch.cat(rows).numpy(), references_F=references_F)
    return told, num_bytes / (1 + (len(track) - 1) // frames_per_packet * frames_per_packet)


def at_step(priors: Priors, factor: float) -> Priors:
    """Return priors with another step of the quantiser; their tables, which fit the old one, tell bits less well."""
    bases = {name: np.round(factor * getattr(priors, name)).astype(np.int32) for name in ("basis_NN", "key_basis_NN")}
    return dataclasses.replace(priors, **bases)


def variants(track: Track, detected: Track, model: Model) -> Iterator[tuple[str, Track, float | None]]:
    """Give each way to round a track: its name, what comes of it and bytes a frame."""
    values_FK3 = track.values_FK3
    yield ALIGNED, track, None
    for location_bits, strength_bits in ROUNDINGS:
        yield (
            f"{location_bits} and {strength_bits} bits",
            dataclasses.replace(track, values_FK3=rounded(values_FK3, location_bits, strength_bits)),
            None,
        )
    yield from coded(track, model)
    for factor in FACTORS:
        yield f"coded, {factor:g} of the step", *received(track, model, at_step(model.priors, factor))
    yield DETECTED, detected, None
    for name, told, bytes_per_frame in coded(detected, model):
        yield f"detected, {name}", told, bytes_per_frame


def coded(track: Track, model: Model) -> Iterator[tuple[str, Track, float]]:
    """Give each way to code a track: its name, what comes of it and bytes a frame."""
    for scale, name in enumerate(STEPS):
        yield f"coded, {name}", *received(track, model, model.priors, 1, scale)
        for count in SHARED:
            yield f"coded, {name}, {count} frames a message", *received(track, model, model.priors, count, scale)


def qualities(
    clip: Clip, track: Track, model: Model, lpips: Lpips, num_frames: int, on_frames: Callable[[int], None]
) -> dict[str, Quality]:
    """Return the quality of a clip's pictures by the way in which its keypoints were rounded.

    Args:
        clip: whose frames are compared, and three of which are the references.
        track: its keypoints, aligned.
        model: the networks.
        lpips: the metric.
        num_frames: frames compared, evenly spaced.
        on_frames: told how many more pictures are done.
    """
    decoder = Decoder(model)
    decoder.set_references([clip.frames_NSS3[position] for position in reference_positions(len(clip), NUM_REFERENCES)])
    positions = np.unique(np.linspace(1, len(clip) - 1, num_frames).astype(int)).tolist()
    sources = {position: lpips.features(image_from_rgb(clip.frames_NSS3[position])) for position in positions}
    as_detected = keypoints_of(clip.frames_NSS3, model, [], clip.fps)
    detected = dataclasses.replace(as_detected, references_F=track.references_F)
    found = {}
    for name, told, bytes_per_frame in variants(track, detected, model):
        distances, psnrs = [], []
        for position in positions:
            keypoints, reference = keypoints_at(told.values_FK3[position]), int(told.references_F[position])
            image_BCHW = decoder.generate_from(keypoints, reference).image_BCHW
            distances.append(float(lpips.distance(sources[position], lpips.features(image_BCHW.cpu()))))
            error = mean_squared_error(rgb_from_image(image_BCHW)[None], clip.frames_NSS3[position][None])
            psnrs.append(float(psnr_db(error)[0]))
            on_frames(1)
        found[name] = Quality(float(np.mean(distances)), float(np.mean(psnrs)), bytes_per_frame)
    return found


def means_of(clips: Sequence[dict[str, Quality]], num_frames: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return the means over clips, and how each differs from exact keypoints of its kind, aligned or as detected.

    Args:
        clips: what ``qualities`` returned.
        num_frames: of each clip; bytes a frame are given over all frames, and as the mean of clips.
    """
    rows: dict[str, dict[str, float]] = {}
    for name in clips[0]:
        of_clips = [clip[name] for clip in clips]
        row = {
            "lpips": float(np.mean([each.lpips for each in of_clips])),
            "psnr_db": float(np.mean([each.psnr_db for each in of_clips])),
        }
        exact = rows.get(DETECTED if name.startswith("detected") else ALIGNED, row)
        row["lpips_change_percent"] = 100 * (row["lpips"] / exact["lpips"] - 1)
        row["psnr_change_db"] = row["psnr_db"] - exact["psnr_db"]
        sizes = [each.bytes_per_frame for each in of_clips if each.bytes_per_frame is not None]
        if sizes:
            row["bytes_per_frame"] = float(np.average(sizes, weights=num_frames))
            row["bytes_per_frame_mean_of_clips"] = float(np.mean(sizes))
        rows[name] = row
    return rows
