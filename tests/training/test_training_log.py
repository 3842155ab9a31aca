from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.correspondence import place_columns
from training.log import RunLog, drop_after
from training.picture import dots, draw, to_rgb

FIGURES = {"total": 1.0, "psnr_db": 30.0, "frozen_psnr_db": 28.0, "samples_per_s": 4.0, "wait_share": 0.01, "lr": 4e-6}


def test_lines_past_the_checkpoint_and_a_cut_one_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    drop_after(path, 3)
    assert not path.exists()
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4}\n{"step": 5, "los')
    drop_after(path, 3)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_small_figures_are_kept(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 10, tensorboard=False) as log:
        log.step(1, FIGURES)
        log.held_out(1, {"held_out_lpips": 1.23456789e-5})
    lines = (tmp_path / "stats.jsonl").read_text().splitlines()
    assert '"lr": 4e-06' in lines[0]
    assert lines[1] == '{"step": 1, "held_out_lpips": 1.23457e-05}'


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run", 0, 10, tensorboard=True, quiet=True) as log:
        log.step(1, FIGURES)
        log.held_out(1, FIGURES)
    assert not (tmp_path / "run").exists()


def test_places_are_read_in_the_columns_of_their_reference() -> None:
    columns = place_columns(2, 2, torch.zeros(1))
    assert columns.shape == (1, 8, 6)
    assert columns[0, 1].tolist() == [1, 0.5, -0.5, 0, 0, 0]
    assert columns[0, 6].tolist() == [0, 0, 0, 1, -0.5, 0.5]


def test_a_dot_lies_where_its_cell_is() -> None:
    cells, centres, colours = dots(64 * 64)
    assert len(set(cells)) == len(cells) == len(colours)
    picture = draw(torch.zeros(3, 128, 128), centres[:1], colours[:1], torch.tensor([1.5]))
    rows, columns = np.nonzero(picture.max(-1))
    y, x = divmod(cells[0], 64)
    assert abs(rows.mean() - (2 * y + 0.5)) < 1
    assert abs(columns.mean() - (2 * x + 0.5)) < 1
    assert not draw(torch.zeros(3, 128, 128), centres[:1], colours[:1], torch.tensor([0.0])).any()
    assert to_rgb(torch.full((3, 1, 1), 2.0)).tolist() == [[[255, 255, 255]]]
