from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codec import Decoder, Encoder, Model
from codec.face import Picture
from codec.references import ReferenceSet
from receiver.shelf import ReferenceShelf
from sender.gain import GainCheck
from sender.held import CodedReference, HeldReferences
from sender.reconstruct import Reconstructor, structural_error
from sender.references import Candidate

SIZE = 64


def coded(number: int, x: float = 0.0) -> CodedReference:
    rgb = np.full((SIZE, SIZE, 3), number, dtype=np.uint8)
    locations_K2 = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 2))
    locations_K2[::2, 0] += x
    locations_K2[1::2, 0] -= x
    return CodedReference(f"{number:064x}", bytes([number]), rgb, Candidate(rgb, locations_K2, 1.0))


def noise(seed: int) -> Picture:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def hashes(references: tuple[CodedReference, ...]) -> list[int]:
    return [int(reference.sha256, 16) for reference in references]


def test_a_picture_is_in_use_once_it_was_acknowledged() -> None:
    held = HeldReferences(2)
    held.send(coded(1))
    assert (held.used, held.sent) == ((), held.sent)
    assert [candidate.rgb[0, 0, 0] for candidate in held.candidates] == [1]
    assert held.acknowledge(coded(9).sha256) is None
    assert held.sent is not None
    assert held.acknowledge(coded(1).sha256) is None  # there is room: the receiver uses it by itself
    assert hashes(held.used) == [1]
    assert held.sent is None


def test_a_refused_picture_is_forgotten() -> None:
    held = HeldReferences(2)
    held.send(coded(1))
    held.refuse(coded(2).sha256)
    assert held.sent is not None
    held.refuse(coded(1).sha256)
    assert len(held.used) == len(held.candidates) == 0
    assert held.sent is None


def test_the_one_without_which_the_last_poses_are_covered_best_leaves() -> None:
    held = HeldReferences(3)
    for number, x in ((1, 0.0), (2, 0.01), (3, 0.3)):
        held.send(coded(number, x))
        held.acknowledge(coded(number).sha256)
    for index, x in enumerate([0.0, 0.0, 0.3, 0.3, -0.3]):
        held.note_pose(coded(0, x).candidate.locations_K2, float(index))
    held.send(coded(4, -0.3))
    selection = held.acknowledge(coded(4).sha256)
    assert selection == tuple(coded(number).sha256 for number in (1, 3, 4))
    assert hashes(held.used) == [1, 3, 4]


def test_poses_are_remembered_twice_a_second() -> None:
    held = HeldReferences(1)
    held.send(coded(1, 0.1))
    held.acknowledge(coded(1).sha256)
    assert held.nearest_distance(coded(0, 0.1).candidate.locations_K2) == 0
    assert held.nearest_distance(coded(0, 0.2).candidate.locations_K2) == pytest.approx(0.1)
    assert HeldReferences(1).nearest_distance(coded(0).candidate.locations_K2) == float("inf")


def test_both_ends_hold_the_same_pictures_whatever_happens() -> None:
    rng = np.random.default_rng(0)
    held, shelf = HeldReferences(3), ReferenceShelf(SIZE, 3)
    for number in range(1, 60):
        reference = coded(number, float(rng.uniform(-0.3, 0.3)))
        held.note_pose(reference.candidate.locations_K2, float(number))
        held.send(reference)
        if rng.random() < 0.2:
            held.refuse(reference.sha256)
            continue
        shelf.add(reference.sha256, reference.rgb)
        selection = held.acknowledge(reference.sha256)
        if selection is not None:
            shelf.select(selection)
        assert shelf.sha256s == tuple(each.sha256 for each in held.used)
    assert len(shelf) == 3


def test_another_call_sends_again_what_the_receiver_has_lost() -> None:
    held = HeldReferences(3)
    for number in (1, 2, 3):
        held.send(coded(number, 0.1 * number))
        held.acknowledge(coded(number).sha256)
    held.send(coded(4, -0.3))
    missing = held.restart([coded(2).sha256])
    assert hashes(held.used) == [2]
    assert [int(each.sha256, 16) for each in missing] == [1, 3]
    assert held.sent is None


def test_the_receiver_s_set_keeps_what_is_named() -> None:
    references = ReferenceSet(3)
    for number in (1, 2, 3):
        references.add(coded(number).sha256, coded(number).rgb)
    assert references.is_full
    assert references.keep({coded(1).sha256, coded(3).sha256, coded(7).sha256})
    assert references.sha256s == (coded(1).sha256, coded(3).sha256)
    assert not references.keep(references.sha256s)
    assert not references.is_full


def test_a_candidate_is_coded_small_and_measured(tiny_model: Model) -> None:
    candidate = Candidate(noise(1), coded(0).candidate.locations_K2, 1.0)
    held = HeldReferences(2)
    check = GainCheck(Reconstructor(tiny_model), 50, least_gain=-1.0)
    first = check.check(candidate, held)
    assert first is not None
    assert first.candidate is candidate
    assert first.rgb.shape == (SIZE, SIZE, 3)
    assert len(first.data) < len(check.code(candidate).data) * 1.01
    assert len(GainCheck(None, 90).code(candidate).data) > len(first.data)
    held.send(first)
    held.acknowledge(first.sha256)
    check.note_picture(noise(2), 0.0)
    check.note_picture(noise(3), 0.1)  # too soon
    assert check.check(Candidate(noise(4), candidate.locations_K2, 1.0), held) is not None
    strict = GainCheck(Reconstructor(tiny_model), 50, least_gain=3.0)
    assert strict.check(Candidate(noise(4), candidate.locations_K2, 1.0), held) is None
    by_keypoints = GainCheck(None, 50, least_gain=1.0)
    assert by_keypoints.check(Candidate(noise(4), candidate.locations_K2, 1.0), held) is not None


def test_a_candidate_gains_nothing_by_its_own_picture(tiny_model: Model) -> None:
    held = HeldReferences(2)
    check = GainCheck(Reconstructor(tiny_model), 50, least_gain=1e-6)
    first = check.code(Candidate(noise(1), coded(0).candidate.locations_K2, 1.0))
    held.send(first)
    held.acknowledge(first.sha256)
    check.note_picture(noise(4), 0.0)
    assert check.check(Candidate(noise(4), first.candidate.locations_K2, 1.0), held) is None


def test_a_slow_generator_is_not_asked(tiny_model: Model) -> None:
    reconstructor = Reconstructor(tiny_model)
    check = GainCheck(reconstructor, 50, least_gain=1.0)
    held = HeldReferences(2)
    first = check.code(Candidate(noise(1), coded(0).candidate.locations_K2, 1.0))
    held.send(first)
    held.acknowledge(first.sha256)
    reconstructor.picture_s = 5.0
    assert check.check(dataclasses.replace(first.candidate, rgb=noise(2)), held) is not None


def test_reconstruction_is_what_the_receiver_makes(tiny_model: Model) -> None:
    rgb, reference = noise(1), noise(2)
    reconstructor = Reconstructor(tiny_model)
    seen = reconstructor.reconstruct(rgb, [reference])
    decoder = Decoder(tiny_model)
    decoder.set_references([reference])
    encoder = Encoder(tiny_model)
    encoder.set_references([reference])
    shown = decoder.decode(encoder.encode(rgb, force_keyframe=True).payload)
    assert (seen.error, seen.worst_error) == pytest.approx(structural_error(rgb, shown), abs=0.02)
    found = reconstructor.find(rgb)
    assert np.array_equal(seen.keypoints.values_K3[:, 2], found.values_K3[:, 2])
    assert not np.array_equal(seen.keypoints.values_K3, found.values_K3)
    assert reconstructor.picture_s is not None


def test_structural_error_is_zero_of_the_same_and_large_of_another() -> None:
    assert structural_error(noise(1), noise(1)) == pytest.approx((0, 0), abs=1e-5)
    error, worst = structural_error(noise(1), noise(2))
    assert 0.5 < error < worst <= 2
    covered = noise(1)
    covered[20:36, 20:36] = 0
    error, worst = structural_error(noise(1), covered)
    assert worst > 3 * error > 0
