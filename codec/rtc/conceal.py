"""Stage 7 of 8, receiving end: frames that do not come in time are guessed, so that loss does not stop the picture.

    DecoderAdapter --newest frame--> Concealer --guessed frames, at their times--> DecoderAdapter's way out

Both ends expect a frame to go on as the ones before it went (``bitstream.predict.expect``); while nothing comes the
receiver shows just that. The motion fades, so a guess that is wrong ends at rest. After ``MAX_CONCEALED`` frames
nothing more is guessed: the sender has paused, or the link is gone. What comes late is passed on as ever; whoever shows
pictures drops those that are older than what is on screen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CONCEALED = 10
"""Frames guessed in a row: 0.4 s at 25 frames a second, two bursts of five lost packets one after the other."""
PATIENCE_S = 0.06
"""How long after its time a frame is waited for: with the usual jitter still within 100 ms."""
SHORTEST_S, LONGEST_S = 1 / 60, 0.2
"""Between frames that are guessed: of a stream with fewer, which rests or is held, nothing is."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a receiver expects after a packet.

    Attributes:
        due_s: when the first frame that is not in it has its time, by the monotonic clock.
        interval_s: between frames.
    """

    due_s: float
    interval_s: float


class Concealer:
    """Calls for a guess when a frame is overdue, in a thread of its own that lives while packets come.

    Args:
        guess: called with 1 for the first frame after the newest, 2 for the second, and so on; must not raise.
        clock: seconds, steady.
    """

    def __init__(self, guess: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._guess, self._clock = guess, clock
        self._changed = threading.Condition()
        self._expected: Expected | None = None
        self._num_guessed = 0
        self._is_closed = False
        self._is_running = False

    def note_packet(self, *, is_due_in_s: float, interval_s: float) -> None:
        """Take note of a packet that was read.

        Args:
            is_due_in_s: time from now to that of the first frame that was not in it.
            interval_s: between frames.
        """
        if interval_s > LONGEST_S:
            self.pause()
            return
        interval_s = max(interval_s, SHORTEST_S)
        with self._changed:
            self._expected = Expected(self._clock() + is_due_in_s, interval_s)
            self._num_guessed = 0
            self._changed.notify()
            if not self._is_running and not self._is_closed:
                self._is_running = True
                threading.Thread(target=self._run, name="warpcall-concealer").start()

    def pause(self) -> None:
        """Guess nothing until the next packet."""
        with self._changed:
            self._expected = None
            self._changed.notify()

    def close(self) -> None:
        """Guess no more; does not wait for the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def wait_s(self) -> float | None:
        """Return how long nothing is to be guessed; None until the next packet."""
        if self._expected is None or self._num_guessed >= MAX_CONCEALED:
            return None
        due_s = self._expected.due_s + PATIENCE_S + self._num_guessed * self._expected.interval_s
        return max(0.0, due_s - self._clock())

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and (wait_s := self.wait_s()):
                    self._changed.wait(wait_s)
                if self._is_closed or wait_s is None:
                    self._is_running = False
                    return
                self._num_guessed += 1
                number = self._num_guessed
            self._guess(number)
