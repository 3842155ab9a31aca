"""Stages 6 and 7 of 8, counted: what the plug-in sent, received, dropped and asked for.

Counters are written from aiortc's executor, its decoder threads, the generator threads and the event loop, so every
change takes a lock. Failures are logged at WARNING once per kind and at DEBUG afterwards: a broken peer sends
thirty packets a second.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MIN_KEYFRAME_REQUEST_INTERVAL_S = 0.25
"""Least time between two keyframe requests: the answer takes a round trip, and each request costs a keyframe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginCounts:
    """Counters of one plug-in at one moment, over all its calls."""

    frames_sent: int = 0
    """Frames handed to RTP."""
    keyframes_sent: int = 0
    """How many of them stand alone."""
    frames_aligned: int = 0
    """How many of them had keypoints aligned to the receiver's references."""
    payload_bytes_sent: int = 0
    """Bytes of their payloads, headers not counted."""
    video_frames_sent: int = 0
    """Frames handed to RTP as conventional video."""
    video_bytes_sent: int = 0
    """Bytes of their payloads, headers not counted."""
    frames_at_rest: int = 0
    """Frames left out because the face kept still."""
    encode_failures: int = 0
    """Frames that could not be encoded and were left out."""
    frames_received: int = 0
    """Frames that were parsed."""
    payload_bytes_received: int = 0
    """Bytes of the payloads that were parsed, headers not counted."""
    frames_recovered: int = 0
    """How many of them came in a later packet than their own, which was lost."""
    frames_interpolated: int = 0
    """Frames that their message left to the frames around them."""
    frames_concealed: int = 0
    """Frames that did not come in time and were guessed."""
    video_bytes_received: int = 0
    """Bytes of packets of conventional video in streams of this codec, headers not counted."""
    late_dropped: int = 0
    """Packets that came after a newer one, or twice."""
    undecodable_dropped: int = 0
    """Payloads that could not be parsed, or whose base is missing."""
    keyframes_requested: int = 0
    """Picture loss indications asked for."""
    pictures_generated: int = 0
    """Pictures that the generator made (inline mode)."""
    pictures_superseded: int = 0
    """Frames that a newer one replaced before the generator was free (inline mode)."""
    pictures_without_references: int = 0
    """Frames left out because no reference picture was there (inline mode)."""
    generator_failures: int = 0
    """Frames at which the generator failed (inline mode)."""
    unread_dropped: int = 0
    """Frames that the program did not read from its track in time."""


class PluginStats:
    """Counters that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = {field.name: 0 for field in dataclasses.fields(PluginCounts)}

    def add(self, **increments: int) -> None:
        """Add to counters by name; the names are the fields of ``PluginCounts``."""
        with self._lock:
            for name, increment in increments.items():
                self._values[name] += increment

    def snapshot(self) -> PluginCounts:
        """Return all counters at one moment."""
        with self._lock:
            return PluginCounts(**self._values)


class FailureLog:
    """Logs the first failure of each kind loudly and the others quietly."""

    def __init__(self, logger: logging.Logger, subject: str) -> None:
        self._logger = logger
        self._subject = subject
        self._kinds: set[str] = set()

    def note(self, error: Exception) -> None:
        """Log one failure; a kind is the error's class."""
        kind = type(error).__name__
        is_new = kind not in self._kinds
        self._kinds.add(kind)
        level = logging.WARNING if is_new else logging.DEBUG
        self._logger.log(level, "%s: %s: %s", self._subject, kind, error)


class KeyframeRequests:
    """Spaces out the keyframe requests of one received stream."""

    def __init__(self, send: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._last_s: float | None = None

    def ask(self) -> bool:
        """Ask for a keyframe unless one was asked for a moment ago; return whether it was asked."""
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < MIN_KEYFRAME_REQUEST_INTERVAL_S:
            return False
        self._last_s = now_s
        self._send()
        return True

    def answered(self) -> None:
        """Note that a keyframe came: the next one may be asked for at once."""
        self._last_s = None
