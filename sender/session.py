"""The session: sources, model and calls, from the command line's settings to the report.

open the sources -> load the model -> call (again, when the connection is lost) -> report
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import torch
from aiortc import RTCIceGatherer, RTCIceServer

from codec import Encoder, Model, load_model
from codec.errors import ConfigError, SignallingError
from codec.face.folder import read_sources
from codec.frames import Rgb
from codec.rtc import Plugin, header_bytes, register, unregister
from codec.rtc.overhead import SEND_TIME
from codec.rtc.plugin import MOST_SENT
from codec.structs import EncodedFrame
from sender.call import Call
from sender.config import CodingConfig, PeerConfig, SenderConfig
from sender.conversation import CallEnd, How
from sender.director import Director
from sender.dump import FrameDump
from sender.face import FramedPicture
from sender.gain import GainCheck
from sender.media import Media
from sender.pace import Pace
from sender.reconstruct import Reconstructor
from sender.stats import Book, Second, check_folder, write_report
from sender.supply import ReferenceSupply
from sender.watch import Watch
from sender.whip import WhipClient

logger = logging.getLogger(__name__)

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before the attempts to call again."""

Show = Callable[[Second], None]


class Session:
    """Everything that one run of the sender does.

    Args:
        config: the settings.
        show: called about once a second.

    Raises:
        OutputError: the folder of a file to be written does not exist.
    """

    def __init__(self, config: SenderConfig, show: Show) -> None:
        self._config = config
        self._show = show
        if config.output.report is not None:
            check_folder(config.output.report)
        coding = config.coding
        self._pace = Pace(
            coding.fps, coding.max_kbps * 1000, coding.frames_per_packet, coding.step, _header_bytes(coding)
        )
        self._stop = asyncio.Event()
        self._call: Call | None = None
        self._dump = None if config.output.dump is None else FrameDump(config.output.dump)
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self.book = Book()
        self.director = Director(config.coding, self._pace, self.book)
        """Decides how each picture is sent."""

    def stop(self) -> None:
        """End the call in an orderly way; on the event loop."""
        self._stop.set()

    async def run(self) -> None:
        """Run until the source ends, the time is over, the peer leaves, or ``stop``.

        Raises:
            WarpcallError: what went wrong, in one line.
        """
        whip = WhipClient(self._config.peer.peer, self._config.peer.token)
        ice_servers = _ice_servers(self._config.peer)
        model = await asyncio.to_thread(_load, self._config)
        plugin = Plugin(
            model,
            pictures="deferred",
            repeats=self._config.coding.repeats,
            frames_per_packet=lambda: self._pace.frames_per_packet,
            step=lambda: self._pace.step,
            align=self._config.coding.align,
            header_extensions=self._config.coding.header_extensions,
            auth_tag_bytes=self._config.coding.auth_tag_bytes,
            rest_fps=self._config.coding.rest_fps,
            on_encoded=self._on_encoded,
            on_target_bitrate=self.director.note_report,
            choose_codec=lambda opaque: opaque.video_bps if isinstance(opaque, FramedPicture) else None,
            on_video_encoded=self._on_video_encoded,
        )
        coding, reconstructor = self._config.coding, Reconstructor(model)
        supply = ReferenceSupply(
            model.config,
            coding.references,
            self.book,
            GainCheck(reconstructor, coding.reference_quality),
            self.director.link_use,
            plugin.sent_references.replace,
            await asyncio.to_thread(_known_pictures, self._config, model.config.image_size),
        )
        media = Media(self._config.source, self._config.coding, model.config.image_size, self._pace)
        register(plugin)
        try:
            async with media, whip:
                beside = [asyncio.create_task(self._display())]
                if coding.mode == "auto":
                    beside.append(asyncio.create_task(Watch(self.director, supply, reconstructor).run()))
                try:
                    await self._until_stopped(self._calls(whip, ice_servers, model, media, supply))
                finally:
                    for task in beside:
                        task.cancel()
                    self._write(media)
        finally:
            unregister()

    async def _until_stopped(self, calls: Coroutine[Any, Any, None]) -> None:
        """Await the calls; a stop before a connection came about ends them at once, whatever they wait for."""
        task = asyncio.create_task(calls)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not (self._call is not None and self._call.was_connected):
                task.cancel()
            await asyncio.wait([task])
        finally:
            stopped.cancel()
            task.cancel()
        if not task.cancelled():
            task.result()

    async def _calls(
        self,
        whip: WhipClient,
        ice_servers: list[RTCIceServer],
        model: Model,
        media: Media,
        supply: ReferenceSupply,
    ) -> None:
        """Call until a call ends for good."""
        ordinary, attempt = False, 0
        advertised = await whip.ice_servers()
        while True:
            call = Call(
                whip,
                ice_servers or [server for server in advertised if _is_usable(server)],
                model,
                media,
                self.book,
                supply,
                self.director,
                self._stop,
                lambda: self._on_connected(media),
                ordinary=ordinary,
            )
            end = await self._one(call, is_first=self.book.num_calls == 0)
            attempt = 0 if call.was_connected else attempt
            advertised = call.ice_servers or advertised
            if end.how is How.NOT_WARPCALL:
                logger.warning("%s: calling again with ordinary video", end.reason)
                ordinary = True
            elif end.how is not How.LOST:
                logger.info("the call has ended: %s", end.reason)
                return
            elif not self._config.peer.reconnect or attempt == len(BACKOFF_S):
                raise SignallingError(f"the connection was lost: {end.reason}")
            elif await self._pause(BACKOFF_S[attempt], end.reason):
                return
            else:
                attempt += 1

    async def _one(self, call: Call, *, is_first: bool) -> CallEnd:
        """Make one call; a failure to reach the peer again counts as a lost connection."""
        self._call = call
        try:
            return await call.run()
        except SignallingError as error:
            if is_first or call.was_connected:
                raise
            return CallEnd(How.LOST, str(error))
        finally:
            self._call = None

    def _on_connected(self, media: Media) -> None:
        self.book.num_calls += 1
        self.book.state = "connected"
        media.begin()
        if self._deadline is None and self._config.output.duration < math.inf:
            self._deadline = self._loop.call_later(self._config.output.duration, self.stop)

    async def _pause(self, pause_s: float, reason: str) -> bool:
        """Wait before the next attempt; return whether the user stopped meanwhile."""
        self.book.state = "reconnecting"
        logger.warning("%s; calling again in %g s", reason, pause_s)
        try:
            await asyncio.wait_for(self._stop.wait(), pause_s)
        except TimeoutError:
            return False
        return True

    def _on_encoded(self, encoded: EncodedFrame, pts: int, opaque: object) -> None:
        """Take a coded picture from the coding thread to the event loop."""
        if isinstance(opaque, FramedPicture) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note_frame, encoded, pts, opaque, time.time_ns() // 1000)

    def _note_frame(self, encoded: EncodedFrame, pts: int, picture: FramedPicture, coded_time_us: int) -> None:
        self.director.note_sent(len(encoded.payload), is_video=False)
        self.book.note_frame(encoded, picture.capture_time_us, coded_time_us, picture.has_face)
        if self._dump is not None:
            self._dump.add(encoded.number, picture.rgb, picture.capture_time_us)
        if self._call is not None:
            self._call.note_frame(encoded, pts, picture)

    def _on_video_encoded(self, size_bytes: int, is_keyframe: bool, pts: int, opaque: object) -> None:
        """Take a picture coded as conventional video from the coding thread to the event loop."""
        if isinstance(opaque, FramedPicture) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note_video_frame, size_bytes, opaque, time.time_ns() // 1000)

    def _note_video_frame(self, size_bytes: int, picture: FramedPicture, coded_time_us: int) -> None:
        self.director.note_sent(size_bytes, is_video=True)
        self.book.note_video_frame(picture.capture_time_us, coded_time_us, picture.has_face)

    async def _display(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._show(self.book.second())

    def _write(self, media: Media) -> None:
        if self._config.output.report is not None:
            write_report(self._config.output.report, self.book.report(media.num_skipped))
        if self._dump is not None:
            self._dump.save()


def _load(config: SenderConfig) -> Model:
    """Load the model and run it once: the first picture would wait for that."""
    # On a busy two-core machine a picture takes 27 ms with one thread and 736 ms with two, the face detector 0.3 and
    # 4.2 s: small convolutions wait for whichever thread was put aside.
    if config.coding.threads > 0:
        torch.set_num_threads(config.coding.threads)
    model = load_model(config.coding.weights, config.coding.device)
    size = model.config.image_size
    Encoder(model).encode(np.zeros((size, size, 3), dtype=np.uint8))
    return model


def _known_pictures(config: SenderConfig, size: int) -> dict[str, Rgb]:
    """Read the pictures that the receiver may hold of its own, by the hashes by which it names them.

    Raises:
        ReferenceImageError: not a folder, or nothing usable in it.
    """
    folder = config.coding.sources
    if folder is None:
        return {}
    return {reference.sha256: reference.rgb for reference in read_sources(folder, size, MOST_SENT)}


def _header_bytes(coding: CodingConfig) -> int:
    """Return what a packet will cost beside its payload, if the peer agrees."""
    return header_bytes((SEND_TIME,) if coding.header_extensions else (), coding.auth_tag_bytes)


def _ice_servers(peer: PeerConfig) -> list[RTCIceServer]:
    """Return the servers of the command line.

    Raises:
        ConfigError: one of them is malformed.
    """
    servers = [RTCIceServer(uri) for uri in peer.stun]
    servers += [RTCIceServer(uri, peer.turn_username, peer.turn_password) for uri in peer.turn]
    for server in servers:
        if not _is_usable(server):
            raise ConfigError(f"{server.urls} is no address of a STUN or TURN server")
    return servers


def _is_usable(server: RTCIceServer) -> bool:
    """Whether aiortc can read a server's address; it would fail in the middle of a call."""
    try:
        RTCIceGatherer([server])
    except ValueError:
        return False
    return True
