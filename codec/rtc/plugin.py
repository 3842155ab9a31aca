"""Stages 6 and 7 of 8: what a program decides about the plug-in.

A ``Plugin`` holds the model and the program's choices; ``register`` hands it to aiortc, which then makes an adapter
from it for every track (see ``codec.rtc.adapters``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from codec.config import WIRE_VERSION, Step
from codec.frames import Rgb
from codec.references import ReferenceSet
from codec.rtc.overhead import USUAL_TAG_BYTES, TagBytes
from codec.rtc.sdp import Fmtp
from codec.rtc.stats import PluginStats
from codec.structs import EncodedFrame

if TYPE_CHECKING:
    from codec import Model

MOST_SENT = 16
"""Reference pictures that a receiver may be sent to hold."""

OnEncoded = Callable[[EncodedFrame, int, object], None]
OnTargetBitrate = Callable[[int], None]
OnVideoEncoded = Callable[[int, bool, int, object], None]
ChooseCodec = Callable[[object], int | None]


class Plugin:
    """The codec as aiortc gets it.

    Args:
        model: networks and config of both directions.
        pictures: "inline": a received track gives finished pictures, made by the generator in a thread of its own,
            newest frame first. "deferred": it gives at once a placeholder whose ``opaque`` is a ``ReceivedFrame``, and
            the program runs the generator itself.
        references: reference pictures for "inline", each uint8 (S, S, 3); may be set later.
        repeats: frames before it that each message sends once more: so many lost packets in a row cost nothing.
        frames_per_packet: pictures that share a packet: fewer headers, more delay; or what tells it before each picture
            (called in a worker thread).
        step: of the quantiser: "fine" takes a third more bits for a better picture, "coarse" a quarter fewer for a
            worse one; or what tells it before each picture (called in a worker thread).
        header_extensions: whether packets tell when they were sent (8 bytes); the peer's estimate of the bandwidth is
            coarser without.
        auth_tag_bytes: of the tag that authenticates each packet, where the peer speaks such a protection profile: 10
            (HMAC-SHA1-80), 16 (AES-GCM) or 4 (HMAC-SHA1-32, easier to forge). Decided by the end that is DTLS server,
            mostly the one that offers the call.
        rest_fps: least pictures a second of a face that keeps still; 0 sends every picture.
        align: whether keypoints are aligned to ``sent_references``: "auto" does where there is time between pictures.
        conceal: whether a receiver guesses frames that do not come in time (see ``codec.rtc.conceal``).
        on_encoded: called in the encoding thread with each coded frame, its timestamp (1/90000 s) and the ``opaque``
            of the frame that was coded.
        on_target_bitrate: called on the event loop with the bitrate that the peer asks for (REMB), bits per second.
            From a receiver of this project it is what the link carries, headers counted.
        choose_codec: called in the encoding thread with the ``opaque`` of each frame before it is coded: None codes it
            as keypoints, a number as conventional video (H.264) of that many bits per second. Without it all frames go
            as keypoints.
        on_video_encoded: called in the encoding thread with each frame coded as conventional video: its bytes, whether
            it is a keyframe, its timestamp (1/90000 s) and ``opaque``.
    """

    def __init__(
        self,
        model: Model,
        *,
        pictures: Literal["inline", "deferred"] = "inline",
        references: ReferenceSet | Sequence[Rgb] = (),
        repeats: int = 2,
        frames_per_packet: int | Callable[[], int] = 1,
        step: Step | Callable[[], Step] = "usual",
        header_extensions: bool = True,
        auth_tag_bytes: TagBytes = USUAL_TAG_BYTES,
        align: Literal["auto", "on", "off"] = "auto",
        conceal: bool = True,
        rest_fps: float = 0.0,
        on_encoded: OnEncoded | None = None,
        on_target_bitrate: OnTargetBitrate | None = None,
        choose_codec: ChooseCodec | None = None,
        on_video_encoded: OnVideoEncoded | None = None,
    ) -> None:
        self.model = model
        self.pictures = pictures
        self.repeats = repeats
        self.choose_frames_per_packet = frames_per_packet if callable(frames_per_packet) else lambda: frames_per_packet
        self.choose_step: Callable[[], Step] = step if callable(step) else lambda: step
        self.header_extensions = header_extensions
        self.auth_tag_bytes = auth_tag_bytes
        self.align = align
        self.conceal = conceal
        self.rest_fps = rest_fps
        self.on_encoded = on_encoded
        self.on_target_bitrate = on_target_bitrate
        self.choose_codec = choose_codec
        self.on_video_encoded = on_video_encoded
        self.stats = PluginStats()
        self.references = references
        self.sent_references = ReferenceSet(MOST_SENT)
        """Pictures that the receiver of the sent tracks has in use; the program keeps this up to date."""

    @property
    def references(self) -> ReferenceSet:
        """Reference pictures of the "inline" mode; running calls follow every change of them."""
        return self._references

    @references.setter
    def references(self, references: ReferenceSet | Sequence[Rgb]) -> None:
        self._references = references if isinstance(references, ReferenceSet) else _reference_set(references)

    @property
    def fmtp(self) -> Fmtp:
        """What this end says of itself in an offer."""
        return Fmtp(
            version=WIRE_VERSION,
            model=self.model.sha256[: Fmtp.MODEL_DIGITS],
            priors=self.model.priors.sha256[: Fmtp.PRIORS_DIGITS],
            role="offer",
        )


def _reference_set(rgbs: Sequence[Rgb]) -> ReferenceSet:
    references = ReferenceSet(max(1, len(rgbs)))
    for rgb in rgbs:
        references.add(hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest(), rgb)
    return references
