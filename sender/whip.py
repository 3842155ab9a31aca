"""Before the call: signalling, as a WHIP client (RFC 9725).

OPTIONS -> ICE servers;  POST offer -> answer, Location;  DELETE Location
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from aiortc import RTCIceServer

from codec.errors import SignallingError

logger = logging.getLogger(__name__)

SDP_TYPE = "application/sdp"
MAX_ANSWER_BYTES = 256 * 1024
TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 2.0

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"[^"]*"|[^\s;,"]+))*)')
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s;,"]+))')


@dataclass(frozen=True, slots=True)
class WhipAnswer:
    """What the endpoint gave for the offer.

    Attributes:
        sdp: the answer.
        resource_url: where the call is ended with DELETE; None when the endpoint named none.
        ice_servers: STUN and TURN servers that it advertises.
    """

    sdp: str
    resource_url: str | None
    ice_servers: tuple[RTCIceServer, ...]


class WhipClient:
    """Talks to one WHIP endpoint; an async context manager.

    Args:
        url: the endpoint's.
        token: bearer token, or None.
        timeout_s: how long an answer may take, seconds.

    Raises:
        SignallingError: the URL is not one of http or https.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._token = token
        self._timeout_s = timeout_s
        try:
            parsed = yarl.URL(url)
        except ValueError as error:
            raise SignallingError(f"{url!r} is not a URL: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise SignallingError(f"{url!r} is not a WHIP URL; it must begin with http:// or https://")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ice_servers(self) -> tuple[RTCIceServer, ...]:
        """Ask for the STUN and TURN servers that the endpoint advertises (section 4.6); many answer with none.

        Raises:
            SignallingError: the endpoint cannot be reached.
        """
        try:
            async with self._open.options(self.url) as response:
                return ice_servers_of(response.headers.getall("Link", [])) if response.ok else ()
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise self._unreachable(error) from error

    async def offer(self, sdp: str) -> WhipAnswer:
        """Post an offer.

        Raises:
            SignallingError: the endpoint cannot be reached, refuses, or does not answer with SDP.
        """
        try:
            async with self._open.post(self.url, data=sdp.encode(), headers={"Content-Type": SDP_TYPE}) as response:
                self._check(response, await _start_of(response))
                return WhipAnswer(
                    sdp=await self._answer_of(response),
                    resource_url=self._resource_url(response),
                    ice_servers=ice_servers_of(response.headers.getall("Link", [])),
                )
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise self._unreachable(error) from error

    async def delete(self, resource_url: str) -> None:
        """End the call at the endpoint; a failure is logged, for the call ends anyway."""
        try:
            timeout = aiohttp.ClientTimeout(total=GOODBYE_TIMEOUT_S)
            async with self._open.delete(resource_url, timeout=timeout) as response:
                logger.debug("DELETE %s: HTTP %d", resource_url, response.status)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            logger.debug("DELETE %s: %s", resource_url, error)

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use the client as an async context manager"
        return self._session

    def _check(self, response: aiohttp.ClientResponse, body: str) -> None:
        """Raise what a status other than 201 means."""
        status = response.status
        if status == 201:
            return
        if status in (401, 403):
            hint = "the token was refused" if self._token else "a token is needed (--token)"
            raise SignallingError(f"{self.url} refused the call: {hint} (HTTP {status})")
        if status in (404, 405):
            raise SignallingError(f"{self.url} is not a WHIP endpoint (HTTP {status})")
        if status in (406, 415):
            raise SignallingError(f"{self.url} does not take SDP offers (HTTP {status})")
        detail = f": {body}" if body else ""
        raise SignallingError(f"{self.url} answered HTTP {status} {response.reason or ''}".rstrip() + detail)

    async def _answer_of(self, response: aiohttp.ClientResponse) -> str:
        if response.content_type != SDP_TYPE:
            raise SignallingError(f"{self.url} answered with {response.content_type} instead of SDP")
        body = b""
        while len(body) <= MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
            body += chunk
        answer = body.decode("utf-8", errors="replace")
        if len(body) > MAX_ANSWER_BYTES or not answer.startswith("v=0"):
            raise SignallingError(f"{self.url} answered with something that is not SDP")
        return answer

    def _resource_url(self, response: aiohttp.ClientResponse) -> str | None:
        """Return the resource's absolute URL; ``Location`` may be relative to the URL that answered."""
        location = response.headers.get("Location")
        if not location:
            logger.warning("%s named no Location: the call cannot be ended there", self.url)
            return None
        return str(response.url.join(yarl.URL(location)))

    def _unreachable(self, error: Exception) -> SignallingError:
        if isinstance(error, asyncio.TimeoutError):
            return SignallingError(f"{self.url} did not answer within {self._timeout_s:g} s")
        if isinstance(error, aiohttp.ClientConnectorError):
            return SignallingError(f"cannot reach {self.url}: {_words_of(error.os_error)}")
        return SignallingError(f"cannot reach {self.url}: {error or type(error).__name__}")


def _words_of(error: OSError) -> str:
    """Return what went wrong in words; asyncio puts the address in their place, name resolution a negative number."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


async def _start_of(response: aiohttp.ClientResponse) -> str:
    """Return the first line of an error's body, for people; nothing of a success."""
    if response.status == 201 or not response.content_type.startswith("text/"):
        return ""
    start = (await response.content.read(300)).decode("utf-8", errors="replace")
    return start.strip().partition("\n")[0]


def ice_servers_of(links: Iterable[str]) -> tuple[RTCIceServer, ...]:
    """Return the ICE servers in ``Link`` headers (RFC 9725, section 4.6).

        Link: <turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; credential="secret"

    Args:
        links: values of the headers; each may hold several links.
    """
    servers = []
    for link in links:
        for url, text in _LINK.findall(link):
            parameters = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(text)}
            if parameters.get("rel") == "ice-server" and url.startswith(("stun:", "stuns:", "turn:", "turns:")):
                servers.append(RTCIceServer(url, parameters.get("username"), parameters.get("credential")))
    return tuple(servers)
