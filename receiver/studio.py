"""What outlives a call: the model, the reference pictures, the screen."""

from __future__ import annotations

import time
from dataclasses import dataclass

from codec import Decoder, Model
from codec.rtc import Plugin
from receiver.config import ReceiverConfig
from receiver.output import Screen
from receiver.shelf import ReferenceShelf


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What every call of the program works with.

    Attributes:
        config: the program's settings.
        model: the networks.
        plugin: registered with aiortc, in its "deferred" mode.
        decoder: makes the pictures of every call, and keeps what it computed of the references.
        shelf: the reference pictures.
        screen: where pictures and sound go.
    """

    config: ReceiverConfig
    model: Model
    plugin: Plugin
    decoder: Decoder
    shelf: ReferenceShelf
    screen: Screen


def now_us() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000
