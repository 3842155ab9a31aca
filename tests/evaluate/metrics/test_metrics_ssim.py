from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.metrics.ssim import C1, C2, DEVIATION, WINDOW, ssim


def test_identical_pictures_score_one() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    assert ssim(picture, picture) == pytest.approx([1.0, 1.0])


def test_flat_pictures_have_the_closed_form_of_the_luminance_term() -> None:
    a = np.full((1, 16, 16, 3), 100, dtype=np.uint8)
    b = np.full((1, 16, 16, 3), 150, dtype=np.uint8)
    expected = (2 * 100 * 150 + C1) / (100**2 + 150**2 + C1)
    assert ssim(a, b)[0] == pytest.approx(expected)


def test_one_window_agrees_with_the_definition_written_out() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.integers(0, 256, (2, 1, WINDOW, WINDOW, 3), dtype=np.uint8)
    line = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / DEVIATION) ** 2)
    window = np.outer(line, line) / np.outer(line, line).sum()
    scores = []
    for channel in range(3):
        x, y = a[0, ..., channel].astype(float), b[0, ..., channel].astype(float)
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        scores.append((2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2)))
    assert ssim(a, b)[0] == pytest.approx(np.mean(scores), abs=1e-9)
