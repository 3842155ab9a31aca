"""The receiver's web server: WHIP, WHEP, the viewer page and the figures.

    POST /whip          a sender calls            GET /                    the viewer page
    POST /whep          a viewer watches          GET /stats               state and figures as JSON
                                                  GET /references/N.png    thumbnail of a reference picture

The page itself is public and holds nothing; with ``--token`` all else wants the bearer token, which the page takes
from its own address (``/#token=...``, a part that browsers do not send) or asks for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from importlib import resources

from aiohttp import web

from codec.errors import SignallingError
from receiver.config import ReceiverConfig
from receiver.signalling import MAX_OFFER_BYTES, is_authorised, refuse, unauthorised
from receiver.studio import Studio
from receiver.switchboard import Switchboard
from receiver.whep import WhepEndpoint
from receiver.whip import WhipEndpoint

logger = logging.getLogger(__name__)

PAGE_FILES = {
    "/": ("viewer.html", "text/html"),
    "/viewer.css": ("viewer.css", "text/css"),
    "/viewer.js": ("viewer.js", "text/javascript"),
}
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
ANY_ADDRESS = ("0.0.0.0", "::", "")


class ReceiverServer:
    """Serves one receiver; an async context manager that listens inside it.

    Attributes:
        switchboard: the calls.
        url: where it listens, as ``http://host:port``; empty before.
    """

    def __init__(self, studio: Studio) -> None:
        self.switchboard = Switchboard(studio)
        self.url = ""
        self._studio = studio
        self._viewers = WhepEndpoint(studio.config, studio.screen)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> ReceiverServer:
        """Listen.

        Raises:
            SignallingError: the address cannot be listened on.
        """
        config = self._studio.config
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, config.host, config.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SignallingError(f"cannot listen on {config.host}:{config.port}: {_cause(error)}") from error
        self.url = f"http://{_dialable(config)}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the viewers go and end the call under way."""
        await self.switchboard.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        """Return the web application with all its routes."""
        app = web.Application(client_max_size=MAX_OFFER_BYTES)
        WhipEndpoint(self._studio.config, self.switchboard).add_routes(app)
        self._viewers.add_routes(app)
        for path in PAGE_FILES:
            app.router.add_get(path, _page)
        app.router.add_get("/favicon.ico", _no_icon)
        app.router.add_get("/stats", self._stats)
        app.router.add_get(r"/references/{index:\d{1,3}}.png", self._reference)
        return app

    async def _stats(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._studio.config.token):
            return unauthorised()
        figures = {**self.switchboard.to_dict(), "viewers": self._viewers.num_viewers}
        return web.json_response(figures, headers={"Cache-Control": "no-store"})

    async def _reference(self, request: web.Request) -> web.Response:
        if not is_authorised(request, self._studio.config.token):
            return unauthorised()
        png = await asyncio.to_thread(self._studio.shelf.thumbnail, int(request.match_info["index"]))
        if png is None:
            return refuse(404, "no such reference picture")
        return web.Response(body=png, content_type="image/png", headers={"Cache-Control": "no-store"})


async def _page(request: web.Request) -> web.Response:
    name, content_type = PAGE_FILES[request.path]
    text = resources.files("receiver").joinpath("static", name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=content_type, headers=PAGE_HEADERS)


async def _no_icon(_: web.Request) -> web.Response:
    return web.Response(status=204)


def _dialable(config: ReceiverConfig) -> str:
    """Return the host as a URL on this machine names it."""
    if config.host in ANY_ADDRESS:
        return "localhost"
    return f"[{config.host}]" if ":" in config.host else config.host


def _cause(error: OSError) -> str:
    """Return the operating system's own words: asyncio wraps them in a sentence with the address."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error)
    return os.strerror(error.errno)
