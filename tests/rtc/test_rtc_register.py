from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiortc import codecs
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from codec import Model
from codec.errors import PluginError
from codec.rtc import Plugin, register, registered, seams, unregister
from codec.rtc.receiving import thread_adapter


@pytest.fixture
def plugin(tiny_model: Model) -> Iterator[Plugin]:
    yield Plugin(tiny_model)
    unregister()


def state_of_aiortc() -> tuple[list[Any], list[RTCRtpCodecParameters]]:
    return [seam.get() for seam in seams.SEAMS], list(codecs.CODECS["video"])


def test_unregister_restores_everything(plugin: Plugin) -> None:
    before = state_of_aiortc()
    register(plugin)
    assert registered() is plugin
    assert codecs.CODECS["video"] != before[1]
    unregister()
    assert registered() is None
    after = state_of_aiortc()
    assert all(ours is theirs for ours, theirs in zip(after[0], before[0], strict=True))
    assert after[1] == before[1]
    unregister()


def test_registering_twice_changes_nothing(plugin: Plugin) -> None:
    before = state_of_aiortc()
    register(plugin)
    once = seams.GET_ENCODER.get()
    register(plugin)
    assert seams.GET_ENCODER.get() is once
    assert [codec.name for codec in codecs.CODECS["video"]].count("X-WARPCALL") == 1
    unregister()
    assert state_of_aiortc() == before


def test_another_plugin_takes_the_place(plugin: Plugin, tiny_model: Model) -> None:
    before = state_of_aiortc()
    other = Plugin(tiny_model, pictures="deferred")
    register(plugin)
    register(other)
    assert registered() is other
    unregister()
    assert state_of_aiortc() == before


def test_the_codec_comes_first_with_a_payload_type_of_its_own(plugin: Plugin) -> None:
    register(plugin)
    first, *others = codecs.CODECS["video"]
    assert (first.mimeType, first.clockRate) == ("video/X-WARPCALL", 90_000)
    assert first.parameters == {
        "version": "5",
        "model": plugin.model.sha256[:16],
        "priors": plugin.model.priors.sha256[:8],
        "role": "offer",
    }
    assert first.payloadType not in {codec.payloadType for codec in others + codecs.CODECS["audio"]}
    assert {codec.name for codec in others} == {"VP8", "H264", "rtx"}


@pytest.mark.parametrize("seam", seams.SEAMS, ids=lambda seam: seam.name)
def test_a_missing_seam_is_named(plugin: Plugin, monkeypatch: pytest.MonkeyPatch, seam: seams.Seam) -> None:
    monkeypatch.delattr(f"{seam.module}.{seam.name}")
    before = list(codecs.CODECS["video"])
    with pytest.raises(PluginError, match=rf"this aiortc has no {seam.module}\.{seam.name}"):
        register(plugin)
    assert registered() is None
    assert codecs.CODECS["video"] == before


@pytest.mark.parametrize("seam", seams.SEAMS, ids=lambda seam: seam.name)
def test_a_seam_that_takes_other_arguments_is_named(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, seam: seams.Seam
) -> None:
    monkeypatch.setattr(f"{seam.module}.{seam.name}", lambda self, extra: None)
    with pytest.raises(PluginError, match=rf"{seam.module}\.{seam.name} takes \(self, extra\), not \("):
        register(plugin)
    assert registered() is None


def test_other_seams_are_named(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr("aiortc.codecs.CODECS")
        with pytest.raises(PluginError, match=r"no aiortc\.codecs\.CODECS"):
            register(plugin)
    with monkeypatch.context() as patch:
        patch.setattr(seams, "JITTER_BUFFER_ATTRIBUTE", "_RTCRtpReceiver__buffer")
        with pytest.raises(PluginError, match="RTCRtpReceiver has no _RTCRtpReceiver__buffer"):
            register(plugin)
    for name, owner in (("PACKETS_SENT_ATTRIBUTE", "RTCRtpSender"), ("SSL_ATTRIBUTE", "RTCDtlsTransport")):
        with monkeypatch.context() as patch:
            patch.setattr(seams, name, "_nothing")
            with pytest.raises(PluginError, match=f"{owner} has no _nothing"):
                register(plugin)
    with monkeypatch.context() as patch:
        patch.delattr("aiortc.jitterbuffer.JitterBuffer.add")
        with pytest.raises(PluginError, match="JitterBuffer has no add"):
            register(plugin)
    with monkeypatch.context() as patch:
        theirs = RTCRtpCodecParameters(mimeType="video/x-warpcall", clockRate=90_000, payloadType=120)
        patch.setitem(codecs.CODECS, "video", [*codecs.CODECS["video"], theirs])
        with pytest.raises(PluginError, match="holds another X-WARPCALL already"):
            register(plugin)
    register(plugin)


def test_other_codecs_keep_their_coders(plugin: Plugin) -> None:
    register(plugin)
    for codec in codecs.CODECS["video"][1:]:
        if codec.name != "rtx":
            assert type(seams.GET_ENCODER.get()(codec)) is type(codecs.get_encoder(codec))
            assert type(seams.GET_DECODER.get()(codec)) is type(codecs.get_decoder(codec))
    vp8 = next(codec for codec in codecs.CODECS["video"] if codec.name == "VP8")
    assert type(seams.DEPAYLOAD.get()(vp8, b"\x10frame")) is bytes


def test_a_decoder_belongs_to_a_decoder_thread(plugin: Plugin) -> None:
    register(plugin)
    with pytest.raises(PluginError, match="decoder threads only"):
        seams.GET_DECODER.get()(codecs.CODECS["video"][0])
    errors: list[PluginError] = []

    def call() -> None:
        try:
            thread_adapter()
        except PluginError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(errors) == 1


@pytest.mark.parametrize(("found", "given"), [([], ["127.0.0.1"]), (["192.0.2.7"], ["192.0.2.7"])])
def test_a_machine_without_a_network_calls_over_loopback(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, found: list[str], given: list[str]
) -> None:
    def get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return found

    monkeypatch.setattr("aioice.ice.get_host_addresses", get_host_addresses)
    register(plugin)
    assert seams.HOST_ADDRESSES.get()(True, True) == given
    unregister()
    assert seams.HOST_ADDRESSES.get() is get_host_addresses
