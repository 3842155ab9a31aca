from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from codec import Encoder, Model
from codec.errors import TrainingError
from training.tracks import find_tracks, keypoints_of, spread


def write_clip(path: Path, num_frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, index, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_tracks_are_found_once(tmp_path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, name in enumerate(("a-1", "a-2", "b-1")):
        write_clip(tmp_path / f"{name}.mp4", 5 + index, index)
    store = tmp_path / "store.npz"
    found = find_tracks(tmp_path, tiny_model, store=store)
    assert {name: track.values_FK3.shape for name, track in found.items()} == {
        "a-1": (5, 20, 3),
        "a-2": (6, 20, 3),
        "b-1": (7, 20, 3),
    }
    assert {track.fps for track in found.values()} == {25.0}
    with monkeypatch.context() as patch:
        patch.setattr("training.tracks.read_clip", lambda *_: pytest.fail("a clip was read again"))
        again = find_tracks(tmp_path, tiny_model, store=store)
        two = find_tracks(tmp_path, tiny_model, limit=2, store=store)
    for name, track in again.items():
        np.testing.assert_array_equal(track.values_FK3, found[name].values_FK3)
        np.testing.assert_array_equal(track.references_F, found[name].references_F)
        assert track.fps == 25.0
        assert set(track.references_F.tolist()) <= {1, 2, 3}
    assert set(two) == {"a-1", "b-1"}
    [short] = find_tracks(tmp_path, tiny_model, limit=1, num_frames=2).values()
    assert len(short) == 2
    other = dataclasses.replace(tiny_model, sha256="ab" * 32)
    assert set(find_tracks(tmp_path, other, limit=1, store=store)) == {"a-1"}


def test_a_file_of_something_else_is_told(tmp_path: Path, tiny_model: Model) -> None:
    write_clip(tmp_path / "a-1.mp4", 3, 0)
    (tmp_path / "store.npz").write_bytes(b"not tracks")
    with pytest.raises(TrainingError, match="is not a file of tracks"):
        find_tracks(tmp_path, tiny_model, store=tmp_path / "store.npz")


def test_sources_take_turns() -> None:
    paths = [Path(f"{name}.mp4") for name in ("a-1", "a-2", "a-3", "b-1", "c-1", "c-2")]
    assert [path.stem for path in spread(paths, 3)] == ["a-1", "b-1", "c-1"]
    assert [path.stem for path in spread(paths, 5)] == ["a-1", "a-2", "b-1", "c-1", "c-2"]
    assert spread(paths, 0) == paths
    assert spread(paths, 100) == paths


def test_keypoints_are_the_encoder_s(tiny_model: Model) -> None:
    frames_NSS3 = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    values_FK3 = keypoints_of(frames_NSS3, tiny_model, [0]).values_FK3
    assert values_FK3.shape == (3, 20, 3)
    encoder = Encoder(tiny_model)
    np.testing.assert_array_equal(values_FK3[..., 2], [encoder.detect(rgb).strengths_BK[0] for rgb in frames_NSS3])
    detected = keypoints_of(frames_NSS3, tiny_model, [])
    as_detected = detected.values_FK3
    assert detected.references_F.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(as_detected[1, :, :2], encoder.detect(frames_NSS3[1]).locations_BKC[0])
    assert not np.array_equal(values_FK3[1:], as_detected[1:])
    assert np.abs(values_FK3[..., :2]).max() <= 1
    assert 0 <= values_FK3[..., 2].min() <= values_FK3[..., 2].max() <= 1
