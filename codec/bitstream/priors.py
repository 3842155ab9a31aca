"""Stage 4 of 8: what both ends know of keypoints before the first frame, learned from talking heads.

    NAME.priors.safetensors -> Priors: a mean face, how motion goes on, which motions go together, how large they are

Integers alone, so that no two machines differ in a bit. The file's SHA-256 is its identity, which both ends confirm;
``python -m training priors`` makes it. Shape legend: N = 3 K values in the order x0, y0, strength0, x1, ...; Q scales
of the quantiser's step, C activities (the last is that of keyframes), T tables, S symbols.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from codec.config import STEPS
from codec.errors import WeightsError
from codec.structs import Integers

GRID_BITS = 14
"""The stream's own grid has 2**14 steps over the range of each value: 1/64 pixel of 256."""
BASIS_BITS = 4
"""Fractional bits of the entries of a basis."""
MOTION_BITS = 8
"""Fractional bits of the entries of the motion matrix."""
SCALE_BITS = 6
"""Fractional bits of a scale: 64 is the step that the basis is told in."""
SCALE_INDEX_BITS = 2
"""Of a frame's scale."""
PRECISION_BITS = 12
"""Frequencies of a table sum to 2**12."""
NUM_SYMBOLS = 32
ESCAPE = NUM_SYMBOLS - 1

MAX_PRIORS_BYTES = 4 << 20
MAX_SCALES = 1 << SCALE_INDEX_BITS
MAX_SCALE = 1 << 9
MAX_ACTIVITIES = 32
MAX_TABLES = 256

FINE, USUAL, COARSE = range(len(STEPS))
"""Scales that priors have, at least: indices of ``codec.config.STEPS``."""
SCALES = (43, 64, 96)
"""Their steps: .67, 1 and 1.5 of the usual one."""

GENERIC_FREQUENCIES = (
    (3907, 79, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    (3327, 335, 34, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    (2711, 546, 109, 22, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    (1955, 690, 242, 85, 30, 10, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    (1357, 683, 341, 171, 85, 43, 21, 11, 5, 3, 1, 1, 1, 1, 1, 1, 1),
    (865, 565, 367, 239, 155, 101, 66, 43, 28, 18, 12, 8, 5, 3, 2, 1, 5),
    (460, 364, 291, 233, 186, 149, 119, 95, 76, 61, 49, 39, 31, 25, 20, 16, 128),
    (216, 194, 175, 157, 141, 127, 115, 103, 93, 84, 75, 68, 61, 55, 49, 44, 798),
)
"""Two-sided geometric distributions, from narrow to wide: of 0, of both signs of 1 to 15 each, and of all beyond."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Priors:
    """What is known of keypoints beforehand.

    Attributes:
        mean_N: the mean face, in steps of the grid; a keyframe tells how it differs.
        motion_NN: the next motion is expected to be ``motion_NN @ motion / 2**MOTION_BITS``.
        basis_NN: a frame differs from what was expected by its scale times
            ``basis_NN @ coefficients / 2**BASIS_BITS``.
        key_basis_NN: the same for a keyframe and the mean face.
        scales_Q: steps of the quantiser, each over ``2**SCALE_BITS``.
        tables_QCN: which table codes each coefficient, by the frame's scale and activity; the last row of each scale is
            for keyframes.
        frequencies_TS: of the symbols of each table.
        activities_QCC: frequencies of a frame's activity, by its scale and the activity of the frame before.
        sha256: of the file, 64 hex digits.
    """

    mean_N: Integers
    motion_NN: Integers
    basis_NN: Integers
    key_basis_NN: Integers
    scales_Q: Integers
    tables_QCN: Integers
    frequencies_TS: Integers
    activities_QCC: Integers
    sha256: str

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            WeightsError: they do not fit each other; the message says what.
        """
        size, num_tables = len(self.mean_N), len(self.frequencies_TS)
        num_scales, num_activities = len(self.scales_Q), self.activities_QCC.shape[-1]
        for name, shape in (
            ("mean_N", (size,)),
            ("motion_NN", (size, size)),
            ("basis_NN", (size, size)),
            ("key_basis_NN", (size, size)),
            ("scales_Q", (num_scales,)),
            ("tables_QCN", (num_scales, num_activities + 1, size)),
            ("frequencies_TS", (num_tables, NUM_SYMBOLS)),
            ("activities_QCC", (num_scales, num_activities, num_activities)),
        ):
            if getattr(self, name).shape != shape:
                raise WeightsError(f"priors: {name} has shape {getattr(self, name).shape}; it must have {shape}")
        if size % 3 or not 1 <= num_activities <= MAX_ACTIVITIES or not 1 <= num_tables <= MAX_TABLES:
            raise WeightsError(f"priors: {size} values, {num_activities} activities and {num_tables} tables do not go")
        if not len(STEPS) <= num_scales <= MAX_SCALES or self.scales_Q.min() < 1 or self.scales_Q.max() > MAX_SCALE:
            raise WeightsError(f"priors: scales_Q is {self.scales_Q.tolist()}; it must have 3 or 4 in [1, {MAX_SCALE}]")
        if self.tables_QCN.min() < 0 or self.tables_QCN.max() >= num_tables:
            raise WeightsError("priors: tables_QCN names a table that is not there")
        for name in ("frequencies_TS", "activities_QCC"):
            rows = getattr(self, name)
            if rows.min() < 1 or (rows.sum(axis=-1) != 1 << PRECISION_BITS).any():
                raise WeightsError(f"priors: a row of {name} is not positive, or does not sum to 2**{PRECISION_BITS}")

    @property
    def num_keypoints(self) -> int:
        """Keypoints a frame (K)."""
        return len(self.mean_N) // 3

    @property
    def num_scales(self) -> int:
        """Steps of the quantiser (Q)."""
        return len(self.scales_Q)

    @property
    def num_activities(self) -> int:
        """Activities of predicted frames (C)."""
        return int(self.activities_QCC.shape[-1])

    @cached_property
    def analysis_NN(self) -> Floats:  # noqa: N802
        """Inverse of the basis, for encoders: their choice of coefficients is free."""
        return _inverse(self.basis_NN)

    @cached_property
    def key_analysis_NN(self) -> Floats:  # noqa: N802
        """Inverse of the keyframes' basis."""
        return _inverse(self.key_basis_NN)

    @cached_property
    def steps_Q(self) -> Floats:  # noqa: N802
        """Each scale as a share of the usual step."""
        steps: Floats = self.scales_Q / 2.0**SCALE_BITS
        return steps

    @cached_property
    def rows(self) -> list[list[list[tuple[list[int], list[int]]]]]:
        """Frequencies and starts of each coefficient's table, by scale and activity."""
        tables = [frequencies_and_starts(row) for row in self.frequencies_TS.tolist()]
        return [[[tables[index] for index in row] for row in rows] for rows in self.tables_QCN.tolist()]

    @cached_property
    def activity_rows(self) -> list[list[tuple[list[int], list[int]]]]:
        """Frequencies and starts of the activities, by scale and the activity before."""
        return [[frequencies_and_starts(row) for row in rows] for rows in self.activities_QCC.tolist()]

    @cached_property
    def costs_QCNS(self) -> Floats:  # noqa: N802
        """Bits of each symbol of each coefficient, by scale and activity."""
        costs: Floats = bits_of(self.frequencies_TS)[self.tables_QCN]
        return costs

    @cached_property
    def activity_costs_QCC(self) -> Floats:  # noqa: N802
        """Bits of each activity, by scale and the activity before."""
        return bits_of(self.activities_QCC)


def _inverse(basis_NN: Integers) -> Floats:
    inverse: Floats = np.linalg.inv(basis_NN / 2.0**BASIS_BITS).astype(np.float64)
    return inverse


def bits_of(frequencies: Integers) -> Floats:
    """Return what symbols of these frequencies cost an ideal coder."""
    bits: Floats = PRECISION_BITS - np.log2(frequencies)
    return bits


def frequencies_and_starts(row: list[int]) -> tuple[list[int], list[int]]:
    """Return a table's frequencies and where each symbol's range begins."""
    return row, list(itertools.accumulate(row[:-1], initial=0))


def save_priors(path: Path, priors: Priors) -> str:
    """Write priors; the file's name should be that of the weights with ``.priors.safetensors``.

    Returns:
        SHA-256 of the file, 64 hex digits.
    """
    types = {"mean_N": "<i4", "tables_QCN": "u1"}
    names = [field.name for field in dataclasses.fields(priors) if field.name != "sha256"]
    # safetensors writes an array's memory as it lies, transposed or not.
    tensors = {name: np.ascontiguousarray(getattr(priors, name), types.get(name, "<i2")) for name in names}
    data = safetensors.numpy.save(tensors)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_priors(path: Path) -> Priors:
    """Read priors.

    Raises:
        WeightsError: no such file, or damaged.
    """
    try:
        if path.stat().st_size > MAX_PRIORS_BYTES:
            raise WeightsError(f"priors: {path} is too large")
        data = path.read_bytes()
        tensors = {name: tensor.astype(np.int32) for name, tensor in safetensors.numpy.load(data).items()}
        return Priors(**tensors, sha256=hashlib.sha256(data).hexdigest())
    except (OSError, SafetensorError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"priors: {path} cannot be read: {error}") from error


def generic_priors(num_keypoints: int) -> Priors:
    """Return priors that know nothing of faces: for models without a file of their own, and for tests.

    Args:
        num_keypoints: of the model (K).
    """
    size = 3 * num_keypoints
    step = (1 << GRID_BITS) // 512
    steps_N = np.tile([step, step, 4 * step], num_keypoints)
    basis_NN = (np.diag(steps_N) << BASIS_BITS).astype(np.int32)
    count = len(GENERIC_FREQUENCIES)
    tables_C = np.append(np.arange(count), count - 1)
    return Priors(
        mean_N=np.full(size, 1 << (GRID_BITS - 1), dtype=np.int32),
        motion_NN=(np.eye(size, dtype=np.int32) << (MOTION_BITS - 1)),
        basis_NN=basis_NN,
        key_basis_NN=basis_NN,
        scales_Q=np.array(SCALES, dtype=np.int32),
        tables_QCN=np.tile(tables_C[:, None], (len(SCALES), 1, size)).astype(np.int32),
        frequencies_TS=np.repeat(GENERIC_FREQUENCIES, [1, *[2] * (ESCAPE // 2), 1], axis=1).astype(np.int32),
        activities_QCC=np.full((len(SCALES), count, count), (1 << PRECISION_BITS) // count, dtype=np.int32),
        sha256=hashlib.sha256(f"generic {num_keypoints}".encode()).hexdigest(),
    )
