from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.prepare.identity import clusters, name_clusters
from training.prepare.split import SPLITS, split_identities

NAMES = st.text(alphabet="abcdef", min_size=1, max_size=4)


@given(
    st.dictionaries(NAMES, st.sets(st.sampled_from(("train", "test")))),
    st.dictionaries(NAMES, st.sets(st.sampled_from(SPLITS))),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_each_identity_is_in_one_split_and_published_test_people_in_test(
    published: dict[str, set[str]], earlier: dict[str, set[str]], val_share: float, test_share: float
) -> None:
    splits = split_identities(published, earlier, val_share, test_share)
    assert splits.keys() == published.keys()
    assert set(splits.values()) <= set(SPLITS)
    for identity, partitions in published.items():
        if "test" in partitions:
            assert splits[identity] == "test"
        elif earlier.get(identity):
            assert splits[identity] == min(earlier[identity], key=SPLITS.index)
        elif partitions == {"train"}:
            assert splits[identity] != "test"


def test_shares_are_of_the_identities() -> None:
    splits = split_identities({f"p{number}": set() for number in range(200)}, {}, 0.1, 0.05)
    assert [list(splits.values()).count(split) for split in SPLITS] == [171, 19, 10]


def test_one_of_three_is_held_out_and_none_of_two() -> None:
    for number, held_out in ((1, 0), (2, 0), (3, 2), (10, 2)):
        splits = split_identities({f"p{index}": set() for index in range(number)}, {}, 0.05, 0.05)
        assert sum(split != "train" for split in splits.values()) == held_out


def test_more_people_move_nobody() -> None:
    few = {f"p{number}": set[str]() for number in range(20)}
    before = split_identities(few, {}, 0.1, 0.1)
    many = few | {f"q{number}": set[str]() for number in range(80)}
    after = split_identities(many, {identity: {split} for identity, split in before.items()}, 0.1, 0.1)
    assert {identity: after[identity] for identity in before} == before
    assert [list(after.values()).count(split) for split in SPLITS] == [81, 9, 10]


def test_near_embeddings_are_one_person() -> None:
    def at(place: int, off: float) -> tuple[float, ...]:
        return tuple(off + (index == place) for index in range(128))

    first, again, other, third = clusters([at(0, 0.0), at(0, 0.01), at(1, 0.0), at(2, 0.0)], 0.5)
    assert first == again
    assert len({first, other, third}) == 3


def test_people_keep_their_names() -> None:
    names = name_clusters([0, 0, 1], ["a", "b", "c"], {})
    assert names == {"a": "face0001", "b": "face0001", "c": "face0002"}
    later = name_clusters([5, 3, 3, 4, 3], ["new", "a", "b", "c", "d"], names)
    assert later == {**names, "d": "face0001", "new": "face0003"}


def test_of_a_person_found_to_be_two_one_keeps_the_name() -> None:
    later = name_clusters([0, 0, 1], ["a", "b", "c"], dict.fromkeys("abc", "face0001"))
    assert later == {"a": "face0001", "b": "face0001", "c": "face0002"}
