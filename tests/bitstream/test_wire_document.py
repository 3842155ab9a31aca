"""docs/wire-format.md says what the code does: its tables, its worked example, and its decoder on real streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.bitstream.entropy import FREQUENCIES, SHIFTS
from codec.bitstream.stream import StreamReader, StreamWriter
from codec.config import CodecConfig
from codec.structs import QuantisedKeypoints

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
FRAMES = sorted((ROOT / "tests" / "fixtures" / "wire").glob("frame_*.bin"))
CONFIG = CodecConfig(name="golden")


def tables() -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    rows = re.findall(r"^\| (\d) \| (\d) \| ([\d ]+) \|$", DOCUMENT, re.MULTILINE)
    assert [int(scale) for scale, _, _ in rows] == list(range(8))
    return tuple(int(shift) for _, shift, _ in rows), tuple(tuple(map(int, row.split())) for _, _, row in rows)


@pytest.fixture(scope="module")
def decoder() -> dict[str, Any]:
    names: dict[str, Any] = {}
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(compile(source, "wire-format.md", "exec"), names)
    return names


def test_the_tables_are_the_code_s() -> None:
    assert tables() == (SHIFTS, FREQUENCIES)


def test_its_decoder_reads_the_golden_files(decoder: dict[str, Any]) -> None:
    shifts, rows = tables()
    frames: dict[int, list[list[int]]] = {}
    payloads = [path.read_bytes() for path in FRAMES]
    # The golden files' model is in their first keyframe.
    reader = StreamReader(CONFIG, payloads[0][7:11].hex() + "00" * 28)
    for payload in payloads:
        number, values = decoder["decode"](payload, frames, [9, 9, 5], rows, shifts)
        expected = reader.read(payload)
        assert number == expected.number
        assert values == expected.keypoints.values_K3.tolist()


@pytest.mark.parametrize("step", [1, 4, 20, 90])
def test_its_decoder_reads_random_streams(decoder: dict[str, Any], step: int) -> None:
    shifts, rows = tables()
    config = CodecConfig(name="test", num_keypoints=15, location_bits=11, strength_bits=6)
    rng = np.random.default_rng(step)
    writer = StreamWriter(config, "5b" * 32, first_number=65_500)
    frames: dict[int, list[list[int]]] = {}
    values_K3 = rng.integers(0, 64, (15, 3), dtype=np.int32)
    for index in range(60):
        changes_K3 = np.rint(rng.normal(0, step / 3, (15, 3)) ** 3 / step).astype(np.int32)
        values_K3 = np.clip(values_K3 + changes_K3, 0, [2047, 2047, 63]).astype(np.int32)
        base = None if index < 16 else (65_500 + index - 1 - int(rng.integers(16))) % 65_536
        encoded = writer.write(QuantisedKeypoints(values_K3), base_number=base)
        number, values = decoder["decode"](encoded.payload, frames, [11, 11, 6], rows, shifts)
        assert number == encoded.number
        assert values == values_K3.tolist()


def test_the_worked_example_is_the_golden_file(decoder: dict[str, Any]) -> None:
    payload = (ROOT / "tests" / "fixtures" / "wire" / "frame_3_wrapped.bin").read_bytes()
    text = " ".join(DOCUMENT.split())
    (written,) = re.findall(r"The bytes `([0-9a-f ]+)` give the state `(0x[0-9a-f]+)`", text)
    assert bytes.fromhex(written[0]) == payload[3:]
    state = int.from_bytes(payload[3:], "little")
    assert int(written[1], 16) == state
    steps = re.findall(r"slot is (\d+).*? symbol (\d)\. The state is `(0x[0-9a-f]+)`", text)
    assert len(steps) == 3
    symbols = decoder["symbols"](payload[3:], 20, *reversed(tables()))
    assert [int(symbol) for _, symbol, _ in steps] == symbols[: len(steps)]
    state >>= 9
    for slot, symbol, after in steps:
        assert state & 4095 == int(slot)
        start = sum(FREQUENCIES[3][: int(symbol)])
        state = FREQUENCIES[3][int(symbol)] * (state >> 12) + int(slot) - start
        assert state == int(after, 16)


def test_the_golden_files_are_as_listed() -> None:
    rows = re.findall(r"^\| `((?:frame|control)_\w+)` \| `([0-9a-f ]+)` \|", DOCUMENT, re.MULTILINE)
    assert len(rows) == 6
    for name, written in rows:
        assert bytes.fromhex(written) == (ROOT / "tests" / "fixtures" / "wire" / f"{name}.bin").read_bytes()
