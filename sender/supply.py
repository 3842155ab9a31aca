"""Beside the pictures: reference pictures to a receiver that has none.

FramedPicture -> ReferencePicker -> encode_picture, a thread -> ReferencePicture, the control channel
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time

from codec.bitstream.picture import encode_picture
from codec.config import CodecConfig
from codec.errors import ReferenceImageError, SignallingError
from codec.face import Picture
from codec.rtc import ControlChannel
from codec.structs import EncodedFrame, Hello, ReferencePicture, ReferenceStatus
from sender.face import FramedPicture
from sender.references import ReferencePicker
from sender.stats import Book

logger = logging.getLogger(__name__)


class ReferenceSupply:
    """Picks references and sends them, over all calls of a sender; everything but the coding on the event loop.

    Args:
        config: of the model.
        count: how many pictures at most; 0 sends none.
        book: where they are noted.
    """

    def __init__(self, config: CodecConfig, count: int, book: Book) -> None:
        self._config = config
        self._count = count
        self._book = book
        self._picker: ReferencePicker | None = None
        self._control: ControlChannel | None = None
        self._pictures: dict[str, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, control: ControlChannel, hello: Hello) -> None:
        """Begin to supply a receiver, unless it has pictures of its own.

        After a lost connection, a receiver may still hold some of ours: it gets the others again.
        """
        held = set(hello.reference_sha256s)
        if self._count == 0 or held - set(self._pictures):
            return
        self._control = control
        if self._picker is None:
            self._picker = ReferencePicker(self._config, min(self._count, max(hello.max_references, 1)))
        for sha256 in self._pictures:
            if sha256 not in held:
                self._send(sha256)

    def detach(self) -> None:
        """Stop: the call has ended."""
        self._control = None

    def consider(self, picture: FramedPicture, encoded: EncodedFrame) -> None:
        """Take a coded picture as a candidate."""
        if self._control is None or self._picker is None:
            return
        rgb = self._picker.offer(picture, encoded.keypoints, time.monotonic())
        if rgb is not None:
            task = asyncio.create_task(self._code_and_send(rgb))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def note_status(self, status: ReferenceStatus) -> None:
        """Take the receiver's word on a picture."""
        for reference in self._book.references:
            if reference["sha256"] == status.sha256:
                reference["accepted"] = status.accepted
        if status.accepted:
            logger.info("reference %s is in place", status.sha256[:12])
        else:
            logger.warning("the receiver refused reference %s: %s", status.sha256[:12], status.reason)

    async def _code_and_send(self, rgb: Picture) -> None:
        try:
            data = await asyncio.to_thread(encode_picture, rgb)
        except ReferenceImageError as error:
            logger.warning("a reference was not sent: %s", error)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._pictures:
            self._pictures[sha256] = data
            self._book.references.append({"sha256": sha256, "bytes": len(data), "accepted": False})
        self._send(sha256)

    def _send(self, sha256: str) -> None:
        if self._control is None:
            return  # the call has ended meanwhile; the next one gets it
        try:
            self._control.send(ReferencePicture(sha256, self._pictures[sha256]))
        except SignallingError as error:
            logger.debug("reference %s is kept for the next call: %s", sha256[:12], error)
