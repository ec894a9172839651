"""Checks against SIPp, which counts a call as good only when it saw the whole scenario."""
import re

import pytest

import peers
from conftest import cells, codes, responses
from peers import wait_for

HOLD = ["--hold-ms", 150]


@pytest.fixture
def sipp(bed, tmp_path):
    """Starts a scenario, its placeholders filled in: SIPp takes the code of a response literally only."""
    def start(scenario, calls=1, transport="udp", code="200 OK", header="X-Test: 1", delay_ms=0, extra=()):
        text = (peers.HERE / "scenarios" / scenario).read_text().replace("@CODE@", code).replace("@HEADER@", header)
        file = tmp_path / scenario
        file.write_text(text)
        return bed.start(peers.Sipp, file, calls=calls, transport=transport, extra=["-d", str(delay_ms), *extra])
    return start


def completed(peer, seconds=5):
    """SIPp's exit status is 0 only when every call went as its scenario says."""
    assert peer.popen.wait(seconds) == 0, peer.messages()[-4000:]


def requests(peer):
    """The methods that SIPp received, retransmissions included, in order."""
    found = re.findall(r"message received[^\n]*\n\s*([A-Z]+) sip:", peer.messages())
    assert found
    return found


def call(probe, peer, *options):
    return probe.result("INVITE", f"sip:600@127.0.0.1:{peer.port}", *HOLD, *options)


def test_call_is_announced_rings_is_answered_and_hung_up(probe, sipp):
    peer = sipp("answer.xml")
    result = call(probe, peer)
    completed(peer)
    row = cells(result)
    assert (result.verdict, result.code) == ("ok", 200)
    assert codes(result) == [100, 183, 180, 200]
    offsets = [r["offset_ms"] for r in responses(result)]
    assert offsets[2] - offsets[1] > 40 and offsets[3] - offsets[2] > 40
    assert row["trying_ms"] <= row["srd_ms"] < row["ring_ms"] < row["answer_ms"]
    assert row["answer_ms"] == pytest.approx(result.response_ms) == pytest.approx(offsets[3])
    assert row["srd_ms"] == pytest.approx(offsets[1]) and row["ring_ms"] == pytest.approx(offsets[2])
    assert row["srd_failed"] is None
    assert 0.14 < row["sdt_s"] < 0.6 and row["sdd_ms"] > 0
    assert (row["ended_by"], row["bye_code"], row["cancel_sent"]) == ("local", 200, False)
    assert (row["codec"], row["rtp_rx"], row["audio"]) == ("PCMU", 0, "tx_only") and row["rtp_tx"] >= 6
    assert row["loss_pct"] is None and not result.HasField("loss_pct")
    assert requests(peer) == ["INVITE", "ACK", "BYE"]


def test_busy_fails_by_its_code(probe, sipp):
    peer = sipp("reject.xml", code="486 Busy Here")
    result = call(probe, peer)
    completed(peer)
    assert (result.verdict, result.ok, result.code, result.error_class) == ("fail", False, 486, "expect")
    assert "486" in result.error_text and result.reason == "Busy Here" and result.meaning
    assert codes(result) == [100, 486]
    assert cells(result)["ended_by"] == "reject" and cells(result)["bye_code"] is None
    assert result.table.quality == 192


def test_expected_busy_is_ok(probe, sipp):
    peer = sipp("reject.xml", code="486 Busy Here")
    assert call(probe, peer, "--expect", "486").verdict == "ok"
    completed(peer)


def test_no_answer_is_cancelled_and_has_no_code(probe, sipp):
    peer = sipp("ring.xml")
    result = call(probe, peer, "--timeout-ms", 400)
    completed(peer)
    row = cells(result)
    assert (result.verdict, result.error_class) == ("fail", "timeout")
    assert not result.HasField("code") and not result.HasField("response_ms") and not result.reason and not result.meaning
    assert (row["code"], row["response_ms"], row["answer_ms"]) == (None, None, None)
    assert (row["cancel_sent"], row["ended_by"]) == (True, "cancel")
    assert codes(result) == [180, 487]
    assert 390 < responses(result)[1]["offset_ms"] < 900  # the deadline counts from the check's start, offsets from the request
    assert 400 <= result.total_ms < 900
    assert requests(peer) == ["INVITE", "CANCEL", "ACK"]


def test_no_provisional_no_cancel(probe, sipp):
    peer = sipp("silent.xml")
    result = call(probe, peer, "--timeout-ms", 700)
    row = cells(result)
    assert (result.verdict, result.error_class, result.table.quality) == ("fail", "timeout", 12)
    assert not result.HasField("code") and row["cancel_sent"] is False and row["ended_by"] == "timeout"
    assert 700 <= result.total_ms < 1400  # published at the timeout, not at Timer B
    assert result.retransmits == 1 and not responses(result)
    assert set(requests(peer)) == {"INVITE"}


def test_200_that_crosses_the_cancel_is_acknowledged_and_hung_up(probe, sipp):
    peer = sipp("cross.xml")
    result = call(probe, peer, "--timeout-ms", 300)
    completed(peer)
    assert requests(peer) == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert (result.verdict, result.error_class, cells(result)["cancel_sent"]) == ("fail", "timeout", True)
    assert not result.HasField("code")
    assert codes(result) == [180, 200]


def test_200_again_is_acknowledged_again(probe, sipp):
    peer = sipp("again.xml", extra=["-nr"])  # every message counts, the same one again, too
    result = call(probe, peer)
    completed(peer)
    assert requests(peer) == ["INVITE", "ACK", "ACK", "BYE"]
    assert (result.verdict, result.code) == ("ok", 200)


def test_peer_hangs_up_first(probe, sipp):
    peer = sipp("hangup.xml")
    result = probe.result("INVITE", f"sip:600@127.0.0.1:{peer.port}", "--hold-ms", 5000)
    completed(peer)
    row = cells(result)
    assert (result.verdict, row["ended_by"], row["bye_code"], row["sdd_ms"]) == ("ok", "remote", None, None)
    assert 0.1 < row["sdt_s"] < 1
    assert requests(peer) == ["INVITE", "ACK"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_message_arrives_as_it_was_given(probe, sipp, transport):
    peer = sipp("final.xml", transport=transport, code="202 Accepted")
    text = "Grüße aus dem Keller; 1 < 2 & so"
    result = probe.result("MESSAGE", f"sip:600@127.0.0.1:{peer.port}", "--data", text, "--transport", transport)
    completed(peer)
    assert (result.verdict, result.code, cells(result)["accepted_only"]) == ("ok", 202, True)
    seen = peer.messages()
    assert re.search(r"^Content-Type: text/plain\b", seen, re.M) and f"Content-Length: {len(text.encode())}\n" in seen.replace("\r", "")
    assert f"\n\n{text}" in seen.replace("\r", "")
    assert re.search(r"^MESSAGE sip:600@127\.0\.0\.1:\d+\S* SIP/2\.0", seen, re.M)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_options(probe, sipp, transport):
    peer = sipp("final.xml", transport=transport, code="200 OK", header="Allow: INVITE, ACK, BYE")
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}", "--transport", transport)
    completed(peer)
    row = cells(result)
    assert (result.verdict, result.code, result.transport) == ("ok", 200, transport)
    assert (row["allow"], row["server"], row["retransmits"]) == ("INVITE, ACK, BYE", "sipp-test", 0)
    assert (row["connect_ms"] is not None) == (transport == "tcp")
    assert f"SIP/2.0/{transport.upper()} 127.0.0.1:" in peer.messages()
    assert row["first_ms"] == pytest.approx(result.response_ms) and result.response_ms <= result.total_ms


def test_late_answer_counts_the_retransmission(probe, sipp):
    peer = sipp("final.xml", delay_ms=600)
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}")
    completed(peer)
    assert (result.verdict, result.retransmits, result.attempts) == ("ok", 1, 1)
    assert 598 < result.response_ms < 1300  # from the first request


def test_lost_request_is_sent_again(probe, sipp):
    peer = sipp("second.xml", extra=["-nr"])
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}")
    completed(peer)
    assert (result.verdict, result.retransmits, result.attempts) == ("ok", 1, 1)
    assert 490 <= result.response_ms < 1000 and len(responses(result)) == 1
    assert requests(peer) == ["OPTIONS", "OPTIONS"]


def test_maintenance(probe, sipp):
    peer = sipp("final.xml", code="503 Service Unavailable", header="Retry-After: 30")
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}", "--maintenance", "503")
    completed(peer)
    assert (result.verdict, result.code, result.HasField("ok")) == ("maintenance", 503, False)
    assert cells(result)["retry_after_s"] == 30 and result.table.quality == 192


@pytest.mark.parametrize("value, seconds", [("120 (back soon);duration=60", 120), ("18000;duration=3600", 18000), ("soon", None), ("-1", None)])
def test_retry_after(probe, sipp, value, seconds):
    peer = sipp("final.xml", code="503 Service Unavailable", header=f"Retry-After: {value}")
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}")
    completed(peer)
    assert (result.verdict, result.error_class, cells(result)["retry_after_s"]) == ("fail", "expect", seconds)


def test_slow_answer_warns(probe, sipp):
    peer = sipp("final.xml", delay_ms=150)
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}", "--warn-ms", 100)
    completed(peer)
    assert (result.verdict, result.ok, result.error_class) == ("warn", True, "none") and result.response_ms > 148  # SIPp's clock has milliseconds


@pytest.mark.parametrize("code, name", [("404 Not Found", "expect"), ("480 Temporarily Unavailable", None), ("301 Moved Permanently", "expect"),
                                        ("699 Whatever", "expect")])
def test_codes_of_options(probe, sipp, code, name):
    peer = sipp("final.xml", code=code)
    result = probe.result("OPTIONS", f"127.0.0.1:{peer.port}", *(["--expect", "200-299"] if name else []))
    completed(peer)
    assert result.code == int(code[:3]) and result.meaning
    assert (result.verdict, result.error_class) == (("fail", name) if name else ("ok", "none"))
    assert result.reason == code[4:]


def test_agent_runs_calls_cycle_after_cycle(bed, broker, site, agent, sipp):
    """Through the broker: one INVITE, one result and one complete call per cycle."""
    peer = sipp("answer.xml", calls=3)
    report = site.push(site.document(1, site.account("pbx", peer.port, site.command("call", "INVITE", target="600", hold_ms=100))))
    assert report.status == site.pb.CONFIG_STATUS_APPLIED, report
    completed(peer, 10)
    results = wait_for(lambda: len(found := site.results("pbx", "call")) >= 3 and found, "no three results")[:3]
    assert [(r.verdict, r.code, r.trigger) for r in results] == [("ok", 200, "startup"), ("ok", 200, "schedule"), ("ok", 200, "schedule")]
    assert len({cells(r)["call_id"] for r in results}) == 3
    assert requests(peer) == ["INVITE", "ACK", "BYE"] * 3
