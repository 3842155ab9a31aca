"""The size that an AVIF file is really decoded to, and files that lie about it."""

from __future__ import annotations

import io
import random
import struct

import pytest
from PIL import Image, features

from codec.bitstream.avif import BitReader, ByteReader, coded_sizes
from codec.bitstream.picture import decode_picture
from codec.errors import ReferenceImageError


def avif(size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 40).convert(mode).save(stream, "AVIF", speed=10, **options)
    return stream.getvalue()


def with_stated_size(data: bytes, width: int, height: int) -> bytes:
    """Change the size in the boxes and leave the one in the data."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def test_pillow_writes_avif_here() -> None:
    assert features.check("avif")


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 33), (256, 256), (1024, 1000)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_size_of_a_still(size: tuple[int, int], mode: str) -> None:
    assert coded_sizes(avif(size, mode)) == [size]


def test_the_size_of_a_still_and_of_its_alpha_plane() -> None:
    image = Image.effect_noise((48, 48), 40).convert("RGBA")
    image.putalpha(77)
    stream = io.BytesIO()
    image.save(stream, "AVIF")
    assert coded_sizes(stream.getvalue()) == [(48, 48), (48, 48)]
    assert decode_picture(stream.getvalue(), 48).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "options",
    [{"xmp": b"<x/>"}, {"icc_profile": bytes(200)}, {"subsampling": "4:4:4", "quality": 100}],
    ids=["xmp", "icc", "444"],
)
def test_metadata_are_no_pictures(options: dict[str, object]) -> None:
    assert coded_sizes(avif((64, 64), "RGB", **options)) == [(64, 64)]


def test_a_file_that_states_a_smaller_size_than_it_decodes_to_is_refused() -> None:
    data = avif((2048, 2048), quality=5)
    lying = with_stated_size(data, 64, 64)
    with Image.open(io.BytesIO(lying)) as image:
        assert image.size == (64, 64)
    assert coded_sizes(lying) == [(2048, 2048)]
    with pytest.raises(ReferenceImageError, match="AV1 data have another size than the file states"):
        decode_picture(lying, 64)


def test_an_animation_is_refused() -> None:
    frames = [Image.effect_noise((32, 32), 40).convert("RGB") for _ in range(2)]
    stream = io.BytesIO()
    frames[0].save(stream, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ReferenceImageError, match="not a still picture"):
        decode_picture(stream.getvalue(), 32)


def test_items_of_other_kinds_are_refused() -> None:
    data = avif((64, 64))
    at = data.index(b"infe")
    kind_at = data.index(b"av01", at)
    with pytest.raises(ReferenceImageError, match="item of kind b'grid'"):
        coded_sizes(data[:kind_at] + b"grid" + data[kind_at + 4 :])


def test_two_lists_of_items_are_refused() -> None:
    data = avif((64, 64))
    start = data.index(b"iloc") - 4
    end = start + int.from_bytes(data[start : start + 4], "big")
    size_at = data.index(b"meta") - 4
    size = int.from_bytes(data[size_at : size_at + 4], "big") + end - start
    twice = data[:size_at] + size.to_bytes(4, "big") + data[size_at + 4 : end] + data[start:end] + data[end:]
    with pytest.raises(ReferenceImageError, match="two boxes b'iloc'"):
        coded_sizes(twice)


def test_cut_at_every_byte_and_damaged_at_random() -> None:
    data = avif((16, 16))
    rng = random.Random(1)
    damaged = [data[:length] for length in range(len(data))]
    for _ in range(2000):
        changed = bytearray(data)
        changed[rng.randrange(min(400, len(data)))] = rng.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for each in damaged:
        try:
            assert coded_sizes(each)
        except ReferenceImageError:
            refused += 1
    assert refused > 200


def test_bytes_and_bits_are_read_most_significant_first() -> None:
    reader = ByteReader(b"\x01\x02\xe5\x8e\x26\xff")
    assert reader.integer(2) == 0x0102
    assert reader.leb128() == 624_485
    assert reader.rest() == b"\xff"
    assert not reader
    bits = BitReader(b"\xa5\xf0")
    assert [bits.take(3), bits.take(5), bits.take(6), bits.take(6), bits.take(9)] == [5, 5, 60, 0, 0]


def test_an_integer_without_an_end_is_refused() -> None:
    with pytest.raises(ReferenceImageError, match="integer without an end"):
        ByteReader(b"\xff" * 9).leb128()
