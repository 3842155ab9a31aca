"""When a run ends before its last step: Ctrl-C, SIGTERM or its time limit; it ends after a whole step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Asks a run to stop; a second Ctrl-C ends it at once.

    Args:
        time_limit_s: seconds from entering until the run is asked to stop.
    """

    def __init__(self, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s
        self.reason: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stopping:
        self._deadline = time.monotonic() + self.time_limit_s
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    @property
    def asked(self) -> bool:
        """Whether the run should stop."""
        if self.reason is None and time.monotonic() >= self._deadline:
            self.reason = "time limit"
        return self.reason is not None
