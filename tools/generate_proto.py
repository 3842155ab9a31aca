"""Regenerate ``proto/*_pb2.py`` and ``proto/*_pb2.pyi`` from the ``.proto`` files: ``python tools/generate_proto.py``.

Needs the ``dev`` extra (grpcio-tools, mypy-protobuf). The code that protoc writes refuses any protobuf runtime older
than protoc itself, although it only loads a descriptor; the stamp is set to the oldest runtime that
``pyproject.toml`` admits, so that the output also stays the same from one protoc to the next.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
OLDEST_RUNTIME = (6, 33, 0)


def stamp_version(code: str) -> str:
    """Replace protoc's own version by the oldest supported runtime's."""
    major, minor, patch = OLDEST_RUNTIME
    code = re.sub(r"# Protobuf Python Version: .*", f"# Protobuf Python Version: {major}.{minor}.{patch}", code)
    return re.sub(r"PUBLIC,\n    \d+,\n    \d+,\n    \d+,", f"PUBLIC,\n    {major},\n    {minor},\n    {patch},", code)


def generate(target: Path) -> list[Path]:
    """Write the code of every ``proto/*.proto`` under a folder.

    Args:
        target: gets ``proto/NAME_pb2.py`` and ``proto/NAME_pb2.pyi``.

    Returns:
        Paths of the written files.

    Raises:
        RuntimeError: protoc failed; it has printed why.
    """
    sources = sorted((ROOT / "proto").glob("*.proto"))
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    include = resources.files("grpc_tools") / "_proto"
    arguments = [f"-I{ROOT}", f"-I{include}", f"--plugin=protoc-gen-mypy={plugin}"]
    arguments += [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    if protoc.main(["protoc", *arguments, *(str(source.relative_to(ROOT)) for source in sources)]):
        raise RuntimeError("protoc failed")
    written = sorted((target / "proto").glob("*_pb2.py*"))
    for path in written:
        path.write_text(stamp_version(path.read_text()))
    return written


def main() -> int:
    """Regenerate the committed code in place."""
    with tempfile.TemporaryDirectory() as folder:
        for path in generate(Path(folder)):
            (ROOT / "proto" / path.name).write_text(path.read_text())
            print(f"proto/{path.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
