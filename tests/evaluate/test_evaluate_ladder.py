from __future__ import annotations

from pathlib import Path

import pytest

from training.evaluate.config import RateDistortionConfig
from training.evaluate.ladder import rungs
from training.evaluate.peer_table import PEERS, VVENC, X264
from training.evaluate.peers import SETTINGS, Peer, Rung, Setting


def test_ladders() -> None:
    settings = RateDistortionConfig(clips=Path("clips"), out=Path("out"), rates=(4, 20, 35), scales=(1, 2, 8))
    assert [(r.scale, r.target) for r in rungs(X264.mode("realtime"), settings, 256)] == [
        *((1, 4), (1, 20), (1, 35)),
        *((2, 4), (2, 20)),  # 35 kbit/s are better spent on whole pictures; an eighth is too small for every encoder
    ]
    own = list(rungs(VVENC.mode("realtime"), settings, 256))
    assert own[0] == Rung(1, 63)
    assert {rung.scale for rung in own} == {1, 2}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_codec_has_several_rates(peer: Peer, setting: Setting) -> None:
    settings = RateDistortionConfig(clips=Path("clips"), out=Path("out"))
    ladder = list(rungs(peer.mode(setting), settings, 256))
    assert len(set(ladder)) == len(ladder) >= 6
    assert {rung.scale for rung in ladder} == {1, 2}
