"""The reference pictures that the receiver holds, from its own folder and from senders.

    sent picture --add--> used at once while there is room, else waiting --select--> used

The sender says which of its pictures are used (``ReferenceSelection``), so that it always knows what its pictures are
rebuilt from: a picture that comes when the shelf is full waits until the sender has heard that it came, and names it.

Pictures from ``--sources`` stay. Pictures that a sender sent are its likeness and belong to its call: they are
forgotten when it ends, unless it ended without Bye: a sender that was cut off may be back within a minute, and
sending them again would cost it as long (60 kB are a minute at 8 kbit/s).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.picture import decode_picture
from codec.errors import ReferenceImageError
from codec.face.folder import Reference
from codec.references import ReferenceSet, reference_tags
from codec.structs import ReferencePicture

Rgb = npt.NDArray[np.uint8]

KEEP_FOR_RETURN_S = 60.0
MAX_WAITING = 2


class ReferenceShelf:
    """A bounded set of reference pictures."""

    def __init__(
        self,
        size: int,
        max_references: int,
        own: Sequence[Reference] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fill the shelf.

        Args:
            size: height and width of the pictures, pixels.
            max_references: how many it holds.
            own: pictures of ``--sources``.
            now: clock in seconds.
        """
        self.max_references = max_references
        self._size = size
        self._own = tuple(own)
        self._now = now
        self._keep_until_s: float | None = None
        self._references = self._only_own()
        self._waiting: dict[str, Rgb] = {}

    def __len__(self) -> int:
        """Return how many pictures it holds."""
        return len(self._references)

    @property
    def sha256s(self) -> tuple[str, ...]:
        """Hashes of the pictures, oldest first."""
        return tuple(self._references.sha256s)

    @property
    def rgbs(self) -> tuple[Rgb, ...]:
        """The pictures, each uint8 (S, S, 3), oldest first."""
        return tuple(self._references.rgbs)

    @property
    def tags(self) -> list[int]:
        """What frames call the pictures."""
        return reference_tags(self.sha256s)

    def decode(self, picture: ReferencePicture) -> Rgb:
        """Return a sent picture's pixels; slow enough for a thread of its own.

        Raises:
            ReferenceImageError: the picture is not usable.
        """
        return decode_picture(picture.data, self._size)

    def add(self, sha256: str, rgb: Rgb) -> bool:
        """Put a sender's picture on the shelf: in use at once while there is room, else waiting for ``select``.

        Of more than two that wait the oldest is forgotten.

        Returns:
            Whether the pictures in use changed.

        Raises:
            ReferenceImageError: all room is taken by pictures of ``--sources``.
        """
        if len(self._own) >= self.max_references and sha256 not in self._references:
            raise ReferenceImageError("the receiver uses reference pictures of its own and has room for no other")
        if not self._references.is_full or sha256 in self._references:
            return self._references.add(sha256, rgb)
        self._waiting[sha256] = rgb
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        return False

    def select(self, sha256s: Sequence[str]) -> bool:
        """Use those of the sender's pictures that it names, and forget its others; those of ``--sources`` stay.

        Names of pictures that never came are passed over, and so is what there is no room for.

        Returns:
            Whether the pictures in use changed.
        """
        own = {reference.sha256 for reference in self._own}
        is_changed = self._references.keep(own.union(sha256s))
        for sha256 in sha256s:
            if sha256 in self._waiting and not self._references.is_full:
                is_changed |= self._references.add(sha256, self._waiting[sha256])
        self._waiting.clear()
        return is_changed

    def begin_call(self) -> None:
        """Forget the last sender's pictures unless it was cut off a moment ago."""
        if self._keep_until_s is None or self._now() > self._keep_until_s:
            self._references = self._only_own()
        self._waiting.clear()
        self._keep_until_s = None

    def end_call(self, *, may_return: bool) -> None:
        """Note how a call ended.

        Args:
            may_return: whether the sender did not say that it leaves.
        """
        self._keep_until_s = self._now() + KEEP_FOR_RETURN_S if may_return else None

    def thumbnail(self, index: int) -> bytes | None:
        """Return a picture as PNG, or None when there is none of that index."""
        if not 0 <= index < len(self):
            return None
        stream = io.BytesIO()
        Image.fromarray(self.rgbs[index]).save(stream, "PNG")
        return stream.getvalue()

    def _only_own(self) -> ReferenceSet:
        references = ReferenceSet(self.max_references)
        for reference in self._own:
            references.add(reference.sha256, reference.rgb)
        return references
