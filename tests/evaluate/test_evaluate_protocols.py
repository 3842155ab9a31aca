from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codec.errors import TrainingError
from training.evaluate import reconstruct
from training.evaluate.__main__ import main
from training.evaluate.clips import Frames
from training.evaluate.protocol_config import ProtocolConfig
from training.evaluate.protocols import DATASETS, evenly, reconstruction
from training.evaluate.protocols import test_clips as clips_of_test
from training.evaluate.published import ABLATIONS, IMPLICIT_WARPING, PUBLISHED
from training.evaluate.tables import load_result, markdown

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


def config(folder: Path, dataset: Any = "talkinghead-1kh", **settings: Any) -> ProtocolConfig:
    return ProtocolConfig(dataset=dataset, clips=folder, out=folder / "out.json", **settings)


def test_all_clips_are_the_test_without_a_list(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "b.mp4", "a.mp4", "notes.txt")
    assert [path.name for path in clips_of_test(config(folder))] == ["a.mp4", "b.mp4"]


def test_a_list_names_the_test(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "list.txt").write_text("val/c.mp4\n\na\nc.mp4\n")
    chosen = clips_of_test(config(folder, test_list=tmp_path / "list.txt"))
    assert [path.name for path in chosen] == ["c.mp4", "a.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("d.mp4\ne.mp4\na\n", r"names d\.mp4, the first of 2 clip\(s\) that are missing"), ("\n", "names no clip")],
)
def test_a_list_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    folder = folder_of(tmp_path, "a.mp4")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(TrainingError, match=message):
        clips_of_test(config(folder, test_list=tmp_path / "list.txt"))
    with pytest.raises(TrainingError, match="cannot be read"):
        clips_of_test(config(folder, test_list=tmp_path / "nothing.txt"))


@pytest.mark.parametrize("mark", ["-", "#"])
def test_ten_clips_of_each_identity(tmp_path: Path, mark: str) -> None:
    names = [f"id1{mark}v{number:02d}{mark}1-9.mp4" for number in range(20)] + [f"id2{mark}v.mp4"]
    folder = folder_of(tmp_path, *names)
    chosen = [path.name for path in clips_of_test(config(folder, "voxceleb2"))]
    assert chosen == [*names[:20:2], f"id2{mark}v.mp4"]


def test_evenly() -> None:
    paths = [Path(str(number)) for number in range(5)]
    assert evenly(paths, 0) == evenly(paths, 9) == paths
    assert evenly(paths, 2) == [paths[0], paths[2]]


def test_settings_are_the_papers(tmp_path: Path) -> None:
    heads, bodies = (reconstruction(config(tmp_path, name)) for name in ("talkinghead-1kh", "ted-talk"))
    assert (heads.references, heads.metrics, heads.landmarks) == ((1, 2, 3), ("fid",), True)
    assert (bodies.metrics, bodies.landmarks) == (("fid", "body"), False)
    assert reconstruction(config(tmp_path, "voxceleb2")).references == (1,)
    chosen = reconstruction(config(tmp_path, references=(2,), metrics=()))
    assert (chosen.references, chosen.metrics) == ((2,), ())


def test_published_figures_are_the_papers() -> None:
    """As the supplement and the abstract of the paper's tables print them, digit by digit."""
    ours = {(line.dataset, line.references): line.figures for line in PUBLISHED if line.method == IMPLICIT_WARPING}
    assert ours["talkinghead-1kh", 3] == {
        "psnr_db": "26.77",
        "l1": "7.35",
        "lpips_alex": "0.081",
        "akd": "3.96",
        "fid": "9.1",
    }
    assert ours["ted-talk", 2].keys() == {"psnr_db", "l1", "lpips_alex", "fid"}
    assert [line.figures["psnr_db"] for line in ABLATIONS] == ["23.253", "23.483", "23.582"]
    assert {line.dataset for line in (*PUBLISHED, *ABLATIONS)} <= DATASETS.keys()


def test_tables_of_published_figures_alone() -> None:
    printed = markdown([])
    assert "| FOMM | 2 | 25.43 | 9.0 | 0.116 | 4.66 | 19.6 |" in printed
    assert "| face-vid2vid | 1 | - | - | - | - | - |" in printed
    assert "| Implicit Warping (the paper) | 2 | 26.53 | 6.60 | 0.088 | - | - | - | - | 13.8 |" in printed
    assert "| residual connection | 1 | 23.483 ± 0.12 | 12.721 ± 0.26 |" in printed
    assert "Warpcall" not in printed


def test_protocol_and_tables(
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tiny_weights: Path,
    lpips_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The TED-talk test on small pictures, without the metrics whose weights are not at hand."""
    reconstruct.open_workbench.cache_clear()
    write_clip("a.mp4", moving_pictures(8))
    write_clip("b.mp4", moving_pictures(8, seed=1))
    out = tmp_path / "ted.json"
    words = ["protocol", "ted-talk", "--clips", str(tmp_path / "clips"), "--out", str(out), "--metrics", "none"]
    words += ["--weights", str(tiny_weights), "--loss-weights", str(lpips_folder), "--cache", str(tmp_path / "cache")]
    assert main([*words, "--device", "cpu"]) == 0
    result = json.loads(out.read_text())
    assert result["dataset"] == "ted-talk"
    assert list(result["overall"]) == ["1", "2", "3"]
    capsys.readouterr()
    assert main(["tables", str(out)]) == 0
    printed = capsys.readouterr().out
    figures = result["overall"]["2"]
    line = f"{figures['psnr_db']:.2f} | {figures['l1']:.2f} | {figures['lpips_alex']:.3f} | - | - | - | - | - |"
    assert f"| Warpcall tiny, 64x64 | 2 | {line}" in printed
    assert "| frozen picture | 3 |" in printed
    assert "Ours: 2 clip(s), `python -m training.evaluate protocol ted-talk" in printed
    assert "measured at 64x64: figures at 384x384 are no like-for-like comparison" in printed


@pytest.mark.parametrize("text", ["no json", "[]", '{"format": "warpcall reconstruct 1"}'])
def test_other_files_are_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"cannot be read|is no result of"):
        load_result(path)
    assert main(["tables", str(path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
