"""Data preparation: the videos of a published list, there already or downloaded by yt-dlp.

videos/ID.mp4 (or .mkv, .webm) -> path; a missing one is written beside it and renamed when it is whole
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codec.errors import TrainingError
from training.prepare.folder import SUFFIXES

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by their names without suffix.

    Raises:
        TrainingError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder")
    if not folder.exists():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def check_downloader(missing: Iterable[str], folder: Path) -> None:
    """Make sure that videos can be downloaded, before work begins.

    Args:
        missing: videos that are not in the folder.
        folder: where they should be.

    Raises:
        TrainingError: some are missing and yt-dlp is not installed.
    """
    count = len(list(missing))
    if count and find_spec("yt_dlp") is None:
        raise TrainingError(
            f"{count} listed video(s) are not in {folder}, and yt-dlp is not installed: pip install "
            "'warpcall[download]', or --no-download to prepare what is there"
        )


class _Silence:
    """Takes what yt-dlp would print; what matters comes as its exception."""

    def debug(self, line: str) -> None:
        """Take a line."""

    info = warning = error = debug


def download(video: str, folder: Path, max_height: int) -> Path:
    """Download the pictures of a YouTube video.

    Args:
        video: its id.
        folder: where to put it.
        max_height: largest picture, lines.

    Raises:
        TrainingError: there is no such video any more, or no way to it; the message is the reason alone.
    """
    if not YOUTUBE_ID.fullmatch(video):
        raise TrainingError("cannot be downloaded: this is no YouTube id")
    yt_dlp: Any = import_module("yt_dlp")
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        # Pictures without sound, as an mp4 where there is one: what the published lists were made from.
        "format": f"bv*[height<={max_height}][ext=mp4]/bv*[height<={max_height}]/b[height<={max_height}]",
        "outtmpl": str(folder / "%(id)s.%(ext)s"),
        "quiet": True,
        "noprogress": True,
        "logger": _Silence(),
        "retries": 3,
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(f"https://www.youtube.com/watch?v={video}")
            return Path(downloader.prepare_filename(info))
    except yt_dlp.utils.DownloadError as error:
        raise TrainingError(f"cannot be downloaded: {str(error).splitlines()[0].removeprefix('ERROR: ')}") from error
