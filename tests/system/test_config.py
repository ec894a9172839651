"""Documents: applied by difference, refused with every reason, rolled back; the running configuration never suffers."""
import hashlib
import re
import socket
import time

import pytest

import peers
from conftest import Agent, Site, Uas, retained, wait_online
from peers import PASSWORD, wait_for


def field(number, payload):
    """A length-prefixed field, as it stands on the wire."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


UNKNOWN = varint(999 << 3) + varint(1)


def issues(report):
    return {(i.path, i.code) for i in report.issues}


def offer(site, payload, seconds=15):
    """Publishes bytes and returns the final report that follows."""
    since = site.push_bytes(payload)
    final = (site.pb.CONFIG_STATUS_APPLIED, site.pb.CONFIG_STATUS_REJECTED, site.pb.CONFIG_STATUS_ROLLED_BACK)
    return wait_for(lambda: next((r for r in site.reports(since) if r.status in final), None), "no final report", seconds)


# ---- applied


def test_applied_report_says_what_runs(agent, site, bed):
    peer = bed.start(peers.Respond)
    before = time.time()
    document = site.document(7, site.account("one", peer.udp, site.command("alive"), site.command("off", disabled=True)),
                             site.account("two", peer.udp, site.command("alive")), issuer="test")
    report = site.push(document)
    assert report.status == site.pb.CONFIG_STATUS_APPLIED
    assert (report.offered_revision, report.effective_revision, report.accounts, report.commands) == (7, 7, 2, 3)
    assert report.effective_sha256 == hashlib.sha256(document.SerializeToString()).digest()
    assert before - 1 < report.changed_at_unix_us / 1e6 < time.time() + 1
    assert not report.issues
    assert site.wait_result("one", "alive").config_revision == 7
    assert retained(site.port)[f"{site.base}/config/reported"] == report.SerializeToString()
    wait_for(lambda: site.statuses()[-1].config_revision == 7, "the status does not tell the revision")


def test_applying_is_reported_first(agent, site):
    since = site.push_bytes(site.document(1).SerializeToString())
    site.wait_report(1, since)
    assert [r.status for r in site.reports(since)] == [site.pb.CONFIG_STATUS_APPLYING, site.pb.CONFIG_STATUS_APPLIED]


def test_bytes_are_hashed_as_received(agent, site):
    """Fields in another order are the same document for protobuf, but not the same bytes."""
    body = site.document(0, issuer="x").SerializeToString() + site.document(3).SerializeToString()
    report = offer(site, body)
    assert report.status == site.pb.CONFIG_STATUS_APPLIED
    assert report.effective_sha256 == hashlib.sha256(body).digest()


def test_revision_orders_documents(agent, site):
    pb = site.pb
    first = site.document(10, issuer="a")
    assert site.push(first).status == pb.CONFIG_STATUS_APPLIED
    changed_at = site.reports()[-1].changed_at_unix_us

    again = offer(site, first.SerializeToString())
    assert (again.status, again.effective_revision, again.changed_at_unix_us) == (pb.CONFIG_STATUS_APPLIED, 10, changed_at)

    for revision, code in (9, "stale"), (10, "conflict"):
        report = offer(site, site.document(revision, issuer="b").SerializeToString())
        assert (report.status, report.offered_revision, report.effective_revision) == (pb.CONFIG_STATUS_REJECTED, revision, 10)
        assert issues(report) == {("revision", code)}
        assert report.effective_sha256 == hashlib.sha256(first.SerializeToString()).digest()

    assert site.push(site.document(2**53)).status == pb.CONFIG_STATUS_APPLIED


def test_empty_payload_is_ignored(agent, site):
    assert site.push(site.document(1)).status == site.pb.CONFIG_STATUS_APPLIED
    since = site.push_bytes(b"")
    assert site.push(site.document(2)).status == site.pb.CONFIG_STATUS_APPLIED  # had the empty one been weighed, it would be reported before
    assert {r.offered_revision for r in site.reports(since)} == {2}


# ---- refused: each case is (path, code) of every issue, and what makes the bytes; the account `a` has one command `c`


def account(site, port, *commands, **fields):
    return site.account(fields.pop("id", "a"), port, *(commands or [site.command("c")]), **fields)


def account_case(path, code, **fields):
    def build(site, revision, port):
        message = account(site, port)
        for name, value in fields.items():
            setattr(message, name, value)
        return site.document(revision, message).SerializeToString()
    return build, {(path, code)}


def command_case(path, code, method="OPTIONS", login=None, **fields):
    def build(site, revision, port):
        return site.document(revision, account(site, port, site.command(fields.get("name", "c"), method, **{k: v for k, v in fields.items() if k != "name"}),
                                               login=login)).SerializeToString()
    return build, {(path, code)}


def password_case(path, code, **source):
    def build(site, revision, port):
        return site.document(revision, account(site, port, login="u", password=site.pb.Secret(**source))).SerializeToString()
    return build, {(path, code)}


def bytes_case(build, *expected):
    return build, set(expected)


def raw_document(site, revision, account_bytes):
    return site.document(revision).SerializeToString() + field(4, account_bytes)


def raw_command(site, revision, port, command_bytes):
    message = site.account("a", port)
    return raw_document(site, revision, message.SerializeToString() + field(13, command_bytes))


def clash(site, revision, port, **fields):
    return site.document(revision, account(site, port, local_port=port, **fields)).SerializeToString()


C = "accounts[a].commands[c]"
CASES = {
    "garbage": bytes_case(lambda s, r, p: b"\xff\xff\xff\xff", ("", "malformed")),
    "nothing but a broken account": bytes_case(lambda s, r, p: b"\x22\x02\x0a\x05", ("accounts[0]", "malformed")),
    "cut short": bytes_case(lambda s, r, p: s.document(r, account(s, p)).SerializeToString()[:-1], ("", "malformed")),
    "unknown field of the document": bytes_case(lambda s, r, p: s.document(r, account(s, p)).SerializeToString() + UNKNOWN, ("", "unknown_field")),
    "unknown field of an account": bytes_case(lambda s, r, p: raw_document(s, r, account(s, p).SerializeToString() + UNKNOWN),
                                              ("accounts[a]", "unknown_field")),
    "unknown field of a command": bytes_case(lambda s, r, p: raw_command(s, r, p, s.command("c").SerializeToString() + UNKNOWN), (C, "unknown_field")),
    "account ids twice": bytes_case(lambda s, r, p: s.document(r, account(s, p), account(s, p)).SerializeToString(), ("accounts[1].id", "duplicate")),
    "account ids that differ in case": bytes_case(lambda s, r, p: s.document(r, account(s, p, id="pbx"), account(s, p, id="PBX")).SerializeToString(),
                                                  ("accounts[1].id", "duplicate")),
    "command names twice": bytes_case(lambda s, r, p: s.document(r, account(s, p, s.command("c"), s.command("c"))).SerializeToString(),
                                      ("accounts[a].commands[1].name", "duplicate")),
    "command names that differ in case": bytes_case(lambda s, r, p: s.document(r, account(s, p, s.command("x"), s.command("X"))).SerializeToString(),
                                                    ("accounts[a].commands[1].name", "duplicate")),
    "unknown method": command_case(f"{C}.command", "invalid", "SUBSCRIBE"),
    "method in lower case": command_case(f"{C}.command", "invalid", "options"),
    "no method": command_case(f"{C}.command", "required", ""),
    "unknown transport": account_case("accounts[a].transport", "invalid", transport="sctp"),
    "transport of a later version": account_case("accounts[a].transport", "unsupported", transport="tls"),
    "remote port 0": account_case("accounts[a].remote_port", "out_of_range", remote_port=0),
    "remote port 65536": account_case("accounts[a].remote_port", "out_of_range", remote_port=65536),
    "local port 65536": account_case("accounts[a].local_port", "out_of_range", local_port=65536),
    "no remote address": account_case("accounts[a].remote_address", "required", remote_address=""),
    "remote address with a port": account_case("accounts[a].remote_address", "invalid", remote_address="192.0.2.1:5060"),
    "local address that is a name": account_case("accounts[a].local_address", "invalid", local_address="localhost"),
    "timeout_ms 0": account_case("accounts[a].timeout_ms", "out_of_range", timeout_ms=0),
    "sync_interval_s 0": account_case("accounts[a].sync_interval_s", "out_of_range", sync_interval_s=0),
    "timeout_s 0": command_case(f"{C}.timeout_s", "out_of_range", timeout_s=0),
    "timeout_s 301": command_case(f"{C}.timeout_s", "out_of_range", timeout_s=301),
    "interval_s 0": command_case(f"{C}.interval_s", "out_of_range", interval_s=0),
    "fail_after 0": command_case(f"{C}.fail_after", "out_of_range", fail_after=0),
    "retries 6": command_case(f"{C}.retries", "out_of_range", retries=6),
    "expected codes": command_case(f"{C}.expect_codes", "invalid", expect_codes="2xx"),
    "maintenance codes": command_case(f"{C}.maintenance_codes", "invalid", maintenance_codes="100"),
    "text of an OPTIONS": command_case(f"{C}.sip_data", "invalid", sip_data="hello"),
    "hold time of an OPTIONS": command_case(f"{C}.hold_ms", "invalid", hold_ms=1),
    "message to nobody": command_case(f"{C}.target", "required", "MESSAGE"),
    "registration of nobody": account_case("accounts[a].registration", "invalid", registration="always"),
    "unknown registration": account_case("accounts[a].registration", "invalid", registration="sometimes"),
    "line break in a login": account_case("accounts[a].login", "invalid", login="u\r\nX-Evil: 1"),
    "line break in a target": command_case(f"{C}.target", "invalid", target="600\r\nX-Evil: 1"),
    "line break in a target URI": command_case(f"{C}.target", "invalid", target="sip:600@host\r\nX-Evil: 1"),
    "description too long": command_case(f"{C}.description", "out_of_range", description="x" * 1025),
    "revision 0": bytes_case(lambda s, r, p: s.document(0, account(s, p)).SerializeToString(), ("revision", "required")),
    "revision above 2^53": bytes_case(lambda s, r, p: s.document(2**53 + 1, account(s, p)).SerializeToString(), ("revision", "out_of_range")),
    "revision 2^64-1": bytes_case(lambda s, r, p: s.document(2**64 - 1, account(s, p)).SerializeToString(), ("revision", "out_of_range")),
    "secret file above the folder": password_case("accounts[a].password.file", "invalid", file="../pw"),
    "secret file inside, then above": password_case("accounts[a].password.file", "invalid", file="sub/../../pw"),
    "secret file by absolute path": password_case("accounts[a].password.file", "invalid", file="/etc/passwd"),
    "secret file that is missing": password_case("accounts[a].password.file", "secret", file="missing.pw"),
    "secret file by a link that leads out": password_case("accounts[a].password.file", "secret", file="link.pw"),
    "secret file that is empty": password_case("accounts[a].password.file", "secret", file="empty.pw"),
    "sealed secret": password_case("accounts[a].password.sealed", "unsupported", sealed=b"box"),
    "empty secret": password_case("accounts[a].password", "required"),
    "signed document": bytes_case(lambda s, r, p: s.document(r, signed=s.pb.SignedBytes(payload=s.document(r).SerializeToString())).SerializeToString(),
                                  ("signed", "unsupported")),
    "another node's name": bytes_case(lambda s, r, p: s.document(r, account(s, p), node="n2").SerializeToString(), ("node", "invalid")),
    "same local and remote port": bytes_case(lambda s, r, p: clash(s, r, p, local_address="127.0.0.1"), ("accounts[a].local_port", "clash")),
    "same local and remote port, any address": bytes_case(clash, ("accounts[a].local_port", "clash")),
    "same local and remote port over TCP": bytes_case(lambda s, r, p: clash(s, r, p, transport="tcp", remote_address="localhost"),
                                                      ("accounts[a].local_port", "clash")),
    "no UTF-8": bytes_case(lambda s, r, p: raw_command(s, r, p, s.command("c").SerializeToString() + field(2, b"\xff\xfe")), (f"{C}.description", "invalid")),
    "NUL in a text": bytes_case(lambda s, r, p: raw_command(s, r, p, s.command("c").SerializeToString() + field(2, b"a\0b")), (f"{C}.description", "invalid")),
    "too large": bytes_case(lambda s, r, p: s.document(r, issuer="x" * (16 * 1024 * 1024)).SerializeToString(), ("", "too_large")),
    "several faults": bytes_case(
        lambda s, r, p: s.document(r, account(s, 0, s.command("c", "PING", timeout_s=0), s.command("d/e", "OPTIONS"), timeout_ms=0),
                                   account(s, p, id="b#", transport="pigeon")).SerializeToString(),
        ("accounts[a].remote_port", "out_of_range"), ("accounts[a].timeout_ms", "out_of_range"), (f"{C}.command", "invalid"),
        (f"{C}.timeout_s", "out_of_range"), ("accounts[a].commands[1].name", "invalid"), ("accounts[1].id", "invalid"),
        ("accounts[1].transport", "invalid")),
}
for bad in "a/b", "a#", "+", "_a", "a b", "a.b", "é", "x" * 65:
    CASES[f"account id {bad[:8]}"] = account_case("accounts[0].id", "invalid", id=bad)
    CASES[f"command name {bad[:8]}"] = command_case("accounts[a].commands[0].name", "invalid", name=bad)


@pytest.fixture(scope="module")
def steady(shared_bed, pb):
    """An agent whose configuration runs while documents are refused."""
    broker = shared_bed.start(peers.Broker)
    site = Site(pb, broker.port)
    shared_bed.clients.append(site)
    site.peer = shared_bed.start(peers.Respond)
    agent = shared_bed.start(Agent, broker)
    site.agent = wait_online(site, agent)
    secrets = agent.state / "secrets"
    secrets.mkdir(parents=True)
    (agent.state / "outside.pw").write_text(PASSWORD)
    (secrets / "link.pw").symlink_to("../outside.pw")
    (secrets / "empty.pw").write_text("\n")
    site.effective = site.document(10, site.account("base", site.peer.udp, site.command("beat")))
    assert site.push(site.effective).status == pb.CONFIG_STATUS_APPLIED
    site.first = site.wait_result("base", "beat")
    site.revision = 100
    return site


@pytest.mark.parametrize("name", CASES)
def test_refused(steady, name):
    site, (build, expected) = steady, CASES[name]
    site.revision += 1
    report = offer(site, build(site, site.revision, site.peer.udp))
    assert report.status == site.pb.CONFIG_STATUS_REJECTED
    assert issues(report) == expected
    assert all(len(i.message) > 10 and PASSWORD not in i.message for i in report.issues)
    assert report.effective_revision == 10
    assert report.effective_sha256 == hashlib.sha256(site.effective.SerializeToString()).digest()
    assert (report.accounts, report.commands) == (1, 1)
    if any(code == "clash" for _, code in expected):
        assert "you must use a local port different from the remote port" in report.issues[0].message.lower()
    last = site.results("base", "beat")[-1]
    assert time.time() - last.finished_unix_us / 1e6 < 2.5, "the running configuration came to a stop"
    assert last.config_revision == 10
    assert not site.results("a")


def test_refused_documents_left_the_running_one_alone(steady):
    """Its cycle went on through all of the above, and through one more."""
    offer(steady, b"\xff\xff")
    since = steady.mark()
    wait_for(lambda: len(steady.results("base", "beat", since)) >= 2, "no results after a refused document")
    starts = [r.started_unix_us / 1e6 for r in steady.results("base", "beat")]
    gaps = [b - a for a, b in zip(starts[1:], starts[2:])]
    assert all(0.7 < g < 1.3 for g in gaps), gaps
    assert {r.boot_id for r in steady.results()} == {steady.first.boot_id}


def test_undecodable_documents_are_counted(bed, agent, site):
    offer(site, b"\xff\xff")
    offer(site, b"\xff\xff\xff")
    site.push(site.document(1))  # makes a status
    wait_for(lambda: site.statuses()[-1].unreadable_messages == 2, f"not counted: {site.statuses()[-1]}")


def test_more_than_a_hundred_issues_are_counted(agent, site):
    document = site.document(1, *[site.account(f"a{i}", 0) for i in range(150)])
    report = offer(site, document.SerializeToString())
    assert report.status == site.pb.CONFIG_STATUS_REJECTED
    assert len(report.issues) == 100
    assert "51" in report.issues[99].message


def test_plain_secrets_need_permission(bed, broker, site):
    agent = wait_online(site, bed.start(Agent, broker, plain=False))
    report = site.push(site.document(1, site.account("a", 5060, login="u", password=site.secret())))
    assert report.status == site.pb.CONFIG_STATUS_REJECTED
    assert issues(report) == {("accounts[a].password.plain", "secret")}
    assert PASSWORD not in report.issues[0].message and PASSWORD not in agent.text()


def test_secret_file_is_read_without_its_newline(bed, broker, site):
    password_file = bed.folder / "respond.pw"
    password_file.write_text(PASSWORD)
    peer = bed.start(peers.Respond, "--auth-user", "u", "--auth-password-file", password_file)
    secrets = bed.folder / "secrets"
    (secrets / "sub").mkdir(parents=True)
    (secrets / "sub" / "u.pw").write_text(PASSWORD + "\n")
    wait_online(site, bed.start(Agent, broker, "--secrets-dir", secrets, plain=False))
    report = site.push(site.document(1, site.account("a", peer.udp, site.command("login", "REGISTER"), login="u", password=site.pb.Secret(file="sub/u.pw"))))
    assert report.status == site.pb.CONFIG_STATUS_APPLIED
    assert site.wait_result("a", "login").code == 200


# ---- rolled back


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_taken_port_rolls_back(bed, agent, site, transport):
    pb = site.pb
    peer = bed.start(peers.Respond)
    former = site.account("former", peer.udp, site.command("beat"))
    assert site.push(site.document(1, former)).status == pb.CONFIG_STATUS_APPLIED
    site.wait_result("former", "beat")

    taken = socket.socket(type=socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
    taken.bind(("127.0.0.1", 0))
    if transport == "tcp":
        taken.listen()
    port = taken.getsockname()[1]

    def wanted(revision):
        return site.document(revision, site.account("wanted", getattr(peer, transport), site.command("c"), local_address="127.0.0.1", local_port=port,
                                                    transport=transport))

    refused = wanted(2)
    report = site.push(refused)
    assert report.status == pb.CONFIG_STATUS_ROLLED_BACK
    assert issues(report) == {("accounts[wanted].local_port", "resource")}
    assert "another program has this port" in report.issues[0].message
    assert (report.effective_revision, report.accounts) == (1, 1)
    since = site.mark()
    assert site.wait_result("former", "beat", since=since).config_revision == 1
    assert not site.results("wanted")

    taken.close()
    report = offer(site, refused.SerializeToString())
    assert (report.status, report.effective_revision) == (pb.CONFIG_STATUS_ROLLED_BACK, 1)
    report = site.push(wanted(3))
    assert (report.status, report.effective_revision) == (pb.CONFIG_STATUS_APPLIED, 3)
    result = site.wait_result("wanted", "c")
    assert (result.verdict, result.local) == ("ok", f"127.0.0.1:{port}")


def test_foreign_local_address_rolls_back(agent, site):
    report = site.push(site.document(1, site.account("a", 5060, site.command("c"), remote_address="198.51.100.1", local_address="203.0.113.1")))
    assert report.status == site.pb.CONFIG_STATUS_ROLLED_BACK
    assert issues(report) == {("accounts[a].local_address", "resource")}
    assert report.effective_revision == 0


def test_retained_refused_document_at_start(bed, broker, site):
    site.push_bytes(site.document(5, site.account("a", 0)).SerializeToString())
    agent = wait_online(site, bed.start(Agent, broker))
    report = site.wait_report(5)
    assert (report.status, report.effective_revision) == (site.pb.CONFIG_STATUS_REJECTED, 0)
    assert agent.end() == 0
    since = site.mark()
    wait_online(site, bed.start(Agent, broker), since)
    assert site.wait_report(5, since).status == site.pb.CONFIG_STATUS_REJECTED


def test_retained_document_runs_at_start(bed, broker, site):
    peer = bed.start(peers.Respond)
    site.push_bytes(site.document(5, site.account("a", peer.udp, site.command("c"))).SerializeToString())
    bed.start(Agent, broker)
    assert site.wait_report(5).status == site.pb.CONFIG_STATUS_APPLIED
    assert site.wait_result("a", "c").verdict == "ok"


# ---- by difference


def test_what_is_removed_or_disabled_is_cleared(bed, broker, agent, site):
    peer = bed.start(peers.Respond)

    def full(id, **fields):
        return site.account(id, peer.udp, site.command("one"), site.command("two"), **fields)

    site.push(site.document(1, full("stays"), full("goes"), full("rests")))
    names = [(a, c) for a in ("stays", "goes", "rests") for c in ("one", "two")]
    for name in names:
        site.wait_result(*name)
    assert {t.split("/", 4)[4] for t in retained(broker.port) if "/result/" in t} == {f"{a}/{c}" for a, c in names}

    since = site.mark()
    report = site.push(site.document(2, site.account("stays", peer.udp, site.command("one"), site.command("two", disabled=True)), full("rests", disabled=True)))
    assert (report.status, report.accounts, report.commands) == (site.pb.CONFIG_STATUS_APPLIED, 2, 4)
    gone = {f"{site.base}/result/{name}" for name in ("goes/one", "goes/two", "rests/one", "rests/two", "stays/two")}
    def cleared():
        with site.lock:
            return {m[0] for m in site.messages[since:] if m[0] in gone and not m[1]}
    wait_for(lambda: cleared() == gone, "not all were cleared")
    site.wait_result("stays", "one", since=site.mark())
    assert {t for t in retained(broker.port) if "/result/" in t} == {f"{site.base}/result/stays/one"}

    site.push(site.document(3, full("stays"), full("rests")))
    for name in ("stays", "two"), ("rests", "one"):
        site.wait_result(*name, since=site.mark())
    assert f"{site.base}/result/rests/one" in retained(broker.port)


def test_a_change_leaves_other_accounts_alone(bed, agent, site):
    """Other accounts, and the other commands of a changed one, keep their cycle; a registration is not made anew."""
    kept, changed = Uas(), Uas()
    bed.clients += [kept, changed]
    quiet = site.account("kept", kept.port, site.command("c"), login="u", password=site.secret())

    def document(revision, *commands, **fields):
        return site.document(revision, quiet, site.account("changed", changed.port, site.command("same"), *commands, **fields))

    site.push(document(1))
    site.wait_result("kept", "c")
    site.wait_result("changed", "same")
    for revision in range(2, 5):
        site.push(document(revision, site.command("new", timeout_s=revision)))
        site.wait_result("changed", "new", where=lambda r: r.config_revision == revision)
        site.wait_result("kept", "c", since=site.mark())
    port = site.results("changed")[-1].local
    site.push(document(5, timeout_ms=1234))  # of the connection: all of this account starts anew
    site.wait_result("changed", "same", where=lambda r: r.config_revision == 5)
    site.wait_result("kept", "c", since=site.mark())

    assert len(kept.of("REGISTER")) == 1
    for account, variable in ("kept", "c"), ("changed", "same"):
        starts = [r.started_unix_us / 1e6 for r in site.results(account, variable) if r.config_revision < 5 and r.trigger == "schedule"]
        gaps = [b - a for a, b in zip(starts, starts[1:])]
        assert len(starts) >= 3 and all(0.8 < g < 1.2 for g in gaps), (account, gaps)
    assert {r.local for r in site.results("changed") if r.config_revision < 5} == {port}
    assert all(r.verdict == "ok" for r in site.results())


def test_registration_is_removed_with_its_account(bed, agent, site, uas):
    site.push(site.document(1, site.account("a", uas.port, login="u", password=site.secret())))
    wait_for(lambda: uas.of("REGISTER"), "did not register")
    site.push(site.document(2))
    last = wait_for(lambda: next((r for r in uas.of("REGISTER") if re.search(r"expires\s*[=:]\s*0\b", r[2], re.I)), None), "the binding was not removed")
    assert Uas.header(last[2], "Call-ID") == Uas.header(uas.of("REGISTER")[0][2], "Call-ID")


def test_the_newest_of_many_documents_counts(agent, site):
    """A hundred at once: some are passed over, the last one runs, and the reports never go back."""
    since = site.mark()
    for revision in range(1, 101):
        site.client.publish(f"{site.base}/config/desired", site.document(revision, site.account("a", 5999)).SerializeToString(), qos=1, retain=True)
    assert site.wait_report(100, since).status == site.pb.CONFIG_STATUS_APPLIED
    offered = [r.offered_revision for r in site.reports(since)]
    assert offered == sorted(offered)
    assert all(r.status in (site.pb.CONFIG_STATUS_APPLYING, site.pb.CONFIG_STATUS_APPLIED) for r in site.reports(since))


def test_many_accounts(bed, broker, agent, site):
    """Ten thousand commands: applied, changed in one place, removed, ended, each in seconds."""
    peer = bed.start(peers.Respond)

    def document(revision, n):
        return site.document(revision, *[site.account(f"a{i}", peer.udp, *[site.command(f"c{j}") for j in range(10)], sync_interval_s=3600) for i in range(n)],
                             site.account("beat", peer.udp, site.command("c", interval_s=1 + revision % 2)))
    report = site.push(document(1, 1000), 20)
    assert (report.status, report.accounts, report.commands) == (site.pb.CONFIG_STATUS_APPLIED, 1001, 10001)
    site.wait_result("beat", "c")
    report = site.push(document(2, 1000), 20)
    assert report.status == site.pb.CONFIG_STATUS_APPLIED
    site.wait_result("beat", "c", where=lambda r: r.config_revision == 2)
    report = site.push(document(3, 0), 20)
    assert (report.status, report.commands) == (site.pb.CONFIG_STATUS_APPLIED, 1)
    site.wait_result("beat", "c", where=lambda r: r.config_revision == 3)
    wait_for(lambda: {t for t in retained(broker.port) if "/result/" in t} == {f"{site.base}/result/beat/c"}, "removed variables are still there", 20)
    assert agent.end() == 0
