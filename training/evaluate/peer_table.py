"""Evaluation, what we are up against: the comparison codecs and their options.

``realtime`` is what a call runs: no B-frames, no look-ahead, one keyframe at the start. Bitrates are held by the
encoder's own rate control, with a buffer of a second where it has one; VVenC's needs look-ahead and overshoots 3.5
times at its least, so VVC is given a constant quantiser, which favours it. ``offline`` is each codec at its best in one
pass: constant quality, look-ahead, B-frames, slow presets. Version strings in the stream (a kbit/s over six seconds for
x264 and x265) are cut off. One thread each, so that a run can be repeated to the bit.
"""

from __future__ import annotations

from training.evaluate.peers import FFmpegPeer, Mode, Peer

ENDLESS = "9999"

X264 = FFmpegPeer(
    name="x264",
    encoder="libx264",
    decoder="h264",
    container="h264",
    version=r"x264 - (core \d+)",
    realtime=Mode(
        (
            *("-preset", "medium", "-tune", "zerolatency", "-b:v", "{target}k"),
            *("-maxrate", "{target}k", "-bufsize", "{target}k", "-x264-params", "keyint=infinite:scenecut=0"),
            *("-bsf:v", "filter_units=remove_types=6"),
        ),
        "kbit/s",
    ),
    offline=Mode(
        (
            *("-preset", "veryslow", "-crf", "{target}", "-x264-params", "keyint=infinite"),
            *("-bsf:v", "filter_units=remove_types=6"),
        ),
        "CRF",
        ((1, (51, 44, 38, 32, 26)), (2, (44,))),
    ),
)

X265 = FFmpegPeer(
    name="x265",
    encoder="libx265",
    decoder="hevc",
    container="hevc",
    version=r"HEVC encoder version (\S+)",
    realtime=Mode(
        (
            *("-preset", "medium", "-tune", "zerolatency", "-b:v", "{target}k"),
            *("-maxrate", "{target}k", "-bufsize", "{target}k"),
            *("-x265-params", "keyint=-1:scenecut=0:bframes=0:rc-lookahead=0:pools=none:frame-threads=1"),
            *("-bsf:v", "filter_units=remove_types=39"),
        ),
        "kbit/s",
    ),
    offline=Mode(
        (
            *("-preset", "slower", "-crf", "{target}", "-x265-params", "keyint=-1:pools=none:frame-threads=1"),
            *("-bsf:v", "filter_units=remove_types=39"),
        ),
        "CRF",
        ((1, (51, 44, 38, 32, 26)), (2, (44,))),
    ),
)

VP9 = FFmpegPeer(
    name="VP9",
    encoder="libvpx-vp9",
    decoder="vp9",
    container="ivf",
    version=r"libvpx-vp9 @ \w+\] (v[\d.]\S*)",
    realtime=Mode(
        (
            *("-deadline", "realtime", "-cpu-used", "5", "-lag-in-frames", "0", "-auto-alt-ref", "0", "-aq-mode", "3"),
            *("-b:v", "{target}k", "-minrate", "{target}k", "-maxrate", "{target}k", "-g", ENDLESS),
        ),
        "kbit/s",
    ),
    offline=Mode(
        (
            *("-deadline", "good", "-cpu-used", "0", "-lag-in-frames", "25", "-auto-alt-ref", "1"),
            *("-crf", "{target}", "-b:v", "0", "-g", ENDLESS),
        ),
        "CRF",
        ((1, (63, 57, 50, 42, 33)), (2, (60,))),
    ),
)

SVT_AV1 = FFmpegPeer(
    name="SVT-AV1",
    encoder="libsvtav1",
    decoder="libdav1d",
    container="ivf",
    version=r"SVT-AV1 Encoder Lib (\S+)",
    realtime=Mode(
        (
            *("-preset", "8", "-b:v", "{target}k"),
            *("-svtav1-params", "pred-struct=1:rc=2:keyint=-1:lookahead=0:scd=0:lp=1"),
        ),
        "kbit/s",
    ),
    offline=Mode(
        ("-preset", "3", "-crf", "{target}", "-svtav1-params", "keyint=-1:lp=1"),
        "CRF",
        ((1, (63, 57, 50, 42, 33)), (2, (60,))),
    ),
)

VVENC = FFmpegPeer(
    name="VVenC",
    encoder="libvvenc",
    decoder="vvc",
    container="vvc",
    version=r"libvvenc version: (\S+)",
    realtime=Mode(
        (
            *("-preset", "faster", "-qp", "{target}", "-vvenc-params"),
            "picreordering=0:gopsize=8:decodingrefreshtype=none:intraperiod=9984:lookahead=0:threads=1:mctf=0:bim=0",
        ),
        "QP",
        ((1, (63, 57, 51, 45, 38, 32)), (2, (57, 51))),
    ),
    offline=Mode(
        ("-preset", "slow", "-qp", "{target}", "-vvenc-params", "intraperiod=9984:threads=1"),
        "QP",
        ((1, (63, 57, 51, 45, 38)), (2, (57,))),
    ),
    num_bits=10,
)

PEERS: tuple[Peer, ...] = (X264, X265, VP9, SVT_AV1, VVENC)
