from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codec import Decoder, Encoder, Model
from training.evaluate.clips import Clip, Frames, read_clip
from training.evaluate.transmission import Transmission, as_sent, nearest_references

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


@pytest.fixture
def clip(write_clip: WriteClip, moving_pictures: MakePictures) -> Clip:
    return read_clip(write_clip("a.mp4", moving_pictures(4)), 64)


@pytest.mark.parametrize("align", [True, False])
def test_pictures_are_those_of_the_shipped_decoder(clip: Clip, tiny_model: Model, align: bool) -> None:
    encoder, decoder = Encoder(tiny_model), Decoder(tiny_model)
    references = [clip.frames_NSS3[0], clip.frames_NSS3[2]]
    decoder.set_references(references)
    if align:
        encoder.set_references(references)
    expected = [decoder.decode(encoder.encode(rgb).payload) for rgb in clip.frames_NSS3]
    transmission = Transmission(clip, tiny_model, references, align=align)
    np.testing.assert_array_equal(transmission.pictures([1, 3]), np.stack([expected[1], expected[3]]))


def test_counts_every_frame_and_its_headers(clip: Clip, tiny_model: Model) -> None:
    encoder, references = Encoder(tiny_model), list(clip.frames_NSS3[:1])
    encoder.set_references(references)
    num_bytes = sum(len(encoder.encode(rgb).payload) for rgb in clip.frames_NSS3)
    transmission = Transmission(clip, tiny_model, references)
    assert transmission.bits_per_frame == 8 * num_bytes / 4
    assert transmission.payload_bits_per_s(25) == 8 * num_bytes / 4 * 25
    assert transmission.wire_bits_per_s(25) == 8 * (num_bytes + 4 * 68) / 4 * 25


def test_the_nearest_reference_by_squared_error(moving_pictures: MakePictures) -> None:
    frames = moving_pictures(9)
    nearest = nearest_references(frames, frames[[0, 8]])
    assert (nearest[:4], nearest[5:]) == ([0, 0, 0, 0], [1, 1, 1, 1])


def test_a_reference_as_sent_is_close_and_counted(moving_pictures: MakePictures) -> None:
    picture = moving_pictures(1)[0]
    received, num_bytes = as_sent(picture)
    assert received.shape == picture.shape
    assert 0 < np.abs(received.astype(int) - picture).mean() < 8
    assert 100 < num_bytes < 5000
