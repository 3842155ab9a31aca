"""docs/wire-format.md says what the code does: its tables, its worked example, and its decoder on real streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec import Model, load_model
from codec.bitstream import group
from codec.bitstream.priors import Priors, generic_priors, load_priors
from codec.bitstream.quantise import from_grid
from codec.bitstream.stream import StreamReader, StreamWriter
from codec.config import CodecConfig
from codec.structs import Keypoints

Walk = Callable[..., list[Keypoints]]
ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
FIXTURES = ROOT / "tests" / "fixtures" / "wire"
PRIORS_FILE = FIXTURES / "generic-20.priors.safetensors"
CONFIG = CodecConfig(name="golden", location_bits=9, strength_bits=5)


@pytest.fixture(scope="module")
def decoder() -> dict[str, Any]:
    names: dict[str, Any] = {}
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(compile(source, "wire-format.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


def test_the_golden_priors_are_the_generic_ones() -> None:
    found, expected = load_priors(PRIORS_FILE), generic_priors(20)
    for name in Priors.__dataclass_fields__.keys() - {"sha256"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_the_tables_are_the_code_s(decoder: dict[str, Any]) -> None:
    rows = {"FORM": group._FORM_ROW, "REACH": group._REACH_ROW, "NUMBER": group._NUMBER_ROW}
    rows |= {"COUNTS": group._COUNTS_ROW, "SETTING": group._SETTING_ROW}
    for name, row in rows.items():
        assert list(decoder[name]) == row[0]
        assert f"table `{' '.join(map(str, row[0]))}`" in DOCUMENT
    assert [list(row) for row in decoder["KINDS"]] == [row[0] for row in group._KIND_ROWS]
    for row in group._KIND_ROWS:
        assert f"`{' '.join(map(str, row[0]))}` for" in " ".join(DOCUMENT.split())


@pytest.mark.parametrize("stream", ["alone", "repeated", "shared", "scaled"])
def test_its_decoder_reads_the_golden_files(decoder: dict[str, Any], stream: str) -> None:
    priors = decoder["read_priors"](PRIORS_FILE.read_bytes())
    payloads = [path.read_bytes() for path in sorted(FIXTURES.glob(f"frame_{stream}_*.bin"))]
    reader = StreamReader(CONFIG, _golden_model(), generic_priors(20))
    window: dict[int, Any] = {}
    newest = None
    for payload in payloads:
        frames, newest = decoder["decode"](payload, window, newest, 1, priors)
        expected = reader.read_all(payload)
        assert frames[-1][0] == newest == expected[-1].number
        for (number, values, reference), frame in zip(frames[-len(expected) :], expected, strict=True):
            assert (number, reference) == (frame.number, frame.reference)
            np.testing.assert_array_equal(from_grid(np.array(values), CONFIG).values_K3, frame.keypoints.values_K3)


def _golden_model() -> str:
    from hashlib import sha256

    return sha256(b"golden model").hexdigest()


@pytest.mark.parametrize("step", [0.002, 0.02, 0.3])
@pytest.mark.parametrize(("repeats", "frames_per_packet"), [(0, 1), (2, 1), (0, 2), (1, 3)])
def test_its_decoder_reads_streams_of_the_embedded_priors(
    decoder: dict[str, Any], model: Model, walk: Walk, step: float, repeats: int, frames_per_packet: int
) -> None:
    priors = decoder["read_priors"]((ROOT / "codec/weights/compact-256.priors.safetensors").read_bytes())
    writer = StreamWriter(
        model.config,
        model.sha256,
        model.priors,
        first_number=65_520,
        repeats=repeats,
        frames_per_packet=frames_per_packet,
    )
    reader = StreamReader(model.config, model.sha256, model.priors)
    window: dict[int, Any] = {}
    newest = None
    kept: list[int] = []
    rng = np.random.default_rng(5)
    for index, keypoints in enumerate(walk(31, seed=4, step=step)):
        writer.scale = index // 5 % 3
        base = kept[-1] if len(kept) > 2 and rng.random() < 0.2 and writer.holds(kept[-1]) else None
        encoded = writer.write(keypoints, reference=index // 4 % 64, base_number=base, force_keyframe=index == 25)
        if not encoded.payload:
            continue
        frames, newest = decoder["decode"](encoded.payload, window, newest, 1, priors)
        assert frames[-1][0] == encoded.number
        found = reader.read_all(encoded.payload)
        told = {number: from_grid(np.array(values), model.config).values_K3 for number, values, _ in frames}
        references = {number: reference for number, _, reference in frames}
        np.testing.assert_array_equal(told[encoded.number], encoded.keypoints.values_K3)
        for frame in found:
            np.testing.assert_array_equal(told[frame.number], frame.keypoints.values_K3)
            assert references[frame.number] == frame.reference
        assert references[encoded.number] == encoded.reference
        kept.append(encoded.number)


def test_the_worked_example_is_the_golden_file(decoder: dict[str, Any]) -> None:
    text = " ".join(DOCUMENT.split())
    payload = (FIXTURES / "frame_shared_2_interpolated.bin").read_bytes()
    (begins,) = re.findall(r"`frame_shared_2_interpolated.bin` begins `([0-9a-f ]+)`", text)
    assert payload.startswith(bytes.fromhex(begins))
    fraction = decoder["Fraction"](payload)
    slots = [int(slot) for slot in re.findall(r"[Aa]t (\d+)(?: of 4096)?, (?:which lies )?in ", text)]
    priors = decoder["read_priors"](PRIORS_FILE.read_bytes())
    rows = [decoder[name] for name in ("FORM", "REACH", "NUMBER", "COUNTS")]
    rows += [decoder["KINDS"][0], decoder["SETTING"], priors["activities_QCC"][64:72]]
    assert [
        ((fraction.above << 12) // fraction.width, fraction.symbol(row))[0] for row in rows
    ] == slots  # each symbol moves the fraction on
    (activity,) = re.findall(r"in the share of (\d) of the 8 equal ones", text)
    table = priors["tables_QCN"][60 * (9 + int(activity))]
    (written,) = re.findall(r"The frame's first coefficients are `([-0-9 ]+)`", text)
    row = priors["frequencies_TS"][32 * table : 32 * table + 32]
    assert [fraction.coefficient(row) for _ in written.split()] == [int(value) for value in written.split()]


def test_the_golden_files_are_as_listed() -> None:
    rows = re.findall(r"^\| `((?:frame|control)_\w+)` \| `([0-9a-f ]+)` \|", DOCUMENT, re.MULTILINE)
    assert len(rows) == 5
    for name, written in rows:
        assert bytes.fromhex(written) == (FIXTURES / f"{name}.bin").read_bytes()


def test_priors_are_as_tabulated() -> None:
    for name in Priors.__dataclass_fields__:
        assert name == "sha256" or f"`{name}`" in DOCUMENT
