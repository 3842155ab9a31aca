"""``python -m receiver``: wait for a call, rebuild the speaker's picture and show it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.logging import RichHandler

from codec import Decoder, load_model
from codec.errors import OutputError, WarpcallError
from codec.face.folder import read_sources
from codec.rtc import Plugin, register
from codec.structs import CodedFrame, QuantisedKeypoints
from receiver.config import ReceiverConfig
from receiver.display import show_figures
from receiver.output import Screen
from receiver.record import check_writable
from receiver.server import ReceiverServer
from receiver.shelf import ReferenceShelf
from receiver.studio import Studio

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the receiver and return its exit code: 0 good, 1 our failure, 2 usage."""
    try:
        config = tyro.cli(ReceiverConfig, args=argv, prog="python -m receiver")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    console = Console()
    _configure_logging(config, console)
    try:
        return _event_loop_runner()(run(config, console))
    except WarpcallError as error:
        if config.debug:
            traceback.print_exc()
        print(f"receiver: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def open_studio(config: ReceiverConfig) -> Studio:
    """Load the model and the reference pictures, and register the codec.

    Raises:
        WarpcallError: weights, references or an output path are not usable; the message says which.
    """
    for path, option in ((config.record, "--record"), (config.report, "--report"), (config.dump, "--dump")):
        if path is not None:
            check_writable(path, option)
    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(config.weights, config.device)
    size = model.config.image_size
    own = read_sources(config.sources, size, config.max_references) if config.sources is not None else []
    shelf = ReferenceShelf(size, config.max_references, own)
    decoder = Decoder(model)
    if own:
        decoder.set_references(shelf.rgbs, shelf.tags)
        middle = np.zeros((model.config.num_keypoints, 3), dtype=np.int32)
        # The first run takes longest: better now than in the call.
        decoder.generate(CodedFrame(0, None, QuantisedKeypoints(middle)))
    plugin = Plugin(model, pictures="deferred")
    register(plugin)
    return Studio(config=config, model=model, plugin=plugin, decoder=decoder, shelf=shelf, screen=Screen(size))


async def run(config: ReceiverConfig, console: Console) -> int:
    """Receive until Ctrl-C, or until the first call ended with ``--once``; return the exit code.

    Raises:
        WarpcallError: the receiver cannot begin, or something of its own went wrong in a call.
    """
    studio = await asyncio.to_thread(open_studio, config)
    stop = asyncio.Event()
    async with ReceiverServer(studio) as server, _stopped_by_signals(stop):
        print(f"listening on {server.url}/whip (viewer page: {server.url}/)", flush=True)
        logger.info("%s on %s, %d reference pictures", studio.model.config.name, studio.model.device, len(studio.shelf))
        waits: list[Coroutine[Any, Any, object]] = [stop.wait()]
        if config.once:
            waits.append(server.switchboard.first_ended.wait())
        if not config.quiet:
            waits.append(show_figures(server.switchboard, server.url, console, _print_line))
        await _first_of(waits)
    failures = server.switchboard.failures
    if failures:
        raise OutputError(failures[-1])
    return 0


async def _first_of(coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run coroutines until one of them is done, and cancel the others; an error of any of them is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def _event_loop_runner() -> Callable[..., int]:
    """Return ``asyncio.run``, or uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


@contextlib.asynccontextmanager
async def _stopped_by_signals(stop: asyncio.Event) -> AsyncIterator[None]:
    """Set the event on the first Ctrl-C or SIGTERM; a second one ends the program at once."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def leave_to_python() -> None:
        for number in numbers:
            with contextlib.suppress(NotImplementedError):  # asyncio has no signal handlers on Windows: none was added
                loop.remove_signal_handler(number)

    def on_signal() -> None:
        stop.set()
        leave_to_python()

    for number in numbers:
        with contextlib.suppress(NotImplementedError):  # as above: there Ctrl-C stays Python's, a KeyboardInterrupt
            loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        leave_to_python()


def _configure_logging(config: ReceiverConfig, console: Console) -> None:
    """Log above the live table, or as plain lines on standard error where there is no terminal."""
    handler = RichHandler(console=console, show_path=False) if console.is_terminal else logging.StreamHandler()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    is_verbose = config.verbose or config.debug
    level = logging.DEBUG if is_verbose else logging.WARNING if config.quiet else logging.INFO
    for name in ("receiver", "codec"):
        logging.getLogger(name).setLevel(level)


def _print_line(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
