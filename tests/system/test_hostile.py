"""Servers that answer with anything but SIP, all of them at once: one right result per check, and the others' checks go on."""
import itertools
import random
import re

import pytest

import fake
import peers
from conftest import Agent, Bed, Site, cells, codes
from fake import TcpFake, UdpFake, closed_port, reply, reset
from peers import wait_for

TIMEOUT_MS = 450
NOISE = random.Random(1).randbytes(1400)
PADDING = [f"X-Padding-{i}: {'x' * 90}" for i in range(600)]  # more than 60 KB
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


def cut(share):
    def answer(request, _):
        whole = reply(request)
        return [whole[:max(1, int(len(whole) * share))]]
    return answer


def always(**changes):
    return lambda request, _: [reply(request, **changes)]


# name: what to answer, error_class
UDP = {
    **{f"cut-{percent}": (cut(percent / 100), "protocol") for percent in (0, 2, 5, 10, 20, 35, 50, 65, 80, 90, 97)},
    "cut-before-last-line": (lambda r, _: [reply(r)[:-2]], "protocol"),
    "no-cseq": (always(leave_out=["CSeq"]), "protocol"),
    "no-via": (always(leave_out=["Via"]), "protocol"),
    "no-call-id": (always(leave_out=["Call-ID"]), "protocol"),
    "wrong-branch": (always(via="SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKnot-yours"), "protocol"),
    "branch-of-another-check": (lambda r, _: [reply(r, via=fake.header(r, "Via")[:-4] + "0000")], "protocol"),
    "wrong-call-id": (always(call_id="another@call"), "protocol"),
    "wrong-cseq-number": (always(cseq="4711 OPTIONS"), "protocol"),
    "wrong-cseq-method": (always(cseq="1 INVITE"), "protocol"),
    "cseq-too-large": (always(cseq="99999999999999999999 OPTIONS"), "protocol"),
    "64k-headers-then-cut": (lambda r, _: [reply(r, lines=PADDING)[:65000]], "protocol"),
    "one-header-of-60k": (lambda r, _: [reply(r, lines=["X: " + "y" * 60000])[:-4]], "protocol"),
    "10000-headers": (lambda r, _: [reply(r, lines=["a:b"] * 10000)[:-2]], "protocol"),
    "noise": (lambda r, _: [NOISE], "protocol"),
    "noise-in-headers": (lambda r, _: [reply(r).replace(b"From:", NOISE[:40] + b"\r\n" + b"\0\xff:")[:-2]], "protocol"),
    "a-zero-byte": (lambda r, _: [b"\0"], "protocol"),
    "html": (lambda r, _: [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"], "protocol"),
    "huge-content-length": (always(content_length="4294967295"), "protocol"),
    "content-length-beyond-64-bits": (always(content_length="9" * 40), "protocol"),
    "negative-content-length": (always(content_length="-1"), "protocol"),
    "code-99": (always(status="99 Odd"), "protocol"),
    "code-1000": (always(status="1000 Odd"), "protocol"),
    "code-2x0": (always(status="2x0 Odd"), "protocol"),
    "version-3": (lambda r, _: [reply(r).replace(b"SIP/2.0 200", b"SIP/3.0 200", 1)], "protocol"),
    "trying-then-broken": (lambda r, _: [reply(r, "100 Trying"), reply(r, leave_out=["CSeq"])], "protocol"),
    "silence": (lambda r, _: [], "timeout"),
    "empty-datagram": (lambda r, _: [b""], "timeout"),
    "keep-alives": (lambda r, _: [b"\r\n\r\n", b"\r\n"], "timeout"),
    "trying-only": (always(status="100 Trying"), "timeout"),
    "good": (always(), "none"),
    "garbage-then-good": (lambda r, _: [NOISE, b"", b"\0", reply(r)], "none"),
    "answer-to-another-then-good": (lambda r, _: [reply(r, via="SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"), reply(r)], "none"),
    "good-many-times": (lambda r, _: [reply(r)] * 20, "none"),
    "two-in-one-datagram": (lambda r, _: [reply(r) + reply(r, "500 No")], "none"),
    "good-then-another": (lambda r, _: [reply(r), reply(r, "500 No")], "none"),
    "no-reason": (always(status="200 "), "none"),
    "reason-not-utf8": (lambda r, _: [reply(r).replace(b"200 OK", b"200 O\xff\xfeK")], "none"),
    "to-tag-missing": (lambda r, _: [reply(r).replace(b";tag=fake", b"")], "none"),
    "compact-and-folded": (lambda r, _: [reply(r).replace(b"\r\nVia:", b"\r\nv :").replace(b"\r\nCall-ID:", b"\r\ni:\r\n").replace(b"\r\nContent-Length:", b"\r\nl:")], "none"),
    "request-then-good": (lambda r, _: [f"INVITE sip:you@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKi{len(r)}\r\n\r\n".encode(), reply(r)], "none"),
}


def bytewise(request, connection):
    for byte in reply(request):
        connection.sendall(bytes([byte]))
    return True


def sending(make, stays=True):
    def answer(request, connection):
        connection.sendall(make(request))
        return stays
    return answer


TCP = {
    "trickle": (bytewise, "none"),
    "good": (sending(reply), "none"),
    "good-then-closed": (sending(reply, False), "none"),
    "keep-alives-then-good": (sending(lambda r: b"\r\n\r\n\r\n" + reply(r)), "none"),
    "two-in-one-segment": (sending(lambda r: reply(r, "100 Trying") + reply(r)), "none"),
    "silence": (lambda r, c: True, "timeout"),
    "trying-only": (sending(lambda r: reply(r, "100 Trying")), "timeout"),
    "no-content-length": (sending(lambda r: reply(r, leave_out=["Content-Length"])), "protocol"),
    "huge-content-length": (sending(lambda r: reply(r, content_length="4294967295")), "protocol"),
    "body-that-never-comes": (sending(lambda r: reply(r, content_length="100")), "protocol"),
    "negative-content-length": (sending(lambda r: reply(r, content_length="-1")), "protocol"),
    "half-then-silence": (sending(lambda r: reply(r)[:150]), "protocol"),
    "closed-in-the-middle": (sending(lambda r: reply(r)[:150], False), "protocol"),
    "noise": (sending(lambda r: NOISE), "protocol"),
    "noise-then-closed": (sending(lambda r: NOISE, False), "protocol"),
    "no-cseq": (sending(lambda r: reply(r, leave_out=["CSeq"])), "protocol"),
    "wrong-branch": (sending(lambda r: reply(r, via="SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx")), "protocol"),
    "64k-headers": (sending(lambda r: reply(r, lines=PADDING * 2)), "protocol"),
    "endless-line": (sending(lambda r: b"SIP/2.0 200 " + b"x" * 300000), "protocol"),
    "closed-without-a-word": (lambda r, c: False, "transport"),
    "reset": (lambda r, c: reset(c), "transport"),
}

def picking_up(body, *lines):
    """A callee that is where its Contact says."""
    def answer(request, _):
        if not request.startswith("INVITE"):
            return [] if request.startswith("ACK") else [reply(request)]
        own = request.split()[1]
        return [reply(request, lines=[f"Contact: <{own}>", *lines], body=body)]
    return answer


IS_SDP = "Content-Type: application/sdp"
CALLS = {
    "no-sdp": (picking_up(b""), "media"),
    "sdp-is-noise": (picking_up(NOISE, IS_SDP), "media"),
    "sdp-is-cut": (picking_up(SDP[:40], IS_SDP), "media"),
    "other-codec": (picking_up(SDP.replace(b"AVP 0", b"AVP 3"), IS_SDP), "media"),
    "good": (picking_up(SDP, IS_SDP), "none"),
    "busy-without-cseq": (always(status="486 Busy Here", leave_out=["CSeq"]), "protocol"),
}


def asking(*challenges, status="401 Unauthorized", then="none"):
    """Asks for credentials: always, or until it gets some. {n} in a challenge is another number each time."""
    count = itertools.count(1)
    def answer(request, _):
        if then == "good" and re.search(r"^(Proxy-)?Authorization:", request, re.M):
            return [reply(request)]
        name = "WWW-Authenticate" if status.startswith("401") else "Proxy-Authenticate"
        return [reply(request, status, lines=[f"{name}: {c.replace('{n}', str(next(count)))}" for c in challenges])]
    return answer


MD5 = 'Digest realm="r", nonce="abc", algorithm=MD5, qop="auth"'
# name: answer, error_class, most requests of one check
CHALLENGES = {
    "no-header": (asking(), "auth", 1),
    "no-nonce": (asking('Digest realm="r"'), "auth", 1),
    "no-realm": (asking('Digest nonce="abc"'), "auth", 1),
    "empty": (asking(""), "auth", 1),
    "open-quote": (asking('Digest realm="r, nonce="abc'), "auth", 2),
    "basic": (asking('Basic realm="r"'), "auth", 1),
    "unknown-algorithm": (asking('Digest realm="r", nonce="abc", algorithm=ROT13'), "auth", 1),
    "auth-int-only": (asking('Digest realm="r", nonce="abc", qop="auth-int"'), "auth", 1),
    "refused": (asking(MD5), "auth", 2),
    "refused-by-proxy": (asking(MD5, status="407 Proxy Authentication Required"), "auth", 2),
    "stale-for-ever": (asking('Digest realm="r", nonce="{n}", stale=true'), "auth", 4),
    "other-nonce-for-ever": (asking('Digest realm="r", nonce="{n}"'), "auth", 2),
    "other-realm-for-ever": (asking('Digest realm="{n}", nonce="abc"'), "auth", 20),
    "nonce-of-8k": (asking(f'Digest realm="r", nonce="{"n" * 8000}"'), "auth", 1),
    "a-hundred-at-once": (asking(*['Digest realm="{n}", nonce="abc"'] * 100), "auth", 20),
    "md5-among-others": (asking('Digest realm="r", nonce="abc", algorithm=SHA-256, qop="auth"', 'Basic realm="r"', MD5, then="good"), "none", 2),
    "no-algorithm-no-qop": (asking('Digest realm="r", nonce="abc"', then="good"), "none", 2),
}


class Crowd:
    """One agent, all the servers, one of them well; every account runs each second."""

    def __init__(self, folder, pb):
        self.bed = Bed(folder)
        broker = self.bed.start(peers.Broker)
        self.site = Site(pb, broker.port)
        self.bed.clients.append(self.site)
        self.agent = self.bed.start(Agent, broker)
        self.fakes = {}
        well = self.bed.start(peers.Respond)
        accounts = [self.site.account("well", well.udp, self.site.command("c")), self.site.account("well-tcp", well.tcp, self.site.command("c"), transport="tcp")]
        for kind, cases, maker in (("udp", UDP, UdpFake), ("tcp", TCP, TcpFake), ("call", CALLS, UdpFake)):
            for name, (answer, _) in cases.items():
                self.fakes[f"{kind}-{name}"] = server = maker(answer)
                command = self.site.command("c", "INVITE", target="600", hold_ms=50) if kind == "call" else self.site.command("c")
                accounts.append(self.site.account(f"{kind}-{name}", server.port, command, transport="tcp" if kind == "tcp" else "udp", timeout_ms=TIMEOUT_MS))
        for name, (answer, _, _) in CHALLENGES.items():
            self.fakes[f"ask-{name}"] = server = UdpFake(answer)
            accounts.append(self.site.account(f"ask-{name}", server.port, self.site.command("c", expect_codes="200-299"), login="me", password=self.site.secret(),
                                              registration="never", timeout_ms=TIMEOUT_MS))
        for transport in ("udp", "tcp"):
            accounts.append(self.site.account(f"nobody-{transport}", closed_port(), self.site.command("c"), transport=transport, timeout_ms=TIMEOUT_MS))
        report = self.site.push(self.site.document(1, *accounts))
        assert report.status == pb.CONFIG_STATUS_APPLIED, report

    def results(self, account, count=2):
        """At least so many results of an account."""
        return wait_for(lambda: len(found := self.site.results(account)) >= count and found,
                        f"no {count} results of {account}; the agent said:\n{self.agent.text()[-1500:]}")

    def close(self):
        for server in self.fakes.values():
            server.close()
        self.bed.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, pb):
    crowd = Crowd(tmp_path_factory.mktemp("crowd"), pb)
    yield crowd
    crowd.close()


def look(crowd, account, error, method="OPTIONS"):
    """Each check of the account ended in exactly one result, and each says the same. Returns the first."""
    results = crowd.results(account)
    assert {r.error_class for r in results} == {error}, [(r.error_class, r.error_text, r.code) for r in results]
    assert {r.verdict for r in results} == {"ok" if error == "none" else "fail"}
    ids = [cells(r)["call_id"] for r in results]
    assert len(set(ids)) == len(ids) == len({r.seq for r in results})
    assert crowd.fakes[account].call_ids(method)[:len(ids)] == ids  # a check for every result, a result for every check
    for r in results:
        assert (r.error_text != "") == (error != "none")
        if error in ("timeout", "transport", "protocol"):
            assert not r.HasField("code") and not r.HasField("response_ms") and not r.reason
        if error == "timeout":
            assert TIMEOUT_MS <= r.total_ms < TIMEOUT_MS + 400
            assert r.table.quality == (192 if codes(r) else 12)  # a provisional answer is one: somebody is there
        if error == "none":
            assert r.code == 200 and r.response_ms <= r.total_ms < TIMEOUT_MS
        assert r.total_ms < TIMEOUT_MS + 400  # never a hang
    assert crowd.agent.popen.poll() is None, crowd.agent.text()[-3000:]
    return results[0]


@pytest.mark.parametrize("name", UDP)
def test_udp(crowd, name):
    look(crowd, f"udp-{name}", UDP[name][1])


@pytest.mark.parametrize("name", TCP)
def test_tcp(crowd, name):
    look(crowd, f"tcp-{name}", TCP[name][1])


@pytest.mark.parametrize("name", CALLS)
def test_call(crowd, name):
    result = look(crowd, f"call-{name}", CALLS[name][1], "INVITE")
    if CALLS[name][1] != "protocol":  # it was answered: acknowledged and hung up all the same
        assert result.code == 200
        seen = [r.split()[0] for r in crowd.fakes[f"call-{name}"].requests if cells(result)["call_id"] in r]
        assert seen == ["INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenge(crowd, name):
    _, error, most = CHALLENGES[name]
    server = crowd.fakes[f"ask-{name}"]
    for result in crowd.results(f"ask-{name}"):
        assert (result.error_class, result.verdict) == (error, "ok" if error == "none" else "fail"), (result.error_text, result.code)
        assert result.code == (200 if error == "none" else 407 if "proxy" in name else 401)
        requests = [r for r in list(server.requests) if cells(result)["call_id"] in r]
        assert 1 <= len(requests) <= most and len(codes(result)) == len(requests)
        assert cells(result)["auth_rounds"] == len(requests) - 1
    assert not any(peers.PASSWORD in r for r in server.requests)


def test_provisional_answers_stand_in_the_table(crowd):
    assert codes(crowd.results("udp-trying-only")[0]) == [100]
    assert codes(crowd.results("udp-trying-then-broken")[0])[0] == 100
    assert codes(crowd.results("tcp-two-in-one-segment")[0]) == [100, 200]
    assert codes(crowd.results("udp-good-many-times")[0]) == [200]


def test_nobody_listens_is_told_at_once(crowd):
    for result in crowd.results("nobody-udp"):
        assert (result.verdict, result.error_class, result.retransmits, result.table.quality) == ("fail", "transport", 0, 12)
        assert result.total_ms < TIMEOUT_MS / 2  # by ICMP, not by the timeout
    for result in crowd.results("nobody-tcp"):
        assert (result.verdict, result.error_class, result.attempts) == ("fail", "connect", 0)
        assert result.total_ms < TIMEOUT_MS / 2 and result.remote and not result.HasField("code")


def test_reason_is_made_utf8(crowd):
    result = crowd.results("udp-reason-not-utf8")[0]
    assert result.reason.startswith("O") and result.reason.endswith("K") and result.code == 200


def test_others_go_on(crowd):
    """Last in this file: all of the above ran beside these."""
    for account in ("well", "well-tcp"):
        results = crowd.results(account, 4)
        assert {(r.verdict, r.code) for r in results} == {("ok", 200)}
        starts = [r.started_unix_us for r in results]
        assert max(b - a for a, b in zip(starts, starts[1:])) < 1_900_000  # no cycle was left out
        assert sorted(r.response_ms for r in results)[len(results) // 2] < 100
    # memory and transactions don't pile up, nothing was said by a sanitizer
    assert crowd.agent.popen.poll() is None
    assert "ERROR: AddressSanitizer" not in crowd.agent.text() and "runtime error" not in crowd.agent.text()
    assert crowd.agent.end() == 0, crowd.agent.text()[-3000:]
