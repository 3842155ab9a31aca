"""Stage 7 of 8, receiving end: a track's decoder thread with its adapter, and its way back to the receiver.

    RTCRtpReceiver --packets--> decoder thread: DecoderAdapter --deliver--> the track's queue
          ^-----------request_keyframe, acknowledge-----'

aiortc's decoder thread knows its queues and an event, not its receiver; ``remember`` ties the event to the receiver, so
that a picture loss indication leaves at once and not with the next packet.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import av
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtcpPsfbPacket

from codec.errors import PluginError
from codec.rtc import seams
from codec.rtc.acknowledge import REFERENCE_PICTURE_SELECTION, RTCP_SSRC_ATTRIBUTE, pack_acknowledgement
from codec.rtc.adapters import DecoderAdapter
from codec.rtc.jitter import PromptJitterBuffer
from codec.rtc.plugin import Plugin
from codec.rtc.stats import PluginStats

MAX_UNREAD_FRAMES = 4
"""Frames that wait on a track for the program; the oldest is dropped for a newer one."""


class DecoderWorker(Protocol):
    """aiortc's function that runs a decoder thread."""

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        input_q: queue.Queue[Any],
        output_q: asyncio.Queue[Any],
        decode_error: threading.Event,
    ) -> None:
        """Decode what comes in the input queue until it gives None."""


class _ThisThread(threading.local):
    adapter: DecoderAdapter | None = None


_this_thread = _ThisThread()
_receivers: weakref.WeakKeyDictionary[threading.Event, weakref.ref[RTCRtpReceiver]] = weakref.WeakKeyDictionary()
_requests: set[asyncio.Future[None]] = set()


def remember(receiver: RTCRtpReceiver) -> None:
    """Note which receiver is about to start a decoder thread."""
    _receivers[getattr(receiver, seams.DECODE_ERROR_ATTRIBUTE)] = weakref.ref(receiver)


def thread_adapter() -> DecoderAdapter:
    """Return the adapter of the decoder thread that calls.

    Raises:
        PluginError: called from another thread.
    """
    if _this_thread.adapter is None:
        raise PluginError("this codec decodes in aiortc's decoder threads only")
    return _this_thread.adapter


def give_way() -> None:
    """Tell the calling decoder thread's adapter, if it has one, that another codec takes over."""
    if _this_thread.adapter is not None:
        _this_thread.adapter.give_way()


def prompt_buffer(receiver: RTCRtpReceiver) -> PromptJitterBuffer | None:
    """Return a receiver's jitter buffer if it is receiving this codec."""
    buffer = getattr(receiver, seams.JITTER_BUFFER_ATTRIBUTE)
    return buffer if isinstance(buffer, PromptJitterBuffer) and buffer.is_prompt else None


def with_adapter(plugin: Plugin, original: DecoderWorker) -> DecoderWorker:
    """Return aiortc's decoder thread with an adapter at hand; the thread's end is the generator's end."""

    def decoder_worker(
        loop: asyncio.AbstractEventLoop,
        input_q: queue.Queue[Any],
        output_q: asyncio.Queue[Any],
        decode_error: threading.Event,
    ) -> None:
        reference = _receivers.get(decode_error)
        adapter = DecoderAdapter(
            plugin,
            request_keyframe=_on_loop(loop, lambda: _request_keyframe(reference)),
            acknowledge=lambda number: _on_loop(loop, lambda: _acknowledge(reference, number))(),
            deliver=lambda frame: _on_loop(loop, lambda: _offer(output_q, frame, plugin.stats))(),
        )
        _this_thread.adapter = adapter
        try:
            original(loop, input_q, output_q, decode_error)
        finally:
            _this_thread.adapter = None
            adapter.close()

    return decoder_worker


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> Callable[[], None]:
    """Return a function for other threads that has the loop make a call, unless the loop is gone."""

    def schedule() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)

    return schedule


def _request_keyframe(reference: weakref.ref[RTCRtpReceiver] | None) -> None:
    receiver = None if reference is None else reference()
    buffer = None if receiver is None else prompt_buffer(receiver)
    if receiver is not None and buffer is not None:
        request = asyncio.ensure_future(receiver._send_rtcp_pli(buffer.ssrc))
        _requests.add(request)
        request.add_done_callback(_requests.discard)


def _acknowledge(reference: weakref.ref[RTCRtpReceiver] | None, number: int) -> None:
    receiver = None if reference is None else reference()
    buffer = None if receiver is None else prompt_buffer(receiver)
    source = getattr(receiver, RTCP_SSRC_ATTRIBUTE, None)
    if receiver is not None and buffer is not None and source is not None:
        fci = pack_acknowledgement(number)
        packet = RtcpPsfbPacket(fmt=REFERENCE_PICTURE_SELECTION, ssrc=source, media_ssrc=buffer.ssrc, fci=fci)
        request = asyncio.ensure_future(receiver._send_rtcp(packet))
        _requests.add(request)
        request.add_done_callback(_requests.discard)


def _offer(track_queue: asyncio.Queue[Any], frame: av.VideoFrame, stats: PluginStats) -> None:
    """Give a track a frame, in place of the oldest when the program does not read; runs on the event loop."""
    while track_queue.qsize() >= MAX_UNREAD_FRAMES:
        oldest = track_queue.get_nowait()
        if oldest is None:  # the track has ended
            track_queue.put_nowait(None)
            return
        stats.add(unread_dropped=1)
    track_queue.put_nowait(frame)
