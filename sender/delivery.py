"""Beside the pictures: a reference goes over the link in small parts, so that keypoints never wait for it.

    CodedReference -> parts of a few hundred bytes -> pauses -> the control channel

SCTP would send a picture of 3 kB in one burst, and keypoints would wait behind it: 1.5 s at 20 kbit/s. So a part is as
large as the link carries in a tenth of a second, and the next one follows when its share of the link has paid for the
one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from codec.rtc import ControlChannel
from codec.structs import ReferencePicture
from sender.held import CodedReference

LEAST_SHARE, PICTURES_SHARE = 0.15, 0.9
"""Of the link's bits, for a reference on its way: what the pictures leave of the one, and the other at least."""
FIRST_SHARE = 0.75
"""For the first one: without it the receiver shows nothing."""
PART_S = 0.1
PART_HEADER_BYTES = 150
"""Of a part on the wire: IPv4 20, UDP 8, DTLS 29, SCTP 28, the part's own fields 45, and its acknowledgement's
share."""
SMALLEST_PART_BYTES, LARGEST_PART_BYTES = 160, 1000


@dataclass(frozen=True, slots=True)
class LinkUse:
    """The link at one moment.

    Attributes:
        bandwidth_bps: bits per second that it carries.
        pictures_bps: bits per second that the pictures take, headers counted.
    """

    bandwidth_bps: float
    pictures_bps: float


def delivery_bps(link: LinkUse, *, is_first: bool) -> float:
    """Return the bits per second at which a reference goes."""
    if is_first:
        return FIRST_SHARE * link.bandwidth_bps
    return max(LEAST_SHARE * link.bandwidth_bps, PICTURES_SHARE * link.bandwidth_bps - link.pictures_bps)


async def deliver(
    control: ControlChannel, reference: CodedReference, link: Callable[[], LinkUse], *, is_first: bool
) -> None:
    """Send a reference; return when its last part has been given to the channel.

    Args:
        control: an open channel.
        reference: to be sent.
        link: tells what the link carries now, and what the pictures take of it.
        is_first: whether the receiver has no other.

    Raises:
        SignallingError: the channel has closed.
    """
    owed_bytes = 0

    async def pause(size_bytes: int) -> None:
        nonlocal owed_bytes
        await asyncio.sleep(8 * owed_bytes / max(delivery_bps(link(), is_first=is_first), 1.0))
        while control.num_buffered_bytes > LARGEST_PART_BYTES and control.is_open:  # noqa: ASYNC110
            await asyncio.sleep(PART_S)  # the channel itself is slower: its own window is full
        owed_bytes = size_bytes + PART_HEADER_BYTES

    await control.send_in_parts(
        ReferencePicture(reference.sha256, reference.data), part_size(link().bandwidth_bps), pause
    )


def part_size(bandwidth_bps: float) -> int:
    """Return how many bytes of a picture go into a part."""
    carried = round(bandwidth_bps * PART_S / 8) - PART_HEADER_BYTES
    return min(max(carried, SMALLEST_PART_BYTES), LARGEST_PART_BYTES)
