"""The sender's command line: ``python -m sender --camera 0 --peer http://host:8080/whip``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import tyro

from codec.errors import WarpcallError
from sender.config import OutputConfig, SenderConfig
from sender.display import display_for
from sender.session import Session

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sender.

    Args:
        argv: arguments without the program's name; None takes the command line's.

    Returns:
        0 when the call ended in an orderly way, 1 when it failed, 2 for wrong usage.
    """
    try:
        config = tyro.cli(SenderConfig, args=argv, prog="python -m sender", config=(tyro.conf.OmitArgPrefixes,))
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    _configure_logging(config.output)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(config))
    except WarpcallError as error:
        if config.output.debug:
            traceback.print_exc()
        print(f"sender: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sender: interrupted", file=sys.stderr)
        return 1
    except Exception as error:  # the top: a fault of ours, shown like the others
        logger.debug("", exc_info=True)
        print(f"sender: internal error: {error!r} (see --debug)", file=sys.stderr)
        return 1
    return 0


async def _run(config: SenderConfig) -> None:
    with display_for(quiet=config.output.quiet) as display:
        session = Session(config, display.show)
        _stop_on_signals(session.stop)
        await session.run()


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """End the call in an orderly way at the first Ctrl-C; the second one ends the program."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        loop.remove_signal_handler(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        # asyncio has no signal handlers on Windows, and in another thread than the main one refuses them (ValueError or
        # RuntimeError, by the loop): Ctrl-C then stays Python's, a KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, on_signal, number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop, or None for the standard one where there is no uvloop."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _configure_logging(output: OutputConfig) -> None:
    level = logging.DEBUG if output.debug else logging.INFO if output.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if not output.debug:
        logging.getLogger("aioice").setLevel(logging.WARNING)  # tells of every candidate pair


if __name__ == "__main__":
    sys.exit(main())
