from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codec.bitstream.entropy import (
    ESCAPE,
    FREQUENCIES,
    PRECISION_BITS,
    choose_scales,
    code_differences,
    pack_values,
    read_differences,
    unpack_values,
)
from codec.bitstream.predict import differences, reconstruct
from codec.errors import BitstreamError
from codec.structs import Integers

LEVELS = np.array([4096, 4096, 4096], dtype=np.int32)


def triples(num_keypoints: int, high: int) -> st.SearchStrategy[Integers]:
    return hnp.arrays(np.int32, (3, num_keypoints), elements=st.integers(0, high), fill=st.just(0))


def coded_shortest(zigzag_3K: Integers) -> bytes:
    return code_differences(zigzag_3K, choose_scales(zigzag_3K))


@pytest.mark.parametrize("row", FREQUENCIES)
def test_frequencies_fill_the_range(row: tuple[int, ...]) -> None:
    assert len(row) == ESCAPE + 1
    assert sum(row) == 1 << PRECISION_BITS
    assert min(row) >= 1


@given(st.integers(1, 64).flatmap(lambda k: st.sampled_from([1, 4, 40, 500, 8190]).flatmap(lambda h: triples(k, h))))
def test_differences_come_back(zigzag_3K: Integers) -> None:
    coded = coded_shortest(zigzag_3K)
    np.testing.assert_array_equal(read_differences(coded, zigzag_3K.shape[1]), zigzag_3K)


def test_every_size_of_difference_comes_back() -> None:
    zigzag_3K = np.zeros((3, 20), dtype=np.int32)
    for largest in range(0, 8191, 13):
        zigzag_3K[0, 3], zigzag_3K[2, 19] = largest, largest // 2
        np.testing.assert_array_equal(read_differences(coded_shortest(zigzag_3K), 20), zigzag_3K)


def test_no_difference_takes_no_byte() -> None:
    assert coded_shortest(np.zeros((3, 20), dtype=np.int32)) == b""
    assert not read_differences(b"", 20).any()


def test_size_is_near_the_entropy() -> None:
    # Differences of a two-sided geometric source: the code may cost 5% and the 9 bits of scales over its entropy.
    rng = np.random.default_rng(3)
    for theta in (0.05, 0.2, 0.4, 0.6, 0.8, 0.9):
        sizes_bits, entropy_bits = 0.0, 0.0
        zero = (1 - theta) / (1 + theta)
        for _ in range(40):
            signed = (rng.geometric(1 - theta, (3, 20)) - rng.geometric(1 - theta, (3, 20))).astype(np.int32)
            sizes_bits += 8 * len(coded_shortest((signed << 1) ^ (signed >> 31)))
            entropy_bits += -np.log2(zero * theta ** np.abs(signed)).sum()
        assert sizes_bits < 1.05 * entropy_bits + 40 * (9 + 8)


@given(st.binary(max_size=60))
def test_each_byte_string_is_refused_or_the_only_code_of_its_scales(coded: bytes) -> None:
    try:
        zigzag_3K = read_differences(coded, 20)
    except BitstreamError:
        return
    state = int.from_bytes(coded, "little")
    assert code_differences(zigzag_3K, [state & 7, state >> 3 & 7, state >> 6 & 7]) == coded


def test_damage_is_noticed() -> None:
    rng = np.random.default_rng(4)
    zigzag_3K = rng.geometric(0.4, (3, 20)).astype(np.int32) - 1
    coded = coded_shortest(zigzag_3K)
    noticed = 0
    for bit in range(8 * len(coded)):
        damaged = bytearray(coded)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            read_differences(bytes(damaged), 20)
        except BitstreamError:
            noticed += 1
    assert noticed > 0.5 * 8 * len(coded)


def test_a_zero_byte_at_the_end_is_refused() -> None:
    with pytest.raises(BitstreamError, match="end with a zero byte"):
        read_differences(b"\x09\x00", 20)


def test_bytes_behind_the_last_symbol_are_refused() -> None:
    with pytest.raises(BitstreamError, match="do not end where"):
        read_differences(b"\x01" * 200, 20)


@given(
    hnp.arrays(np.int32, (20, 3), elements=st.integers(0, 4095)),
    hnp.arrays(np.int32, (20, 3), elements=st.integers(0, 4095)),
)
def test_reconstruction_undoes_differences(values_K3: Integers, base_K3: Integers) -> None:
    zigzag_3K = differences(values_K3, base_K3)
    assert zigzag_3K.min() >= 0
    np.testing.assert_array_equal(reconstruct(zigzag_3K, base_K3, LEVELS), values_K3)


def test_zigzag_order() -> None:
    base_K3 = np.full((5, 3), 9, dtype=np.int32)
    values_K3 = base_K3 + np.array([0, -1, 1, -2, 2], dtype=np.int32)[:, None]
    assert differences(values_K3, base_K3)[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("symbol", [1, 8190])
def test_sums_out_of_range_are_refused(symbol: int) -> None:
    base_K3 = np.array([[0, 4095, 5]], dtype=np.int32)
    zigzag_3K = np.array([[symbol], [0], [0]], dtype=np.int32) if symbol == 1 else np.array([[0], [symbol], [0]])
    with pytest.raises(BitstreamError, match="out of range"):
        reconstruct(zigzag_3K.astype(np.int32), base_K3, LEVELS)


@given(st.data(), st.lists(st.integers(1, 12), min_size=1, max_size=60))
def test_packed_values_come_back(data: st.DataObject, bits: list[int]) -> None:
    values = [data.draw(st.integers(0, (1 << width) - 1)) for width in bits]
    packed = pack_values(values, bits)
    assert len(packed) == -(-sum(bits) // 8)
    assert unpack_values(packed, bits) == values


def test_packed_layout() -> None:
    assert pack_values([1, 2, 3], [9, 9, 5]) == bytes([0b00000000, 0b10000000, 0b10000110])
    with pytest.raises(BitstreamError, match="filling bits"):
        unpack_values(bytes([0, 0, 1]), [9, 9, 5])
    with pytest.raises(BitstreamError, match="have 4 bytes; they must have 3"):
        unpack_values(bytes(4), [9, 9, 5])
