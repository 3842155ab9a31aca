"""Stages 6 and 7 of 8: the codec as an RTP video codec of aiortc.

    from codec import load_model
    from codec.rtc import Plugin, register

    register(Plugin(load_model(), references=pictures_of_the_speaker))

After that every peer connection of the process offers X-WARPCALL before VP8 and H.264, and a peer without it gets an
ordinary call. ``docs/plug-in.md`` tells the rest.
"""

from codec.rtc.adapters import ReceivedFrame
from codec.rtc.control import ControlChannel
from codec.rtc.feedback import Padder
from codec.rtc.negotiation import can_change_to_video, is_negotiated, prefer_ordinary, prefer_warpcall
from codec.rtc.overhead import HEADER_BYTES, TagBytes, header_bytes, header_bytes_of
from codec.rtc.plugin import Plugin
from codec.rtc.register import register, registered, unregister
from codec.rtc.square import square_rgb
from codec.rtc.stats import PluginCounts, PluginStats

__all__ = [
    "HEADER_BYTES",
    "ControlChannel",
    "Padder",
    "Plugin",
    "PluginCounts",
    "PluginStats",
    "ReceivedFrame",
    "TagBytes",
    "can_change_to_video",
    "header_bytes",
    "header_bytes_of",
    "is_negotiated",
    "prefer_ordinary",
    "prefer_warpcall",
    "register",
    "registered",
    "square_rgb",
    "unregister",
]
