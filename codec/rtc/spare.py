"""Whether there is time between pictures for work that they can do without.

time of each picture -> SpareTime.is_enough -> work -> SpareTime.note
"""

from __future__ import annotations

from collections import deque

SHARE = 0.75
"""Of the time from picture to picture, for all of a picture's work: the rest is for the program's other threads."""
FIRST_REST_S, LONGEST_REST_S = 4.0, 64.0
"""Rest after work that took too long; each further one is twice as long."""
INTERVALS_REMEMBERED = 300
TIMES_REMEMBERED = 16
LEAST_TRIED = 8
OUTLIERS = 2


class SpareTime:
    """Lets work be done while it fits between pictures.

    Work that takes too long, by the mean of the last times less the two longest, rests for some seconds: changes to and
    fro would be seen. Pictures may come less often because of that very work, so the shortest of the last intervals
    counts.
    """

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=INTERVALS_REMEMBERED)
        self._spent: deque[float] = deque(maxlen=TIMES_REMEMBERED)
        self._picture_s: float | None = None
        self._rest_s, self._rest_until_s = FIRST_REST_S, float("-inf")

    def is_enough(self, picture_s: float) -> bool:
        """Return whether there is time for the work at this picture.

        Args:
            picture_s: the picture's own time, seconds on the clock of the stream.
        """
        last_s, self._picture_s = self._picture_s, picture_s
        if last_s is None or picture_s <= last_s:
            self._intervals.clear()  # the beginning, or the clock began anew
            self._rest_until_s = min(self._rest_until_s, picture_s + self._rest_s)
        else:
            self._intervals.append(picture_s - last_s)
        if picture_s < self._rest_until_s:
            return False
        if not self._is_too_slow():
            return True
        self._spent.clear()
        self._rest_until_s = picture_s + self._rest_s
        self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        return False

    def _is_too_slow(self) -> bool:
        if len(self._spent) < LEAST_TRIED or not self._intervals:
            return False
        usual = sorted(self._spent)[:-OUTLIERS]
        return sum(usual) / len(usual) > SHARE * min(self._intervals)

    def note(self, spent_s: float) -> None:
        """Take note of what a picture took with the work."""
        self._spent.append(spent_s)
