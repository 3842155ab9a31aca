from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from codec.errors import SignallingError
from sender.whip import WhipClient, ice_servers_of

if TYPE_CHECKING:
    from tests.sender.conftest import FakeReceiver

ANSWER = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"


async def offer(url: str, token: str | None = None) -> str:
    async with WhipClient(url, token, timeout_s=5) as client:
        answer = await client.offer("v=0\r\n")
    assert answer.resource_url is not None
    return answer.resource_url


@pytest.mark.parametrize("url", ["", "host:8080/whip", "ftp://host/whip", "http://", "camera", "http://host:port/whip"])
def test_a_url_must_be_one_of_http(url: str) -> None:
    with pytest.raises(SignallingError, match="not a"):
        WhipClient(url)


async def test_an_offer_is_answered(receiver: FakeReceiver) -> None:
    receiver.answer = ANSWER
    async with WhipClient(receiver.url) as client:
        answer = await client.offer("v=0\r\nthe offer\r\n")
        assert answer.sdp == ANSWER
        assert answer.resource_url == receiver.url + "/1"
        await client.delete(answer.resource_url)
    assert receiver.offers == ["v=0\r\nthe offer\r\n"]
    assert receiver.deleted == ["1"]


async def test_the_token_is_shown(receiver: FakeReceiver) -> None:
    receiver.answer, receiver.token = ANSWER, "sesame"
    await offer(receiver.url, "sesame")
    with pytest.raises(SignallingError, match=r"/whip refused the call: the token was refused \(HTTP 401\)$"):
        await offer(receiver.url, "parsley")
    with pytest.raises(SignallingError, match=r"refused the call: a token is needed \(--token\) \(HTTP 401\)$"):
        await offer(receiver.url)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, r"refused the call: a token is needed"),
        (404, r"is not a WHIP endpoint \(HTTP 404\)"),
        (405, r"is not a WHIP endpoint \(HTTP 405\)"),
        (406, r"does not take SDP offers \(HTTP 406\)"),
        (415, r"does not take SDP offers \(HTTP 415\)"),
        (200, r"answered HTTP 200 OK: no luck$"),
        (503, r"answered HTTP 503 Service Unavailable: no luck$"),
    ],
)
async def test_a_refusal_is_told_in_one_line(receiver: FakeReceiver, status: int, message: str) -> None:
    receiver.status = status
    with pytest.raises(SignallingError, match=message) as caught:
        await offer(receiver.url)
    assert "\n" not in str(caught.value)


async def test_another_path_is_no_endpoint(receiver: FakeReceiver) -> None:
    with pytest.raises(SignallingError, match=r"/nothing is not a WHIP endpoint \(HTTP 404\)"):
        await offer(receiver.url.replace("/whip", "/nothing"))


async def test_an_answer_must_be_sdp(receiver: FakeReceiver) -> None:
    receiver.answer = "<html>"
    with pytest.raises(SignallingError, match="answered with something that is not SDP"):
        await offer(receiver.url)
    receiver.answer, receiver.content_type = ANSWER, "text/html"
    with pytest.raises(SignallingError, match="answered with text/html instead of SDP"):
        await offer(receiver.url)
    receiver.answer, receiver.content_type = ANSWER + "a=x\r\n" * 100_000, "application/sdp"
    with pytest.raises(SignallingError, match="answered with something that is not SDP"):
        await offer(receiver.url)


async def test_a_refused_connection_is_told_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/whip"
        with pytest.raises(SignallingError, match=rf"cannot reach {url}: .*refused"):
            await offer(url)
        async with WhipClient(url) as client:
            with pytest.raises(SignallingError, match=rf"cannot reach {url}: "):
                await client.ice_servers()
            await client.delete(url + "/1")


async def test_an_endpoint_that_does_not_answer_is_given_up() -> None:
    left = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/whip"
    async with server:
        async with WhipClient(url, timeout_s=0.2) as client:
            with pytest.raises(SignallingError, match=r"/whip did not answer within 0\.2 s"):
                await client.offer("v=0\r\n")
        await left.wait()


async def test_a_server_that_speaks_no_http_is_told_in_one_line() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-something\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/whip"
    async with server:
        with pytest.raises(SignallingError, match=rf"cannot reach {url}: ") as caught:
            await offer(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [("/calls/7", "/calls/7"), ("7", "/7"), ("http://elsewhere.example/7", "http://elsewhere.example/7")],
)
async def test_a_location_may_be_relative(location: str, expected: str) -> None:
    async def post(request: web.Request) -> web.Response:
        return web.Response(status=201, text=ANSWER, content_type="application/sdp", headers={"Location": location})

    application = web.Application()
    application.router.add_post("/whip", post)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        assert await offer(f"{base}/whip") == (expected if "//" in expected else base + expected)
    finally:
        await runner.cleanup()


async def test_ice_servers_come_with_options(receiver: FakeReceiver) -> None:
    receiver.links = (
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="me"; credential="a,b;c"',
        '<https://example.net/help>; rel="help"',
    )
    async with WhipClient(receiver.url) as client:
        stun, turn = await client.ice_servers()
    assert stun.urls == "stun:stun.example.net"
    assert (turn.urls, turn.username, turn.credential) == ("turn:turn.example.net?transport=udp", "me", "a,b;c")


@pytest.mark.parametrize(
    ("link", "urls"),
    [
        ("", []),
        ("<<<;;;", []),
        ('<turn:a>; rel="ice-server", <stun:b>; rel=ice-server', ["turn:a", "stun:b"]),
        ('<http:x>; rel="ice-server"', []),
        ("<stun:x>", []),
    ],
)
def test_links_are_read_with_care(link: str, urls: list[str]) -> None:
    assert [server.urls for server in ice_servers_of([link])] == urls
