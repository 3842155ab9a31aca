from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codec import load_model
from codec.bitstream.priors import Priors, generic_priors, load_priors, save_priors
from codec.bitstream.stream import StreamReader, StreamWriter
from codec.errors import WeightsError
from codec.structs import Keypoints

Walk = Callable[..., list[Keypoints]]


def test_saved_priors_come_back(tmp_path: Path) -> None:
    priors = generic_priors(7)
    motion_NN = priors.motion_NN.copy()
    motion_NN[0, 1:] = 5
    priors = dataclasses.replace(priors, motion_NN=motion_NN.T)  # not contiguous
    sha256 = save_priors(tmp_path / "a.priors.safetensors", priors)
    loaded = load_priors(tmp_path / "a.priors.safetensors")
    assert loaded.sha256 == sha256
    for field in dataclasses.fields(Priors):
        if field.name != "sha256":
            np.testing.assert_array_equal(getattr(loaded, field.name), getattr(priors, field.name))
            assert getattr(loaded, field.name).dtype == np.int32


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.priors.safetensors"
    with pytest.raises(WeightsError, match="cannot be read"):
        load_priors(path)
    save_priors(path, generic_priors(2))
    data = path.read_bytes()
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError, match="cannot be read"):
            load_priors(path)
    path.write_bytes(bytes(5 << 20))
    with pytest.raises(WeightsError, match="too large"):
        load_priors(path)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("mean_N", np.zeros(5, np.int32), "motion_NN has shape"),
        ("basis_NN", np.zeros((6, 5), np.int32), "basis_NN has shape"),
        ("tables_QCN", np.full((3, 9, 6), 200, np.int32), "names a table that is not there"),
        ("tables_QCN", np.full((3, 9, 6), -1, np.int32), "names a table that is not there"),
        ("scales_Q", np.array([64, 64, 64, 64], np.int32), "tables_QCN has shape"),
        ("scales_Q", np.array([43, 0, 96], np.int32), "it must have 3 or 4 in"),
        ("scales_Q", np.array([43, 64, 513], np.int32), "it must have 3 or 4 in"),
        ("frequencies_TS", np.full((8, 32), 127, np.int32), "row of frequencies_TS"),
        ("activities_QCC", np.full((3, 8, 8), 0, np.int32), "row of activities_QCC"),
    ],
)
def test_priors_that_do_not_go_together_are_refused(field: str, value: object, match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        dataclasses.replace(generic_priors(2), **{field: value})  # type: ignore[arg-type]


def test_the_embedded_priors_code_a_face_in_few_bytes(walk: Walk) -> None:
    model = load_model()
    assert model.priors.num_keypoints == 20
    assert model.priors.sha256 != generic_priors(20).sha256
    writer = StreamWriter(model.config, model.sha256, model.priors)
    reader = StreamReader(model.config, model.sha256, model.priors)
    rest = walk(1, step=0)[0]
    payloads = [writer.write(rest).payload for _ in range(5)]
    for payload in payloads:
        reader.read(payload)
    assert len(payloads[-1]) <= 5
