"""The WHEP endpoint: a browser posts its offer here and sees and hears the call (draft-ietf-wish-whep).

The picture goes out as VP8 with Opus beside it, which every browser plays. A viewer's session is its own: it may begin
before the call and stay for the next. No CORS header is sent: only the receiver's own page may watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

from aiohttp import web
from aiortc import RTCPeerConnection

from receiver.config import ReceiverConfig
from receiver.output import Screen
from receiver.signalling import (
    SDP_TYPE,
    OfferError,
    answer_offer,
    capabilities,
    ice_configuration,
    ice_links,
    is_authorised,
    read_sdp,
    refuse,
    sections,
    unauthorised,
)

logger = logging.getLogger(__name__)

SILENCE_S = 15.0


class Viewer:
    """One browser's peer connection, from its offer to its leaving."""

    def __init__(self, config: ReceiverConfig, screen: Screen) -> None:
        self.id = secrets.token_urlsafe(12)
        self.pc = RTCPeerConnection(ice_configuration(config))
        self.gone = asyncio.Event()
        self._screen = screen
        self._tracks = screen.watch()
        self.pc.on("connectionstatechange", self._on_connection_state)

    async def answer(self, offer: str) -> str:
        """Return the answer to the viewer's offer.

        Raises:
            OfferError: the offer is malformed, or wants no VP8 picture.
        """
        wanted = [(kind, direction) for kind, port, direction in sections(offer) if port]
        if not any(kind == "video" and direction in ("recvonly", "sendrecv") for kind, direction in wanted):
            raise OfferError(422, "the offer does not ask for video")
        picture, sound = self._tracks
        video = self.pc.addTransceiver(picture, direction="sendonly")
        video.setCodecPreferences(capabilities("video", "vp8", "rtx"))
        if any(kind == "audio" for kind, _ in wanted):
            self.pc.addTransceiver(sound, direction="sendonly")
        return await answer_offer(self.pc, offer)

    async def num_packets_received(self) -> int:
        """Return how many packets of any kind came from the viewer."""
        stats = (await self.pc.getStats()).values()
        return sum(entry.packetsReceived for entry in stats if entry.type == "transport")

    async def close(self) -> None:
        """Let the viewer go."""
        self.gone.set()
        self._screen.leave(*self._tracks)
        await self.pc.close()

    def _on_connection_state(self) -> None:
        logger.debug("viewer %s is %s", self.id, self.pc.connectionState)
        if self.pc.connectionState in ("failed", "closed"):
            self.gone.set()


class WhepEndpoint:
    """The routes of ``/whep`` and the viewers behind them."""

    def __init__(self, config: ReceiverConfig, screen: Screen) -> None:
        self._config = config
        self._screen = screen
        self._viewers: dict[str, Viewer] = {}
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def num_viewers(self) -> int:
        """Viewers that are connected or connecting."""
        return len(self._viewers)

    def add_routes(self, app: web.Application) -> None:
        """Add the endpoint's routes to an application, and letting go of all viewers when it shuts down."""
        app.router.add_post("/whep", self._post)
        app.router.add_delete("/whep/{viewer_id}", self._delete)
        app.on_shutdown.append(self._close_all)

    async def _post(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._config.token):
            return unauthorised()
        try:
            offer = await read_sdp(request, SDP_TYPE)
            if self.num_viewers >= self._config.max_viewers:
                return refuse(503, f"{self.num_viewers} viewers are watching, and no more may", {"Retry-After": "10"})
            viewer = Viewer(self._config, self._screen)
            self._viewers[viewer.id] = viewer
            try:
                answer = await viewer.answer(offer)
            except BaseException:
                await self._drop(viewer)
                raise
        except OfferError as error:
            return refuse(error.status, str(error), {"Accept-Post": SDP_TYPE})
        watch = asyncio.create_task(self._watch(viewer))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        response = web.Response(status=201, text=answer, content_type=SDP_TYPE)
        response.headers["Location"] = str(request.url.with_path(f"/whep/{viewer.id}").with_query(None))
        for name, value in ice_links(self._config):
            response.headers.add(name, value)
        return response

    async def _delete(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._config.token):
            return unauthorised()
        viewer = self._viewers.get(request.match_info["viewer_id"])
        if viewer is None:
            return refuse(404, "no such viewer")
        await self._drop(viewer)
        return web.Response(status=200)

    async def _watch(self, viewer: Viewer) -> None:
        """Drop a viewer that has gone, or from which nothing comes: browsers report about once a second."""
        before, now = -1, 0
        while not viewer.gone.is_set() and now > before:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(viewer.gone.wait(), SILENCE_S)
            before, now = now, await viewer.num_packets_received()
        await self._drop(viewer)

    async def _drop(self, viewer: Viewer) -> None:
        if self._viewers.pop(viewer.id, None) is not None:
            await viewer.close()

    async def _close_all(self, _: web.Application) -> None:
        await asyncio.gather(*(self._drop(viewer) for viewer in list(self._viewers.values())))
        await asyncio.gather(*self._watches)
