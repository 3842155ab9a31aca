"""The call, seen from its far end: whether the peer is alive, and whether it speaks the same language."""

from __future__ import annotations

from codec import Model
from codec.config import WIRE_VERSION
from codec.errors import ModelMismatchError, VersionError
from codec.structs import Hello
from sender.stats import Snapshot

SILENCE_S = 3.0
"""A Warpcall receiver that is silent for this long is gone."""
ORDINARY_SILENCE_S = 12.0
"""An ordinary peer may report every five seconds only."""
TICK_S = 0.25
"""Time between two glances at the peer."""


class Silence:
    """Tells a dead peer by its silence, counted in glances, so that a stalled event loop is not taken for one.

    Args:
        limit_s: silence that is too long, seconds.
        glance_s: seconds between two glances, about.
    """

    def __init__(self, limit_s: float, glance_s: float = TICK_S) -> None:
        self.limit_s = limit_s
        self._limit = limit_s / glance_s
        self._num_silent = 0
        self._packets_received = -1

    def is_over_limit(self, snapshot: Snapshot) -> bool:
        """Take a glance; return whether the peer was silent for too many of them."""
        is_silent = snapshot.packets_received == self._packets_received
        self._packets_received = snapshot.packets_received
        self._num_silent = self._num_silent + 1 if is_silent else 0
        return self._num_silent >= self._limit


def check_hello(hello: Hello, model: Model) -> None:
    """Check that the peer can read what this model codes.

    Raises:
        VersionError: it speaks another wire version.
        ModelMismatchError: it has another model, or other priors.
    """
    if hello.wire_version != WIRE_VERSION:
        raise VersionError(f"the peer speaks wire version {hello.wire_version}, this sender {WIRE_VERSION}")
    if hello.model_sha256 != model.sha256:
        raise ModelMismatchError(
            f"the peer has the model {hello.config_name} {hello.model_sha256[:12]}, this sender "
            f"{model.config.name} {model.sha256[:12]}: start both with the same --weights"
        )
    if hello.priors_sha256 != model.priors.sha256:
        raise ModelMismatchError(
            f"the peer has the bitstream priors {hello.priors_sha256[:12]}, this sender {model.priors.sha256[:12]}: "
            "give both the same file beside the weights"
        )


def first_codec(sdp: str) -> str:
    """Return the name of the first codec of an answer's video section."""
    section = sdp.partition("m=video ")[2].partition("\nm=")[0]
    formats = section.partition("\n")[0].split()[2:]
    for line in section.splitlines():
        if formats and line.startswith(f"a=rtpmap:{formats[0]} "):
            return line.split()[1].partition("/")[0]
    return "nothing"
