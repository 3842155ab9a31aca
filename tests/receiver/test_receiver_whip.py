"""The WHIP endpoint, rule by rule (RFC 9725)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession
from aiortc import RTCConfiguration, RTCPeerConnection

from codec.rtc import Plugin
from receiver.config import ReceiverConfig
from receiver.signalling import MAX_OFFER_BYTES, ice_configuration, ice_links

if TYPE_CHECKING:
    from tests.receiver.conftest import MakePeer, StartReceiver

SDP = {"Content-Type": "application/sdp"}
TRICKLE = {"Content-Type": "application/trickle-ice-sdpfrag"}


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def make_offer(*kinds: str, direction: str = "sendonly") -> str:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        pc.addTransceiver(kind, direction=direction)
    await pc.setLocalDescription(await pc.createOffer())
    offer = str(pc.localDescription.sdp)
    await pc.close()
    return offer


async def test_post_answers_201_with_absolute_location_and_etag(
    start_receiver: StartReceiver, http: ClientSession, plugin: Plugin
) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whip", data=await make_offer("video", "audio"), headers=SDP) as response:
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert re.fullmatch(re.escape(server.url) + r"/whip/[\w-]{16,}", response.headers["Location"])
        assert re.fullmatch(r'"\w+"', response.headers["ETag"])
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        answer = await response.text()
    assert "X-WARPCALL/90000" in answer
    assert answer.count("a=setup:passive") == 2
    assert "a=setup:active" not in answer
    assert "a=candidate" in answer


async def test_answer_takes_the_role_that_the_offer_leaves(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    offer = (await make_offer("video")).replace("a=setup:actpass", "a=setup:passive")
    async with http.post(f"{server.url}/whip", data=offer, headers=SDP) as response:
        assert "a=setup:active" in await response.text()


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
async def test_other_types_are_415(start_receiver: StartReceiver, http: ClientSession, content_type: str) -> None:
    server = await start_receiver()
    headers = {"Content-Type": content_type}
    async with http.post(f"{server.url}/whip", data="v=0", headers=headers) as response:
        assert response.status == 415
        assert response.headers["Accept-Post"] == "application/sdp"


async def test_content_type_parameters_are_accepted(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    headers = {"Content-Type": "application/sdp; charset=utf-8"}
    async with http.post(f"{server.url}/whip", data=await make_offer("video"), headers=headers) as response:
        assert response.status == 201


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "does not begin with v=0"),
        (b"hello", "does not begin with v=0"),
        (b"v=0\r\n", "no m-line"),
        (b"\xff\xfe", "not UTF-8"),
        (b"v=0\r\nm=nonsense\r\n", "malformed m-line"),
        (b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\na=sendonly\r\n", "malformed"),
        (b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF x\r\na=sendonly\r\n", "malformed"),
    ],
)
async def test_malformed_offers_are_400_with_a_reason(
    start_receiver: StartReceiver, http: ClientSession, body: bytes, reason: str
) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whip", data=body, headers=SDP) as response:
        text = await response.text()
        assert (response.status, reason in text, "Traceback" in text) == (400, True, False), text


async def test_every_truncated_offer_is_refused_or_answered(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    offer = await make_offer("video", "audio")
    for length in range(0, len(offer), 211):
        async with http.post(f"{server.url}/whip", data=offer[:length], headers=SDP) as response:
            assert response.status in (201, 400, 422), await response.text()
            if response.status == 201:
                await http.delete(response.headers["Location"])


@pytest.mark.parametrize(
    ("kinds", "direction", "reason"),
    [
        (("audio",), "sendonly", "sends no video"),
        (("video",), "recvonly", "sends no video"),
        (("video", "video"), "sendonly", "more than one video"),
        (("video", "audio", "audio"), "sendonly", "more than one audio"),
    ],
)
async def test_offers_of_nothing_usable_are_422(
    start_receiver: StartReceiver, http: ClientSession, kinds: tuple[str, ...], direction: str, reason: str
) -> None:
    server = await start_receiver()
    offer = await make_offer(*kinds, direction=direction)
    async with http.post(f"{server.url}/whip", data=offer, headers=SDP) as response:
        assert response.status == 422
        assert reason in await response.text()


async def test_an_offer_without_a_common_codec_is_422(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    offer = re.sub(r"(X-WARPCALL|VP8|H264)/90000", "AV9/90000", await make_offer("video"))
    async with http.post(f"{server.url}/whip", data=offer, headers=SDP) as response:
        assert response.status == 422
    assert server.switchboard.state == "waiting"


async def test_without_a_network_address_the_answer_says_so(
    start_receiver: StartReceiver, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_receiver()
    offer = await make_offer("video")
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    async with http.post(f"{server.url}/whip", data=offer, headers=SDP) as response:
        assert response.status == 503
        assert "no network address" in await response.text()


async def test_an_offer_that_is_too_large_is_413(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whip", data=b"v=0\r\n" + bytes(MAX_OFFER_BYTES), headers=SDP) as response:
        assert response.status == 413


async def test_the_token_is_needed_on_post_patch_and_delete(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver(ReceiverConfig(token="secret"))
    offer = await make_offer("video")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
        async with http.post(f"{server.url}/whip", data=offer, headers=SDP | headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
    token = {"Authorization": "Bearer secret"}
    async with http.post(f"{server.url}/whip", data=offer, headers=SDP | token) as response:
        assert response.status == 201
        location = response.headers["Location"]
    async with http.patch(location, data="", headers=TRICKLE) as response:
        assert response.status == 401
    async with http.delete(location) as response:
        assert response.status == 401
    async with http.delete(location, headers=token) as response:
        assert response.status == 200


async def test_delete_is_idempotent(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whip", data=await make_offer("video"), headers=SDP) as response:
        location = response.headers["Location"]
    for _ in range(3):
        async with http.delete(location) as response:
            assert response.status == 200
    async with http.delete(f"{server.url}/whip/never-was") as response:
        assert response.status == 404
    assert server.switchboard.last_call is not None
    assert server.switchboard.last_call.end_reason == "the sender hung up"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_other_methods_are_405(start_receiver: StartReceiver, http: ClientSession, method: str) -> None:
    server = await start_receiver()
    for path in ("/whip", "/whip/some-id"):
        async with http.request(method, server.url + path) as response:
            assert response.status == 405


async def test_options_tells_types_and_allows_other_origins(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver(ReceiverConfig(token="secret"))
    preflight = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    async with http.options(f"{server.url}/whip", headers=preflight) as response:
        assert response.status == 204
        assert response.headers["Accept-Post"] == "application/sdp"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        for name in ("Authorization", "Content-Type", "If-Match"):
            assert name in response.headers["Access-Control-Allow-Headers"]
        for name in ("Location", "Link", "ETag"):
            assert name in response.headers["Access-Control-Expose-Headers"]
        for name in ("POST", "PATCH", "DELETE", "OPTIONS"):
            assert name in response.headers["Access-Control-Allow-Methods"]
    async with http.post(f"{server.url}/whip", headers=SDP) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_servers_named_are_linked(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    async with http.post(f"{server.url}/whip", data=await make_offer("video"), headers=SDP) as response:
        assert "Link" not in response.headers
    config = ReceiverConfig(turn=("turn:127.0.0.1:1",), turn_username="ann", turn_password='p"w')
    assert ice_links(ReceiverConfig(stun=("stun:127.0.0.1:1",))) == [("Link", '<stun:127.0.0.1:1>; rel="ice-server"')]
    [(_, link)] = ice_links(config)
    assert link.startswith('<turn:127.0.0.1:1>; rel="ice-server"; username="ann"; credential="p\\"w"')
    assert [server.urls for server in ice_configuration(config).iceServers or []] == ["turn:127.0.0.1:1"]
    assert ice_configuration(ReceiverConfig()).iceServers == []


async def test_patch_takes_candidates_and_refuses_restarts(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver()
    offer = await make_offer("video")
    lines = [line for line in offer.splitlines() if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    async with http.post(f"{server.url}/whip", data="\r\n".join(lines) + "\r\n", headers=SDP) as response:
        assert response.status == 201
        location, etag = response.headers["Location"], response.headers["ETag"]
    ufrag = next(line for line in lines if line.startswith("a=ice-ufrag:"))
    candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"
    good = "\r\n".join([ufrag, "a=ice-pwd:x", "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", candidate, ""])
    hidden = good.replace("127.0.0.1", "a1b2.local")
    for body, headers, status in (
        (good, {}, 204),
        (good, {"If-Match": etag}, 204),
        (hidden, {}, 204),
        (good, {"If-Match": '"other"'}, 412),
        (good, {"If-Match": "*"}, 422),
        (good.replace(ufrag, "a=ice-ufrag:new1"), {}, 422),
        ("nonsense", {}, 400),
        (good.replace(" typ host", ""), {}, 400),
        (good.replace("a=mid:0\r\n", ""), {}, 400),
        (good + "a=end-of-candidates\r\n", {}, 204),
    ):
        async with http.patch(location, data=body, headers=TRICKLE | headers) as response:
            assert response.status == status, await response.text()
    async with http.patch(location, data=good, headers=SDP) as response:
        assert response.status == 415
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    async with http.patch(f"{server.url}/whip/never-was", data=good, headers=TRICKLE) as response:
        assert response.status == 404


async def test_a_live_call_is_not_displaced(
    start_receiver: StartReceiver, make_peer: MakePeer, http: ClientSession
) -> None:
    server = await start_receiver()
    first = await make_peer()
    await first.call(f"{server.url}/whip")
    async with http.post(f"{server.url}/whip", data=await make_offer("video"), headers=SDP) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "another call" in await response.text()
    await http.delete(first.location)
    async with http.post(f"{server.url}/whip", data=await make_offer("video"), headers=SDP) as response:
        assert response.status == 201


async def test_page_stats_and_references(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver(num_own=2)
    async with http.get(f"{server.url}/") as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        page = await response.text()
    assert not re.search(r"(src|href)=.https?:", page)
    for name in ("viewer.js", "viewer.css"):
        async with http.get(f"{server.url}/{name}") as response:
            assert response.status == 200
    async with http.get(f"{server.url}/stats") as response:
        stats = await response.json()
        assert (stats["state"], stats["call"], len(stats["references"])) == ("waiting", None, 2)
    async with http.get(f"{server.url}/references/1.png") as response:
        assert (await response.read()).startswith(b"\x89PNG")
    async with http.get(f"{server.url}/references/2.png") as response:
        assert response.status == 404


async def test_with_a_token_only_the_page_is_public(start_receiver: StartReceiver, http: ClientSession) -> None:
    server = await start_receiver(ReceiverConfig(token="secret"))
    async with http.get(f"{server.url}/") as response:
        assert response.status == 200
    for path in ("/stats", "/references/0.png"):
        async with http.get(server.url + path) as response:
            assert response.status == 401
        async with http.get(server.url + path, headers={"Authorization": "Bearer secret"}) as response:
            assert response.status == 200
    async with http.post(f"{server.url}/whep", data="v=0", headers=SDP) as response:
        assert response.status == 401
