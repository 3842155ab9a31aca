"""Feed a bitstream's readers with bytes that coverage guides: ``python -m tools.fuzz_bitstream [SECONDS]``.

Needs ``atheris`` (libFuzzer for Python; the ``fuzz`` extra). Every byte string goes to a reader that knows a stream, to
the control channel's reader, and to that of an acknowledgement. Anything but a ``CodecError``, or more than
``MAX_MEGABYTES``, ends the run with a traceback and the bytes that did it.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import atheris

fuzzer: Any = atheris  # it has no types

with fuzzer.instrument_imports(include=["codec.bitstream", "codec.rtc.acknowledge"]):
    from codec.bitstream.message import ControlAssembler
    from codec.bitstream.priors import generic_priors
    from codec.bitstream.quantise import check_values
    from codec.bitstream.stream import StreamReader
    from codec.config import CodecConfig
    from codec.errors import CodecError
    from codec.rtc.acknowledge import unpack_acknowledgement


FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "wire"
CONFIG = CodecConfig(name="golden", location_bits=9, strength_bits=5)
DEFAULT_SECONDS = 180
MAX_MEGABYTES = 64
PRIORS = generic_priors(20)


class Target:
    """What the fuzzer calls; its readers live on, as in a call."""

    def __init__(self, model_sha256: str) -> None:
        self._reader = StreamReader(CONFIG, model_sha256, PRIORS)
        self._assembler = ControlAssembler()
        self.num_read = 0

    def __call__(self, data: bytes) -> None:
        """Feed one byte string to every reader."""
        since_last = 1 + data[-1] % 20 if data else 1
        try:
            for frame in self._reader.read_all(data, since_last):
                check_values(frame.keypoints.values_K3, CONFIG)
                self.num_read += 1
        except CodecError:
            pass
        for read in (self._assembler.feed, unpack_acknowledgement):
            try:
                read(data)
            except CodecError:
                continue
        if tracemalloc.get_traced_memory()[1] > MAX_MEGABYTES << 20:
            raise MemoryError(f"{len(data)} bytes took more than {MAX_MEGABYTES} MB")


def main(argv: list[str] | None = None) -> int:
    """Fuzz for some seconds from the golden files on."""
    from hashlib import sha256

    seconds = int((argv or sys.argv[1:] or [str(DEFAULT_SECONDS)])[0])
    tracemalloc.start()
    target: Any = Target(sha256(b"golden model").hexdigest())
    with tempfile.TemporaryDirectory() as folder:
        for path in FIXTURES.glob("*.bin"):
            (Path(folder) / path.name).write_bytes(path.read_bytes())
        fuzzer.Setup(["fuzz", folder, f"-max_total_time={seconds}", "-max_len=2000", "-seed=1"], target)
        fuzzer.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
