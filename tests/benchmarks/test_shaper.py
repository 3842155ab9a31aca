"""The link of the benchmarks carries what it says, drops what would wait too long, and nothing stands at its end."""

from __future__ import annotations

import asyncio

import pytest
from aioice.ice import Connection

from benchmarks.shaper import IP_UDP_BYTES, Shaper


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bytes]]:
    packets: list[tuple[float, bytes]] = []

    async def send(self: Connection, data: bytes) -> None:
        packets.append((asyncio.get_running_loop().time(), data))

    monkeypatch.setattr(Connection, "send", send)
    return packets


async def test_packets_leave_at_the_link_s_rate(arrived: list[tuple[float, bytes]]) -> None:
    connection = Connection(ice_controlling=True)
    with Shaper(80_000, queue_s=10.0, delay_s=0.0) as shaper:
        for index in range(20):
            await Connection.send(connection, bytes([index]) * (100 - IP_UDP_BYTES))
        assert shaper.queued_s == pytest.approx(0.2)
        async with asyncio.timeout(10):
            while len(arrived) < 20:  # noqa: ASYNC110 - the shaper has no event
                await asyncio.sleep(0.005)
    assert [data[0] for _, data in arrived] == list(range(20))
    assert arrived[-1][0] - arrived[0][0] == pytest.approx(0.19, abs=0.08)
    assert shaper.num_passed_bytes == shaper.num_sent_bytes == 2000


async def test_what_would_wait_too_long_is_dropped(arrived: list[tuple[float, bytes]]) -> None:
    connection = Connection(ice_controlling=True)
    with Shaper(8_000, queue_s=0.25, delay_s=0.0) as shaper:
        for _ in range(10):
            await Connection.send(connection, bytes(100 - IP_UDP_BYTES))
        assert shaper.num_dropped == 7
        assert shaper.queued_s == pytest.approx(0.3)
    assert Connection.send.__name__ == "send"


async def test_losses_are_the_same_every_time(arrived: list[tuple[float, bytes]]) -> None:
    connection = Connection(ice_controlling=True)
    dropped = []
    for _ in range(2):
        with Shaper(1e9, loss=0.3, seed=5) as shaper:
            for _ in range(100):
                await Connection.send(connection, bytes(10))
        dropped.append(shaper.num_dropped)
    assert dropped[0] == dropped[1] == pytest.approx(30, abs=12)
