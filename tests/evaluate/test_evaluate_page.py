from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import av
import numpy as np
import pytest
from PIL import Image

from codec import Model
from training.evaluate.clips import Frames
from training.evaluate.config import RateDistortionConfig
from training.evaluate.ffmpeg import FFmpeg
from training.evaluate.measure import Bench
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.page import page
from training.evaluate.peer_table import VP9, X264
from training.evaluate.rate_distortion import FROZEN, OURS, RateDistortion
from training.evaluate.rate_report import rate_document
from training.evaluate.rate_row import show
from training.evaluate.showcase import ATTENTION, NONE_COLOUR, REFERENCE_COLOURS, SOURCE, at_rate, share_colours

if TYPE_CHECKING:
    from tests.conftest import OpenPage

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RateDistortionConfig:
    folder = tmp_path_factory.mktemp("page")
    return RateDistortionConfig(
        clips=folder / "clips",
        out=folder / "rd",
        cache=folder / "cache",
        references=(1, 2),
        rates=(20, 100),
        scales=(1,),
        offline=False,
        landmarks=False,
        metrics=("ssim",),
    )


@pytest.fixture
def result(
    config: RateDistortionConfig,
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tiny_model: Model,
    lpips: Lpips,
    ffmpeg: FFmpeg,
) -> dict[str, Any]:
    """Measure and show a clip of a second; a second test finds it in the cache."""
    clip = write_clip("one #1 <b>.mp4", moving_pictures(25))
    run = RateDistortion(config, tiny_model, Bench(lpips, None), ffmpeg, (X264, VP9))
    row = run.row(clip, lambda frames: None)
    row["showcase"] = show(run, clip, row["points"])
    document = rate_document(config, "python -m training.evaluate rd", run, {clip.name: row, "short.mp4": "is short"})
    (config.out / "index.html").write_text(page(document, "1 clip <&>", ["rd.svg"]))
    (config.out / "rd.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return document


def test_the_page_tells_what_was_measured(result: dict[str, Any], config: RateDistortionConfig) -> None:
    text = (config.out / "index.html").read_text()
    assert "1 clip &lt;&amp;&gt;" in text
    assert "short.mp4 was not measured: it is short." in text
    assert "Warpcall has LPIPS-Alex" in text
    assert "ffmpeg -f rawvideo" in text
    assert "libvpx-vp9 v1." in text
    assert "$" not in re.sub(r"\$\{[^}]*\}", "", text)  # no placeholder is left; the script has its own
    assert "https://" not in text
    data = re.search(r'id="showcases">(.*?)</script>', text)
    assert data is not None
    assert json.loads(data[1])[0]["clip"] == "one #1 <b>.mp4"


def test_the_video_holds_every_tile_above_its_error(result: dict[str, Any], config: RateDistortionConfig) -> None:
    described = result["clips"]["one #1 <b>.mp4"]["showcase"]
    names = [tile["name"] for tile in described["tiles"]]
    assert names == [SOURCE, OURS, FROZEN, ATTENTION, "x264", "VP9"]
    with av.open(str(config.out / unquote(described["video"]))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    size, columns = described["size"], described["columns"]
    assert len(frames) == described["num_frames"] == 25
    assert frames[0].shape == (2 * 2 * size, columns * size, 3)
    cells = [(i // columns * 2 * size, i % columns * size) for i in range(len(names))]
    source, x264 = (frames[20][top : top + size, left : left + size].astype(int) for top, left in (cells[0], cells[4]))
    top, left = cells[4]
    error = frames[20][top + size : top + 2 * size, left : left + size].astype(int)
    assert np.abs(x264 - source).mean() < 40
    assert np.abs(np.minimum(4 * np.abs(x264 - source), 255) - error).mean() < 20  # but for the page's own coding
    assert frames[20][size : 2 * size, :size].mean() < 3  # the source has no error


def test_a_page_without_videos(result: dict[str, Any]) -> None:
    row = {name: value for name, value in result["clips"]["one #1 <b>.mp4"].items() if name != "showcase"}
    text = page({**result, "clips": {"a.mp4": row}}, "1 clip", [])
    assert "<canvas" not in text
    assert 'id="play"' not in text
    assert 'id="showcases">[]</script>' in text


def test_a_peer_is_shown_at_its_best_at_about_our_rate() -> None:
    points = [
        {"wire_bits_per_s": rate, "lpips_alex": lpips}
        for rate, lpips in ((20_000, 0.9), (21_500, 0.4), (21_900, 0.5), (30_000, 0.2))
    ]
    assert at_rate(points, 10_000)["lpips_alex"] == 0.4  # it cannot go so low
    assert at_rate(points, 20_000)["lpips_alex"] == 0.4
    assert at_rate(points, 28_000)["lpips_alex"] == 0.2
    assert at_rate(points[:1], 90_000)["lpips_alex"] == 0.9


def test_shares_are_mixed_as_sharply_as_pixels() -> None:
    shares_RHW = np.array([[[1.0, 0.6, 0.0]], [[0.0, 0.4, 0.0]]], np.float32)
    red, mixed, none = share_colours(shares_RHW, 3)[0]
    assert red.tolist() == list(REFERENCE_COLOURS[0])
    assert none.tolist() == list(NONE_COLOUR)
    first = 0.6**4 / (0.6**4 + 0.4**4)
    expected = first * np.array(REFERENCE_COLOURS[0]) + (1 - first) * np.array(REFERENCE_COLOURS[1])
    np.testing.assert_allclose(mixed, expected, atol=1)


@pytest.mark.slow
async def test_the_page_plays_from_a_file(
    result: dict[str, Any], config: RateDistortionConfig, open_page: OpenPage, tmp_path: Path
) -> None:
    async with open_page(tmp_path / "profile") as browser:
        await browser.open((config.out / "index.html").as_uri())
        await browser.until("document.getElementById('video').readyState >= 2")
        assert await browser.evaluate("document.querySelectorAll('.tile').length") == 6
        assert await browser.evaluate("document.querySelector('img[alt=curves]').naturalWidth") == 9
        assert await browser.evaluate("document.querySelectorAll('#references img').length") == 2
        await browser.until("[...document.querySelectorAll('#references img')].every((i) => i.naturalWidth === 64)")
        await browser.evaluate("document.getElementById('play').click()")
        await browser.until("document.getElementById('video').currentTime > 0.4")
        assert await browser.evaluate("document.getElementById('play').textContent") == "Pause"
        await browser.evaluate("document.getElementById('play').click()")
        await browser.evaluate("document.querySelector('.tiles').scrollIntoView()")
        pictures = Image.open(io.BytesIO(await browser.screenshot())).convert("RGB")
        await browser.evaluate("document.getElementById('errors').click()")
        await browser.until("document.getElementById('errors').checked")
        errors = Image.open(io.BytesIO(await browser.screenshot())).convert("RGB")
        ours = await browser.evaluate(
            "(({left, top, right, bottom}) => [left, top, right, bottom])"
            "(document.querySelectorAll('.tile canvas')[1].getBoundingClientRect())"
        )
        seen, error = (np.asarray(shown.crop(tuple(map(round, ours)))) for shown in (pictures, errors))
        assert seen.std() > 10  # a picture is drawn, and another one when its error is asked for
        assert np.abs(seen.astype(int) - error).mean() > 10
