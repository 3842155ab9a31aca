"""Warpcall: a face as 20 keypoints a frame, rebuilt from reference pictures.

     camera, file                                                             viewer, window, file
       | sender/                                                                   receiver/ ^
       v                                                                                     |
     [1 frames]  av.VideoFrame <-> image ------------------------------------------- [1 frames]
       v                                                                                     ^
     [2 model.keypoints]  image -> Keypoints      [8 model.generator]  keypoints + references -> image
       v                                                                                     ^
     [3 bitstream.quantise]  Keypoints <-> integers ------------------------------- [3 quantise]
       v                                                                                     ^
     [4 bitstream.predict, .entropy]  integers <-> few bytes --------------- [4 predict, entropy]
       v                                                                                     ^
     [5 bitstream.message, .pack]  <-> protobuf <-> zstd ----------------------- [5 message, pack]
       v                                                                                     ^
     [6 rtc.payload] ---------> [7 aiortc: RTP, SRTP, RTCP] ----------------------> [6 rtc.payload]

``Encoder`` runs 2 to 5, ``Decoder`` 5 to 3 and 8, ``register`` puts both into aiortc.
"""

from codec.config import CodecConfig, preset
from codec.decoder import Decoder
from codec.encoder import Encoder
from codec.errors import WarpcallError
from codec.loading import Model, load_model, random_model
from codec.references import ReferenceSet
from codec.rtc import Plugin, register, unregister

__all__ = [
    "CodecConfig",
    "Decoder",
    "Encoder",
    "Model",
    "Plugin",
    "ReferenceSet",
    "WarpcallError",
    "load_model",
    "preset",
    "random_model",
    "register",
    "unregister",
]
