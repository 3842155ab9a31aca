from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import SignallingError
from codec.rtc.overhead import SEND_TIME
from codec.rtc.sdp import MID, Fmtp, as_answer, extensions_of, has_one_video, without_extensions, without_foreign, won

OWN = Fmtp(version=4, model="0123456789abcdef", priors="89abcdef", role="offer")
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 96 103",
        "a=rtpmap:96 opus/48000/2",
        "a=rtpmap:103 PCMU/8000",
        "m=video 9 UDP/TLS/RTP/SAVPF 103 104 97 98",
        "a=sendonly",
        "a=rtpmap:103 X-WARPCALL/90000",
        "a=rtcp-fb:103 nack pli",
        "a=fmtp:103 version=4;model=0123456789abcdef;priors=89abcdef;role=offer",
        "a=rtpmap:104 rtx/90000",
        "a=fmtp:104 apt=103",
        "a=rtpmap:97 VP8/90000",
        "a=rtcp-fb:97 nack",
        "a=rtpmap:98 rtx/90000",
        "a=fmtp:98 apt=97",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=sctp-port:5000",
        "",
    ]
)
ANSWER = OFFER.replace("role=offer", "role=answer")


def test_a_peer_that_speaks_the_same_is_left_as_it_is() -> None:
    assert without_foreign(OFFER, OWN, "offer") == OFFER
    assert without_foreign(ANSWER, OWN, "answer") == ANSWER


def test_an_answer_says_so() -> None:
    assert as_answer(OFFER) == ANSWER
    assert as_answer(ANSWER) == ANSWER


@pytest.mark.parametrize(
    "foreign",
    [
        ANSWER.replace("version=4", "version=1"),
        ANSWER.replace("0123456789abcdef", "fedcba9876543210"),
        ANSWER.replace("role=answer", "role=offer"),
        ANSWER.replace(";role=answer", ""),
        ANSWER.replace("a=fmtp:103 version=4;model=0123456789abcdef;priors=89abcdef;role=answer\r\n", ""),
        ANSWER.replace("X-WARPCALL", "x-warpcall").replace("version=4", "version=one"),
    ],
    ids=["version", "model", "echo", "no role", "no fmtp", "lower case"],
)
def test_a_format_that_this_end_cannot_speak_is_left_out(foreign: str) -> None:
    cleaned = without_foreign(foreign, OWN, "answer")
    assert "warpcall" not in cleaned.lower()
    assert "m=video 9 UDP/TLS/RTP/SAVPF 97 98\r\n" in cleaned
    assert "apt=103" not in cleaned
    assert "a=rtcp-fb:103" not in cleaned
    assert "a=rtpmap:103 PCMU/8000" in cleaned
    assert "a=fmtp:98 apt=97" in cleaned
    assert not won(cleaned)


def test_other_parameters_and_spaces_are_ignored() -> None:
    spaced = OFFER.replace("version=4;model=0123456789abcdef", "fps=30; model=0123456789abcdef ;version=4")
    assert without_foreign(spaced, OWN, "offer") == spaced


def test_a_section_with_no_codec_left_is_refused() -> None:
    only = OFFER.replace(" 103 104 97 98", " 103 104").replace("version=4", "version=7")
    with pytest.raises(SignallingError, match=r"the peer's only video codec is X-WARPCALL with \{'version': '7'"):
        without_foreign(only, OWN, "offer")


@pytest.mark.parametrize(
    ("sdp", "has_won"),
    [
        (ANSWER, True),
        (OFFER, False),
        (ANSWER.replace(" 103 104 97 98", " 97 98 103 104"), False),
        (ANSWER.replace("m=video 9", "m=video 0"), False),
        (ANSWER.replace("m=video 9 UDP/TLS/RTP/SAVPF 103 104 97 98", "m=video 9 UDP/TLS/RTP/SAVPF"), False),
        ("", False),
    ],
    ids=["answer", "offer", "second choice", "rejected", "empty section", "empty"],
)
def test_who_won(sdp: str, has_won: bool) -> None:
    assert won(sdp) is has_won


@given(st.lists(st.tuples(st.integers(0, len(OFFER)), st.integers(0, 40), st.text(max_size=20)), max_size=6))
def test_a_hostile_description_is_refused_in_one_way(edits: list[tuple[int, int, str]]) -> None:
    hostile = OFFER
    for position, num_removed, inserted in edits:
        hostile = hostile[:position] + inserted + hostile[position + num_removed :]
    try:
        cleaned = without_foreign(hostile, OWN, "offer")
    except SignallingError:
        return
    assert without_foreign(cleaned, OWN, "offer") == cleaned
    won(as_answer(cleaned))


def test_header_extensions_are_left_out_where_the_codec_is() -> None:
    extension = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    marked = OFFER.replace("a=rtcp-fb:97 nack\r\n", "a=rtcp-fb:97 nack\r\n" + extension)
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 opus/48000/2\r\n" + extension
    assert marked != OFFER
    assert without_extensions(marked + audio) == OFFER + audio
    other = "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\na=extmap:3\r\n"
    two = OFFER.replace("a=rtcp-fb:97 nack\r\n", "a=rtcp-fb:97 nack\r\n" + extension + other)
    kept = OFFER.replace("a=rtcp-fb:97 nack\r\n", "a=rtcp-fb:97 nack\r\n" + other)
    assert without_extensions(two + audio, MID) == kept + audio
    assert extensions_of(two + audio, "video") == {MID, SEND_TIME, ""}
    assert extensions_of(audio, "audio") == {MID}
    assert extensions_of(OFFER, "audio") == extensions_of("", "audio") == set()


def test_packets_need_no_name_of_their_section_where_it_is_the_only_one_of_video() -> None:
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 opus/48000/2\r\n"
    video = OFFER[OFFER.index("m=video") :]
    rejected = video.replace("m=video 9", "m=video 0")
    assert rejected != video
    assert has_one_video(OFFER + audio)
    assert has_one_video(OFFER + rejected)
    assert not has_one_video(OFFER + video)
