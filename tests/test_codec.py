from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import codec
from codec.errors import ConfigError, ReferenceImageError
from codec.frames import Rgb, frame_from_rgb, image_from_rgb, rgb_from_frame, rgb_from_image
from codec.memory import ReferenceEntry, ReferencePictures
from codec.references import ReferenceSet, reference_tags


@pytest.fixture
def rgb() -> Rgb:
    y, x = np.mgrid[0:64, 0:64]
    return np.stack((x * 4, y * 4, (x + y) * 2), axis=-1).astype(np.uint8)


def test_image_round_trip(rgb: Rgb) -> None:
    assert np.array_equal(rgb_from_image(image_from_rgb(rgb)), rgb)


def test_frame_round_trip_is_close(rgb: Rgb) -> None:
    assert np.abs(rgb_from_frame(frame_from_rgb(rgb)).astype(int) - rgb).mean() < 4


def test_encode_decode(tiny_model: codec.Model, rgb: Rgb) -> None:
    encoder, decoder = codec.Encoder(tiny_model), codec.Decoder(tiny_model)
    decoder.set_references([rgb])
    first, second = encoder.encode(rgb), encoder.encode(rgb)
    assert first.is_keyframe
    assert not second.is_keyframe
    assert len(second.payload) < len(first.payload) < 100
    assert np.abs(decoder.decode(first.payload).astype(int) - rgb).mean() < 20
    assert np.array_equal(decoder.decode(second.payload), decoder.generate(decoder.parse(second.payload)))


def test_wrong_size_is_refused(tiny_model: codec.Model, rgb: Rgb) -> None:
    with pytest.raises(ConfigError, match=r"picture is \(32, 64, 3\)"):
        codec.Encoder(tiny_model).encode(rgb[:32])
    with pytest.raises(ConfigError, match="reference is"):
        codec.Decoder(tiny_model).set_references([rgb[:32]])


def test_no_reference_yet(tiny_model: codec.Model, rgb: Rgb) -> None:
    decoder = codec.Decoder(tiny_model)
    frame = decoder.parse(codec.Encoder(tiny_model).encode(rgb).payload)
    with pytest.raises(ReferenceImageError, match="no reference picture yet"):
        decoder.generate(frame)
    decoder.set_references([rgb])
    assert decoder.num_references == 1
    decoder.set_references([])
    assert decoder.num_references == 0


def test_a_reference_is_computed_once(tiny_model: codec.Model, rgb: Rgb, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = codec.Decoder(tiny_model)
    computed: list[Rgb] = []
    compute = ReferencePictures._compute

    def note(self: ReferencePictures, picture: Rgb, tag: int) -> ReferenceEntry:
        computed.append(picture)
        return compute(self, picture, tag)

    monkeypatch.setattr(ReferencePictures, "_compute", note)
    decoder.set_references([rgb])
    decoder.set_references([rgb, rgb[::-1].copy()])
    assert len(computed) == 2


def test_a_frame_is_rebuilt_from_the_reference_that_it_names(tiny_model: codec.Model, rgb: Rgb) -> None:
    encoder, decoder = codec.Encoder(tiny_model), codec.Decoder(tiny_model)
    other = rgb[:, ::-1].copy()
    frame = decoder.parse(encoder.encode(rgb).payload)
    assert frame.reference == 0
    decoder.set_references([rgb], [5])
    alone = [decoder.generate(dataclasses.replace(frame, reference=tag)) for tag in (0, 5)]
    np.testing.assert_array_equal(alone[0], alone[1])
    decoder.set_references([rgb, other], [5, 9])
    together = decoder.generate(frame)
    named = {tag: decoder.generate(dataclasses.replace(frame, reference=tag)) for tag in (5, 9, 11)}
    np.testing.assert_array_equal(named[11], together)
    assert not np.array_equal(named[5], named[9])
    corners = {tag: picture[:8, :8].astype(int) for tag, picture in named.items()}
    assert np.abs(corners[5] - alone[0][:8, :8]).mean() < np.abs(corners[9] - alone[0][:8, :8]).mean()


def test_an_encoder_names_the_reference_that_it_aligned_to(tiny_model: codec.Model, rgb: Rgb) -> None:
    encoder, decoder = codec.Encoder(tiny_model), codec.Decoder(tiny_model)
    encoder.set_references([rgb[::-1].copy(), rgb], [3, 40])
    encoded = encoder.encode(rgb)
    assert encoded.reference in (3, 40)
    assert decoder.parse(encoded.payload).reference == encoded.reference


def test_tags_come_from_hashes_and_never_name_two() -> None:
    first, second, alike = f"{5:08x}" + "0" * 56, f"{6:08x}" + "0" * 56, f"{5 + 63:08x}" + "f" * 56
    assert reference_tags([first, second]) == [6, 7]
    assert reference_tags([first, second, alike]) == [0, 7, 0]
    assert reference_tags([]) == []


def test_a_reference_set_is_replaced_whole(rgb: Rgb) -> None:
    references = ReferenceSet(2)
    references.add("a", rgb)
    references.replace([("b", rgb), ("c", rgb)])
    assert references.sha256s == ("b", "c")
    assert [sha256 for sha256, _ in references.pictures] == ["b", "c"]
    with pytest.raises(ConfigError, match="3 references; at most 2 are held"):
        references.replace((name, rgb) for name in "def")
    assert references.sha256s == ("b", "c")


def test_reference_set_is_bounded(rgb: Rgb) -> None:
    references = ReferenceSet(2)
    assert references.add("a", rgb)
    assert not references.add("a", rgb)
    references.add("b", rgb)
    references.add("c", rgb)
    assert references.sha256s == ("b", "c")
    assert "a" not in references
    with pytest.raises(ConfigError, match="max_references is 0"):
        ReferenceSet(0)
