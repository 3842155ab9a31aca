from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codec.errors import TrainingError
from training.prepare.download import download, find_videos

VIDEO = "--Y9imYnfBw"


class DownloadError(Exception):
    """What yt-dlp raises."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Put a downloader in yt-dlp's place; return what it is asked for."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class YoutubeDL:
        def __init__(self, options: dict[str, Any]) -> None:
            self.options = options

        def __enter__(self) -> YoutubeDL:
            return self

        def __exit__(self, *of: object) -> None:
            pass

        def extract_info(self, url: str) -> dict[str, str]:
            asked.append((url, self.options))
            if url.endswith("gone_______"):
                raise DownloadError("ERROR: [youtube] gone_______: Private video\nSign in if you may see it")
            return {"id": url.partition("v=")[2], "ext": "mp4"}

        def prepare_filename(self, info: dict[str, str]) -> str:
            path = Path(self.options["outtmpl"] % info)
            path.write_bytes(b"pictures")
            return str(path)

    module = SimpleNamespace(YoutubeDL=YoutubeDL, utils=SimpleNamespace(DownloadError=DownloadError))
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    return asked


def test_a_video_is_downloaded_by_its_id(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    path = download(VIDEO, tmp_path / "videos", 720)
    ((url, options),) = asked
    assert url == f"https://www.youtube.com/watch?v={VIDEO}"
    assert "height<=720" in options["format"]
    assert path == tmp_path / "videos" / f"{VIDEO}.mp4"
    assert find_videos(tmp_path / "videos") == {VIDEO: path}


def test_a_video_that_is_gone_is_told_in_one_line(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(TrainingError) as error:
        download("gone_______", tmp_path, 720)
    assert str(error.value) == "cannot be downloaded: [youtube] gone_______: Private video"


@pytest.mark.parametrize("video", ["", "short", "../../../x", "aaaaaaaaaaa&x=1", "--Y9imYnfB\n"])
def test_nothing_but_an_id_is_asked_for(video: str, tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(TrainingError, match="no YouTube id"):
        download(video, tmp_path, 720)
    assert asked == []


def test_partial_downloads_are_no_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.webm", "c.mp4.part", "d.mp4.ytdl", "e.txt"):
        (tmp_path / name).touch()
    assert set(find_videos(tmp_path)) == {"a", "b"}
    assert find_videos(tmp_path / "nowhere") == {}
    with pytest.raises(TrainingError, match=r"a\.mp4 is not a folder"):
        find_videos(tmp_path / "a.mp4")
