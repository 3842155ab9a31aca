"""Beside the pictures: a look, now and then, at what the receiver makes of them.

    Director.newest, the references in use -> Reconstructor, a thread -> QualityJudge, and a candidate for a reference

A look takes as long as the receiver's generator does; it is followed by a rest of several times that.
"""

from __future__ import annotations

import asyncio
import logging

from codec.errors import WarpcallError
from sender.director import Director
from sender.face import FramedPicture
from sender.gain import SLOWEST_PICTURE_S
from sender.held import HeldReferences
from sender.reconstruct import Reconstructor
from sender.references import locations_of
from sender.supply import ReferenceSupply

logger = logging.getLogger(__name__)

LEAST_REST_S = 0.4
REST = 6.0
"""Times a look's own duration."""


class Watch:
    """Looks at the newest picture as the receiver would show it.

    Args:
        director: whose pictures are looked at, and whose judge is told.
        supply: knows the references in use.
        reconstructor: the receiver's generator.
    """

    def __init__(self, director: Director, supply: ReferenceSupply, reconstructor: Reconstructor) -> None:
        self._director = director
        self._supply = supply
        self._reconstructor = reconstructor
        self._seen: FramedPicture | None = None
        self._references: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            start_s = loop.time()
            picture, held = self._director.newest, self._supply.held
            if picture is not None and picture is not self._seen and held is not None and held.used:
                self._seen = picture
                try:
                    await self._look(picture, held)
                except WarpcallError as error:
                    logger.warning("a picture could not be rebuilt: %s", error)
            await asyncio.sleep(max(LEAST_REST_S, REST * (loop.time() - start_s)))

    async def _look(self, picture: FramedPicture, held: HeldReferences) -> None:
        references = tuple(reference.sha256 for reference in held.used)
        if references != self._references:
            self._references = references
            self._director.judge.forget_reconstructions()
        if (self._reconstructor.picture_s or 0.0) > SLOWEST_PICTURE_S:
            keypoints = await asyncio.to_thread(self._reconstructor.find, picture.rgb)
            locations_K2 = locations_of(keypoints, self._reconstructor.config)
            self._director.judge.note_distance(held.nearest_distance(locations_K2))
        else:
            rgbs = [reference.rgb for reference in held.used]
            seen = await asyncio.to_thread(self._reconstructor.reconstruct, picture.rgb, rgbs)
            keypoints = seen.keypoints
            self._director.judge.note_reconstruction(seen.worst_error, asyncio.get_running_loop().time())
        if self._director.mode == "video" and not self._director.verdict.reason:
            self._supply.consider(picture, keypoints)
