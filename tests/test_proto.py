"""The wire format's package is ours, and its committed code is what its sources give."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import proto
from proto import control_pb2, frame_pb2

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ["control_pb2.py", "control_pb2.pyi", "frame_pb2.py", "frame_pb2.pyi"]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_proto", ROOT / "tools" / "generate_proto.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_proto_is_ours_and_not_proto_plus() -> None:
    assert proto.__file__ is not None
    assert Path(proto.__file__).resolve() == ROOT / "proto" / "__init__.py"
    assert not hasattr(proto, "Message")


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("generated")
    assert [path.name for path in load_generator().generate(target)] == GENERATED
    return target / "proto"


@pytest.mark.parametrize("name", GENERATED)
def test_committed_code_is_what_the_sources_give(regenerated: Path, name: str) -> None:
    assert (ROOT / "proto" / name).read_text() == (regenerated / name).read_text()


def test_the_oldest_supported_runtime_is_admitted() -> None:
    major, minor, patch = load_generator().OLDEST_RUNTIME
    assert f'"protobuf>={major}.{minor}"' in (ROOT / "pyproject.toml").read_text()
    for name in ("control_pb2.py", "frame_pb2.py"):
        assert f"    {major},\n    {minor},\n    {patch},\n" in (ROOT / "proto" / name).read_text()


def test_field_numbers_stay() -> None:
    fields = {
        message.name: {field.name: field.number for field in message.fields}
        for file in (frame_pb2.DESCRIPTOR, control_pb2.DESCRIPTOR)
        for message in file.message_types_by_name.values()
    }
    assert fields == {
        "Frame": {"coded": 4},
        "Control": {
            "hello": 1,
            "reference_fragment": 2,
            "reference_status": 3,
            "clock": 4,
            "bye": 5,
            "reference_selection": 20,
            "hold": 21,
        },
        "Hello": {
            "wire_version": 1,
            "model_sha256": 2,
            "config_name": 3,
            "role": 4,
            "reference_sha256s": 5,
            "max_references": 6,
            "priors_sha256": 7,
        },
        "ReferenceFragment": {"sha256": 1, "total_bytes": 2, "offset": 3, "data": 4},
        "ReferenceStatus": {"sha256": 1, "accepted": 2, "reason": 3},
        "ReferenceSelection": {"sha256s": 1},
        "Hold": {"reason": 1},
        "Clock": {"media": 1, "frame_number": 2, "pts": 3, "clock_rate_hz": 4, "capture_time_us": 5},
        "Bye": {"reason": 1},
    }
