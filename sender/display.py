"""Beside the call: what the command line shows while it runs.

A live table on a terminal, else one plain line a second.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sender.stats import Second


class LineDisplay(AbstractContextManager["LineDisplay"]):
    """Prints one line a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.flush()

    def show(self, second: Second) -> None:
        """Print the last second."""
        print(", ".join(f"{name} {value}" for name, value in rows_of(second)), file=self._stream, flush=True)


class TableDisplay(AbstractContextManager["TableDisplay"]):
    """Keeps a small table up to date."""

    def __init__(self, stream: TextIO) -> None:
        self._live = Live(console=Console(file=stream), auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, second: Second) -> None:
        """Show the last second."""
        table = Table(show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right", min_width=14)
        for name, value in rows_of(second):
            table.add_row(name, value)
        self._live.update(table, refresh=True)


class NoDisplay(AbstractContextManager["NoDisplay"]):
    """Shows nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def show(self, second: Second) -> None:
        """Show nothing of the last second."""


def display_for(stream: TextIO | None = None, *, quiet: bool = False) -> LineDisplay | TableDisplay | NoDisplay:
    """Return the display that suits a stream; standard output by default."""
    stream = sys.stdout if stream is None else stream
    if quiet:
        return NoDisplay()
    return TableDisplay(stream) if stream.isatty() else LineDisplay(stream)


def rows_of(second: Second) -> list[tuple[str, str]]:
    """Return what is shown of a second, as names and values."""
    rtt = "-" if second.rtt_ms is None else f"{second.rtt_ms:.0f} ms"
    return [
        ("state", second.state),
        ("codec", second.codec or "-"),
        ("mode", "aligned keypoints" if second.is_aligned and second.mode == "keypoints" else second.mode),
        ("face", "-" if second.has_face is None else "yes" if second.has_face else "no"),
        ("pictures", f"{second.fps:.1f} /s"),
        ("payload", f"{second.payload_kbps:.1f} kbit/s"),
        ("wire", f"{second.wire_kbps:.1f} kbit/s"),
        ("sound", f"{second.audio_kbps:.1f} kbit/s"),
        ("RTT", rtt),
        ("loss", f"{second.loss:.1%}"),
    ]
