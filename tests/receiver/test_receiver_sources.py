from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.errors import ReferenceImageError
from codec.face import Face, Picture
from codec.face.folder import Reference, read_image, read_sources
from codec.structs import ReferencePicture
from receiver.shelf import KEEP_FOR_RETURN_S, ReferenceShelf

SIZE = 64
FACE = Path(__file__).parent.parent / "fixtures" / "face.jpg"


class FakeDetector:
    """Finds a face in every picture that is not black."""

    def detect(self, rgb: Picture) -> list[Face]:
        height, width = rgb.shape[:2]
        box = (0.3 * width, 0.2 * height, 0.7 * width, 0.7 * height)
        return [Face(box, 0.99, np.zeros((5, 2), dtype=np.float32))] if rgb.max() > 0 else []


def save(path: Path, seed: int, width: int = 80, height: int = 100) -> None:
    rgb = np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path)


def reference(number: int) -> Reference:
    return Reference(f"{number:064x}", np.full((SIZE, SIZE, 3), number, dtype=np.uint8), f"{number}.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "avif", "bmp", "PNG"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"a.{suffix}", 0)
    [found] = read_sources(tmp_path, SIZE, 4, FakeDetector())
    assert found.rgb.shape == (SIZE, SIZE, 3)
    assert len(found.sha256) == 64


def test_unusable_images_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "good.png", 0)
    (tmp_path / "text.jpg").write_text("no image")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((50, 50, 3), dtype=np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "notes.txt").write_text("ignored")
    with caplog.at_level(logging.WARNING):
        assert len(read_sources(tmp_path, SIZE, 4, FakeDetector())) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert all(any(name in line for line in lines) for name in ("text.jpg", "cut.png", "black.png"))
    assert not any("\n" in line for line in lines)


def test_no_more_than_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(6):
        save(tmp_path / f"{index}.png", index)
    with caplog.at_level(logging.WARNING):
        found = read_sources(tmp_path, SIZE, 2, FakeDetector())
    assert [item.name for item in found] == ["0.png", "1.png"]
    assert "4 more images" in caplog.text


def test_the_same_image_counts_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert len(read_sources(tmp_path, SIZE, 4, FakeDetector())) == 1


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(np.zeros((30, 20, 3), dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg")[1].shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "absent", "no such folder"),
        (lambda folder: (folder / "file").write_text("x") and folder / "file", "not a folder"),
        (lambda folder: folder, "no image in it"),
    ],
)
def test_folders_that_give_nothing(tmp_path: Path, make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(ReferenceImageError, match=reason):
        read_sources(make(tmp_path), SIZE, 4, FakeDetector())


def test_a_folder_without_a_face(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 50, 3), dtype=np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(ReferenceImageError, match="none of its 1 images is usable"):
        read_sources(tmp_path, SIZE, 4, FakeDetector())


def test_a_real_face_is_found(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(FACE.read_bytes())
    [found] = read_sources(tmp_path, SIZE, 4)
    assert found.rgb.std() > 10


def test_a_picture_waits_for_its_place_on_a_full_shelf() -> None:
    shelf = ReferenceShelf(SIZE, 2)
    assert [shelf.add(f"{number}", reference(number).rgb) for number in range(3)] == [True, True, False]
    assert shelf.sha256s == ("0", "1")
    assert not shelf.add("1", reference(1).rgb)
    assert shelf.select(("1", "2", "never came"))
    assert shelf.sha256s == ("1", "2")
    assert not shelf.select(("1", "2"))
    assert shelf.select(("2",))
    assert shelf.add("3", reference(3).rgb)


def test_few_pictures_wait_and_none_longer_than_the_choice() -> None:
    shelf = ReferenceShelf(SIZE, 1)
    for number in range(4):
        shelf.add(f"{number}", reference(number).rgb)
    assert shelf.select(("1",))
    assert shelf.sha256s == ()  # the oldest of three that waited was forgotten
    assert not shelf.select(("3",))
    shelf.add("4", reference(4).rgb)
    shelf.add("5", reference(5).rgb)
    shelf.end_call(may_return=True)
    shelf.begin_call()
    shelf.select(("5",))
    assert len(shelf) == 0


def test_the_sender_chooses_among_its_own_pictures_alone() -> None:
    shelf = ReferenceShelf(SIZE, 3, [reference(0)])
    for number in (1, 2, 3):
        shelf.add(f"{number}", reference(number).rgb)
    assert shelf.select(("3", "2"))
    assert shelf.sha256s == (reference(0).sha256, "2", "3")


def test_the_shelf_keeps_its_own_pictures() -> None:
    shelf = ReferenceShelf(SIZE, 2, [reference(0), reference(1)])
    with pytest.raises(ReferenceImageError, match="has room for no other"):
        shelf.add("2", reference(2).rgb)
    assert not shelf.add(reference(1).sha256, reference(1).rgb)
    shelf.end_call(may_return=False)
    shelf.begin_call()
    assert len(shelf) == 2


@pytest.mark.parametrize(
    ("may_return", "away_s", "kept"),
    [(True, KEEP_FOR_RETURN_S - 1, 1), (True, KEEP_FOR_RETURN_S + 1, 0), (False, 1, 0)],
)
def test_a_senders_pictures_outlive_a_call_only_for_its_return(may_return: bool, away_s: float, kept: int) -> None:
    now_s = 50.0
    shelf = ReferenceShelf(SIZE, 2, now=lambda: now_s)
    shelf.begin_call()
    shelf.add("0", reference(0).rgb)
    shelf.end_call(may_return=may_return)
    now_s += away_s
    shelf.begin_call()
    assert len(shelf) == kept


def test_thumbnails_are_png() -> None:
    shelf = ReferenceShelf(SIZE, 2, [reference(7)])
    png = shelf.thumbnail(0)
    assert png is not None
    assert np.asarray(Image.open(io.BytesIO(png))).shape == (SIZE, SIZE, 3)
    assert shelf.thumbnail(1) is None


def test_a_broken_picture_is_refused() -> None:
    with pytest.raises(ReferenceImageError):
        ReferenceShelf(SIZE, 2).decode(ReferencePicture("0" * 64, b"nothing"))
