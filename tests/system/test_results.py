"""What subscribers in another language get: every field of every kind of result, with its MQTT properties, through outages too."""
import collections
import math
import signal
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

import peers
from conftest import Agent, Site, Subscriber, cells, retained, wait_online
from peers import PASSWORD, wait_for

# FieldType -> the member of Cell that carries it, and Python's type of it
KINDS = {1: ("bool_value", bool), 2: ("int_value", int), 3: ("double_value", float), 4: ("string_value", str), 5: ("bytes_value", bytes),
         6: ("time_unix_us", int), 7: ("duration_ms", float), 8: ("table_value", None)}

COMMON = """name description command target started verdict state code reason meaning error_class error_text local remote transport
dns_ms connect_ms first_ms auth_ms response_ms total_ms retransmits attempts auth_alg auth_rounds retry_after_s server nat_addr call_id
responses""".split()
OWN = {
    "OPTIONS": "allow supported accept".split(),
    "MESSAGE": ["accepted_only"],
    "REGISTER": "rrd_ms ira expires_requested expires_granted bindings unregister_code unregister_ms".split(),
    "INVITE": """trying_ms srd_ms srd_failed ser seer isa scr ring_ms answer_ms sdt_s sdd_ms ended_by cancel_sent bye_code early_media codec rtp_tx rtp_rx
        first_rtp_ms loss_pct jitter_ms reordered duplicated audio""".split(),
}
# flat field -> column; a column that is null leaves its flat field absent (or empty, where it has no presence)
FLAT = {"variable": "name", "description": "description", "command": "command", "started_unix_us": "started", "verdict": "verdict",
        "state": "state", "code": "code", "reason": "reason", "meaning": "meaning", "error_class": "error_class", "error_text": "error_text",
        "response_ms": "response_ms", "total_ms": "total_ms", "attempts": "attempts", "retransmits": "retransmits", "transport": "transport",
        "local": "local", "remote": "remote", "loss_pct": "loss_pct"}
PRESENCE = ("code", "response_ms", "total_ms", "loss_pct")


class Recorder(Subscriber):
    """Keeps messages as paho gives them, the retain flag as it was published."""

    def __init__(self, port, protocol=mqtt.MQTTv5):
        self.kept = []
        super().__init__(port, protocol, options=SubscribeOptions(qos=1, retainAsPublished=True) if protocol == mqtt.MQTTv5 else 1)

    def _message(self, client, userdata, message):
        super()._message(client, userdata, message)
        with self.lock:
            self.kept.append(message)


def check_table(table):
    assert len(table.records) == 1
    assert len({f.name for f in table.fields}) == len(table.fields)
    for f, cell in zip(table.fields, table.records[0].cells, strict=True):
        member, kind = KINDS[f.type]
        assert f.name and f.description, f
        got = cell.WhichOneof("value")
        assert got in (None, member), f
        assert got or f.nullable, f"{f.name} is null"
        if got and kind:
            check_value(f.name, getattr(cell, member), kind)
        if got == "table_value":
            check_nested(cell.table_value)


def check_nested(table):
    assert [c.name for c in table.columns] == ["offset_ms", "code", "reason", "meaning"]
    for record in table.records:
        for column, cell in zip(table.columns, record.cells, strict=True):
            member, kind = KINDS[column.type]
            assert column.description
            got = cell.WhichOneof("value")
            assert got in (None, member), column
            if got:
                check_value(column.name, getattr(cell, member), kind)
    offsets = [r.cells[0].duration_ms for r in table.records]
    assert offsets == sorted(offsets)


def check_value(name, value, kind):
    assert isinstance(value, kind), name
    if kind is float:
        assert math.isfinite(value), name
    if name.endswith(("_ms", "_s")):
        assert 0 <= value, name


def check_result(r):
    """What is true of every result."""
    check_table(r.table)
    names = [f.name for f in r.table.fields]
    assert sorted(names) == sorted(COMMON + OWN[r.command])
    row = cells(r)
    for flat, column in FLAT.items():
        value = row.get(column)
        if flat in PRESENCE:
            assert r.HasField(flat) == (value is not None), flat
        if value is None:
            assert not getattr(r, flat), flat
        else:
            assert getattr(r, flat) == value, flat
    assert r.table.time_unix_us == r.finished_unix_us >= r.started_unix_us
    assert r.HasField("ok") == (r.verdict in ("ok", "warn", "fail"))
    if r.HasField("ok"):
        assert r.ok == (r.verdict != "fail")
    assert (r.error_class == "none") == (r.verdict in ("ok", "warn", "maintenance"))
    assert bool(r.error_text) == (r.error_class != "none")
    assert r.HasField("code") == bool(r.meaning)
    assert r.boot_id and r.seq
    if r.trigger != "request":
        assert r.HasField("sched_lag_ms") and 0 <= r.sched_lag_ms < 2000
    answered = [c.cells[1].int_value for c in row["responses"].records] if row["responses"] else []
    assert all(100 <= c <= 699 for c in answered)
    if r.HasField("code") and r.error_class != "timeout":
        assert r.code in answered


@pytest.fixture(scope="module")
def scene(shared_bed, pb):
    """One node that runs every method against a peer that answers and one that does not, until each has two results."""
    class Scene:
        pass
    s = Scene()
    s.broker = shared_bed.start(peers.Broker)
    s.site = Site(pb, s.broker.port)
    s.v5, s.v3 = Recorder(s.broker.port), Recorder(s.broker.port, mqtt.MQTTv311)
    shared_bed.clients += [s.site, s.v5, s.v3]
    password = shared_bed.folder / "pw"
    password.write_text(PASSWORD)
    peer = shared_bed.start(peers.Respond, "--auth-user", "u", "--auth-password-file", password)
    refusing = shared_bed.start(peers.Respond, *[f"--code={m}=503" for m in ("OPTIONS", "MESSAGE", "REGISTER", "INVITE")])
    s.agent = wait_online(s.site, shared_bed.start(Agent, s.broker))
    site = s.site

    def commands(**fields):
        return [site.command("options", description="Is it there?", **fields), site.command("message", "MESSAGE", target="600", sip_data="hello", **fields),
                site.command("register", "REGISTER", **fields), site.command("invite", "INVITE", target="echo", hold_ms=300, **fields)]

    login = {"login": "u", "password": site.secret()}
    dead = peers.free_port()
    s.accounts = ("udp", "tcp", "refusing", "dead", "nowhere", "service")
    s.published_from = time.time()
    report = site.push(site.document(
        3, site.account("udp", peer.udp, *commands(), **login), site.account("tcp", peer.tcp, *commands(), transport="tcp", registration="never", **login),
        site.account("refusing", refusing.udp, *commands()), site.account("dead", dead, *commands(), timeout_ms=300),
        site.account("nowhere", 5060, *commands(), remote_address="name.invalid", sync_interval_s=2),
        site.account("service", refusing.udp, *commands(maintenance_codes="503"), sync_interval_s=3)))
    assert report.status == pb.CONFIG_STATUS_APPLIED
    for account in s.accounts:
        for variable in "options", "message", "register", "invite":
            wait_for(lambda: len(site.results(account, variable)) >= 2, f"fewer than two results of {account}/{variable}", 20)
    return s


def test_every_result_is_whole(scene):
    for result in scene.site.results():
        check_result(result)
        assert result.node == "n1" and result.config_revision == 3
        assert scene.published_from - 1 < result.started_unix_us / 1e6 < time.time() + 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("variable", ["options", "message", "register", "invite"])
def test_answered_check(scene, transport, variable):
    r = scene.site.results(transport, variable)[-1]
    row = cells(r)
    assert (r.verdict, r.ok, r.code, r.reason, r.error_class, r.table.quality) == ("ok", True, 200, "OK", "none", 192)
    assert r.state == "ok" and 0 < r.state_since_unix_us <= r.finished_unix_us
    assert r.transport == transport and r.remote.startswith("127.0.0.1:") and r.local.startswith("127.0.0.1:")
    assert 0 < row["first_ms"] <= r.response_ms <= r.total_ms < 3000
    assert (row["auth_alg"], row["auth_rounds"]) == ("MD5", 1) or (variable == "options" and row["auth_rounds"] == 0)
    assert r.attempts == 1 and r.retransmits == 0
    assert row["call_id"] and row["target"].startswith("sip:") and row["server"]
    assert not r.HasField("cert_days")
    assert row["dns_ms"] is None and row["retry_after_s"] is None and row["error_text"] is None
    assert (row["connect_ms"] is None) or transport == "tcp"
    if row["auth_rounds"]:
        assert [c.cells[1].int_value for c in row["responses"].records][0] in (401, 407)
        assert 0 < row["auth_ms"] <= r.response_ms
    assert r.description == ("Is it there?" if variable == "options" else "")


def test_columns_of_a_registration(scene):
    row = cells(scene.site.results("tcp", "register")[-1])
    assert row["ira"] is False and row["unregister_code"] == 200 and row["bindings"] >= 1
    assert 0 < row["expires_granted"] <= 3600 and row["expires_requested"] > 0
    assert row["rrd_ms"] == row["response_ms"] and row["unregister_ms"] > 0


def test_columns_of_a_call(scene):
    row = cells(scene.site.results("udp", "invite")[-1])
    assert row["ended_by"] == "local" and row["bye_code"] == 200 and row["cancel_sent"] is False
    assert row["codec"] in ("PCMU", "PCMA") and row["rtp_tx"] > 5 and row["rtp_rx"] > 5 and row["audio"] == "two_way"
    assert row["loss_pct"] < 50 and row["jitter_ms"] >= 0
    assert (row["ser"], row["seer"], row["isa"], row["scr"]) == (True, True, False, True)
    assert 0.25 < row["sdt_s"] < 2 and row["sdd_ms"] > 0
    assert row["answer_ms"] >= row["ring_ms"] > 0 and row["answer_ms"] > 90  # the peer rings for 100 ms


def test_no_answer_has_no_code_and_no_time(scene):
    for variable in "options", "message", "register", "invite":
        r = scene.site.results("dead", variable)[-1]
        row = cells(r)
        assert (r.verdict, r.ok) == ("fail", False)
        assert r.error_class in ("timeout", "transport")  # nothing listens: the kernel may say so
        assert not r.HasField("code") and not r.HasField("response_ms") and not r.reason and not r.meaning
        assert row["first_ms"] is None and row["responses"] is None and row["server"] is None
        assert r.table.quality == 12 and r.state == "fail" and r.attempts == 1


def test_refusal_is_the_servers_answer(scene):
    r = scene.site.results("refusing", "message")[-1]
    assert (r.verdict, r.code, r.error_class, r.table.quality) == ("fail", 503, "expect", 192)
    assert "503" in r.error_text
    ended = cells(scene.site.results("refusing", "invite")[-1])
    assert ended["ended_by"] == "reject" and ended["bye_code"] is None and ended["sdt_s"] is None


def test_maintenance_is_neither_good_nor_bad(scene):
    r = scene.site.results("service", "options")[-1]
    assert (r.verdict, r.code, r.error_class, r.table.quality, r.HasField("ok")) == ("maintenance", 503, "none", 192, False)


def test_what_could_not_be_tried_says_nothing_of_the_server(scene):
    r = scene.site.results("nowhere", "options")[-1]
    assert (r.verdict, r.error_class, r.table.quality, r.HasField("ok")) == ("error", "dns", 8, False)
    assert r.attempts == 0 and not r.local and not r.remote and not r.HasField("code")


def test_numbers_are_unique_and_in_order(scene):
    results = scene.site.results()
    numbers = [r.seq for r in results]
    assert numbers == sorted(set(numbers)) and len(numbers) == len(results)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {r.boot_id for r in results} == {scene.site.statuses()[0].session}


def test_mqtt_properties(scene):
    def results():
        with scene.v5.lock:
            return [m for m in scene.v5.kept if "/result/" in m.topic]
    seconds = {"nowhere": 6, "service": 9}
    for m in results():
        assert (m.qos, m.retain) == (1, True), m.topic
        assert m.properties.ContentType == 'application/x-protobuf; messageType="sipedge.v1.CheckResult"'
        account = m.topic.split("/")[4]
        assert m.properties.MessageExpiryInterval == seconds.get(account, 3), m.topic
    others = collections.defaultdict(set)
    with scene.v5.lock:
        for m in scene.v5.kept:
            others[m.topic.split("/", 3)[3]].add((m.qos, m.retain, getattr(m.properties, "ContentType", None)))
    assert others["status"] == {(1, True, 'application/x-protobuf; messageType="sipedge.v1.NodeStatus"')}
    assert others["config/reported"] == {(1, True, 'application/x-protobuf; messageType="sipedge.v1.ConfigReport"')}


def test_mqtt_311_subscriber_reads_the_same(scene):
    def seen(subscriber):
        with subscriber.lock:
            return [(m.topic, m.payload) for m in subscriber.kept if "/result/" in m.topic]
    last = seen(scene.v5)[-1]
    wait_for(lambda: last in seen(scene.v3), "the MQTT 3.1.1 subscriber lags behind")
    both = min(len(seen(scene.v3)), len(seen(scene.v5)))
    assert seen(scene.v3)[:both] == seen(scene.v5)[:both]


def test_a_new_subscriber_gets_the_newest(scene):
    topic = "sipedge/v1/n1/result/udp/options"
    before = scene.site.results("udp", "options")[-1]
    first = scene.site.pb.CheckResult.FromString(retained(scene.broker.port)[topic])
    assert first.seq >= before.seq and not first.historical


# ---- outages


def outage(bed, broker, agent, uas, checks, *subscribers):
    """The broker dies for so many checks and comes back on its port; new subscribers are there before the agent is."""
    broker.end(signal.SIGKILL)
    before = len(uas.requests)
    wait_for(lambda: len(uas.requests) >= before + checks, "the checks ceased with the broker", checks + 5)
    agent.kill(signal.SIGSTOP)  # else it might be there first
    try:
        again = bed.start(peers.Broker, broker.port)
        new = [subscribe(again.port) for subscribe in subscribers]
        bed.clients += new
    finally:
        agent.kill(signal.SIGCONT)
    return new


def test_results_of_an_outage_arrive(bed, broker, agent, site, uas):
    site.push(site.document(1, site.account("a", uas.port, site.command("one"), site.command("two"))))
    site.wait_result("a", "one", where=lambda r: r.trigger == "schedule")
    site.wait_result("a", "two", where=lambda r: r.trigger == "schedule")
    before = site.results()
    after, recorder = outage(bed, broker, agent, uas, 5, lambda port: Site(site.pb, port), Recorder)
    wait_for(lambda: all(len([r for r in after.results("a", v) if not r.historical]) >= 2 for v in ("one", "two")), "no live results after the outage", 20)

    results = after.results()
    late = [r for r in results if r.historical]
    assert len(late) >= 4
    numbers = sorted({r.seq for r in before + results})
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "some are missing"
    for variable in "one", "two":
        assert [r.seq for r in results if r.variable == variable] == sorted(r.seq for r in results if r.variable == variable)
        live = [r.seq for r in results if r.variable == variable and not r.historical]
        assert max(r.seq for r in late if r.variable == variable) < live[0]
        starts = [r.started_unix_us for r in before + results if r.variable == variable and r.trigger == "schedule"]
        assert all(0.8e6 < b - a < 1.2e6 for a, b in zip(starts, starts[1:])), "the cycle stood still"
    kept = {site.pb.CheckResult.FromString(p).seq for t, p in retained(broker.port).items() if "/result/" in t}
    assert len(kept) == 2 and not kept & {r.seq for r in late}
    status = after.statuses()[-1]
    assert (status.state, status.dropped_results) == (site.pb.NODE_STATE_ONLINE, 0)
    reported = wait_for(lambda: after.reports(), "the report is not there again")[-1]
    assert (reported.status, reported.effective_revision) == (site.pb.CONFIG_STATUS_APPLIED, 1)

    def recorded():
        with recorder.lock:
            return [m for m in recorder.kept if "/result/" in m.topic]
    wait_for(lambda: len(recorded()) >= len(results), "the two subscribers differ")
    for m in recorded():
        live = not site.pb.CheckResult.FromString(m.payload).historical
        assert m.retain == live, "history is never retained"
        assert hasattr(m.properties, "MessageExpiryInterval") == live


def test_agent_starts_without_a_broker(bed, pb):
    port = peers.free_port()

    class Nobody:
        url = f"mqtt://127.0.0.1:{port}"
    agent = bed.start(Agent, Nobody)
    agent.wait_text("broker .*(fail|not|refused|lost)")
    broker = bed.start(peers.Broker, port)
    site = Site(pb, broker.port)
    bed.clients.append(site)
    wait_online(site, agent)
