"""The WHIP endpoint: a sender posts its offer here and gets a call (RFC 9725).

``POST /whip`` opens a call, ``PATCH`` on the call's own URL adds trickled candidates, ``DELETE`` ends it, ``OPTIONS``
lets browsers ask. One call at a time: while one is alive a second sender gets 503 and a time to try again; a call
that has gone silent gives way to the sender that posts next, so that one which lost its connection gets back in.
"""

from __future__ import annotations

import logging
from typing import Protocol

from aiohttp import web
from aiortc import RTCPeerConnection

from receiver.config import ReceiverConfig
from receiver.signalling import (
    SDP_TYPE,
    TRICKLE_TYPE,
    OfferError,
    add_trickled_candidates,
    ice_links,
    is_authorised,
    read_sdp,
    refuse,
    unauthorised,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 3
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, Link, ETag, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate",
    "Access-Control-Max-Age": "86400",
}


class BusyError(OfferError):
    """Another call is under way."""

    def __init__(self) -> None:
        super().__init__(503, f"another call is under way; try again in {RETRY_AFTER_S} s")


class OpenCall(Protocol):
    """What the endpoint needs to know of a call."""

    id: str
    etag: str
    answer: str
    pc: RTCPeerConnection


class Switchboard(Protocol):
    """Who opens and ends calls for the endpoint."""

    async def open_call(self, offer: str) -> OpenCall:
        """Open a call; raises ``OfferError``."""

    def find_call(self, call_id: str) -> OpenCall | None:
        """Return the call of that id if it is the one under way."""

    def knows(self, call_id: str) -> bool:
        """Whether there is or was such a call."""

    async def end_call(self, call_id: str, reason: str) -> None:
        """End the call of that id if it is the one under way."""


class WhipEndpoint:
    """The routes of ``/whip``."""

    def __init__(self, config: ReceiverConfig, switchboard: Switchboard) -> None:
        self._config = config
        self._switchboard = switchboard

    def add_routes(self, app: web.Application) -> None:
        """Add the endpoint's routes to an application."""
        app.router.add_post("/whip", self._post)
        app.router.add_options("/whip", self._options)
        app.router.add_patch("/whip/{call_id}", self._patch)
        app.router.add_delete("/whip/{call_id}", self._delete)
        app.router.add_options("/whip/{call_id}", self._options)
        app.on_response_prepare.append(_allow_other_origins)

    async def _options(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Accept-Post": SDP_TYPE, "Accept-Patch": TRICKLE_TYPE})

    async def _post(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._config.token):
            return unauthorised()
        try:
            offer = await read_sdp(request, SDP_TYPE)
            call = await self._switchboard.open_call(offer)
        except BusyError as error:
            return refuse(error.status, str(error), {"Retry-After": str(RETRY_AFTER_S)})
        except OfferError as error:
            logger.info("refused an offer: %s", error)
            return refuse(error.status, str(error), {"Accept-Post": SDP_TYPE})
        response = web.Response(status=201, text=call.answer, content_type=SDP_TYPE)
        response.headers["Location"] = str(request.url.with_path(f"/whip/{call.id}").with_query(None))
        response.headers["ETag"] = call.etag
        for name, value in ice_links(self._config):
            response.headers.add(name, value)
        return response

    async def _patch(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._config.token):
            return unauthorised()
        call = self._switchboard.find_call(request.match_info["call_id"])
        if call is None:
            return refuse(404, "no such call")
        if_match = request.headers.get("If-Match")
        if if_match == "*":
            return refuse(422, "an ICE restart is not supported; begin a new session")
        if if_match is not None and call.etag not in (tag.strip() for tag in if_match.split(",")):
            return refuse(412, "the If-Match tag is not this call's", {"ETag": call.etag})
        try:
            await add_trickled_candidates(call.pc, await read_sdp(request, TRICKLE_TYPE))
        except OfferError as error:
            return refuse(error.status, str(error), {"Accept-Patch": TRICKLE_TYPE})
        return web.Response(status=204, headers={"ETag": call.etag})

    async def _delete(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._config.token):
            return unauthorised()
        call_id = request.match_info["call_id"]
        if not self._switchboard.knows(call_id):
            return refuse(404, "no such call")
        await self._switchboard.end_call(call_id, "the sender hung up")
        return web.Response(status=200)


async def _allow_other_origins(request: web.Request, response: web.StreamResponse) -> None:
    """Add the CORS headers to every answer under ``/whip``, refusals included, and to nothing else."""
    if request.path == "/whip" or request.path.startswith("/whip/"):
        response.headers.update(CORS_HEADERS)
