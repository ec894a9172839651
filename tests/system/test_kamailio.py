"""Kamailio asks for digest credentials, keeps bindings and calls, and routes to baresip: what the agent leaves there is looked up in it."""
import pytest

import peers
from conftest import Agent, Bed, Site, cells, codes, responses
from peers import wait_for

MAX_EXPIRES = 7  # so that a binding has to be refreshed within a test


class Field:
    """A registrar with one phone that answers and one that rings, and a broker; each test has an agent of its own."""

    def __init__(self, folder):
        self.bed = Bed(folder)
        self.kamailio = self.bed.start(peers.Kamailio, max_expires=MAX_EXPIRES)
        self.bed.start(peers.Baresip, self.kamailio.port)
        self.bed.start(peers.Baresip, self.kamailio.port, user="601", answers=False)
        self.broker = self.bed.start(peers.Broker)
        wait_for(lambda: set(self.kamailio.bindings()) == {"600", "601"}, "the phones did not register")


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    field = Field(tmp_path_factory.mktemp("field"))
    yield field
    field.bed.close()


@pytest.fixture
def kamailio(field):
    return field.kamailio


@pytest.fixture
def node(field, unchanged, bed, pb, request):
    """A site with its agent, as .agent; no other test has its node id."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60].strip("-")
    site = Site(pb, field.broker.port, node=name, topics=[f"sipedge/v1/{name}/#"])
    bed.clients.append(site)
    site.agent = bed.start(Agent, field.broker, node=name)
    wait_for(lambda: any(s.state == pb.NODE_STATE_ONLINE for s in site.statuses()), f"the agent is not online:\n{site.agent.text()[-2000:]}")
    yield site
    if site.agent.popen.poll() is None:
        assert site.agent.end() == 0, site.agent.text()[-3000:]


@pytest.fixture(autouse=True)
def unchanged(field):
    """Whatever a test does, nothing of it may be left on the server when its agent has ended."""
    yield
    assert field.kamailio.dialogs() == 0
    assert set(field.kamailio.bindings()) == {"600", "601"}


def account(node, kamailio, login, *commands, **fields):
    return node.account("pbx", kamailio.port, *commands, login=login, password=node.secret(), **fields)


def apply(node, revision, *accounts):
    report = node.push(node.document(revision, *accounts))
    assert report.status == node.pb.CONFIG_STATUS_APPLIED, report


def wait_bound(kamailio, login):
    return wait_for(lambda: kamailio.binding(login), f"{login} is not bound once; there are {kamailio.bindings()}")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_method_authenticates(node, kamailio, transport):
    login = f"digest-all-{transport}"
    apply(node, 1, account(node, kamailio, login, node.command("alive"), node.command("text", "MESSAGE", target="sink", sip_data="hello"),
                           node.command("login", "REGISTER"), node.command("call", "INVITE", target="600", hold_ms=300, description="echoes"),
                           transport=transport))
    for variable, method, challenge, code in (("alive", "OPTIONS", 401, 200), ("text", "MESSAGE", 407, 202), ("login", "REGISTER", 401, 200)):
        result = node.wait_result("pbx", variable)
        row = cells(result)
        assert (result.command, result.verdict, result.error_class, result.code, result.ok) == (method, "ok", "none", code, True)
        assert codes(result) == [challenge, code]
        assert (row["auth_alg"], row["auth_rounds"]) == ("MD5", 1)
        assert (result.transport, result.remote, row["server"]) == (transport, f"127.0.0.1:{kamailio.port}", "kamailio-test")
        # RFC 6076: the authentication round is inside
        assert row["response_ms"] == pytest.approx(responses(result)[1]["offset_ms"]) == pytest.approx(result.response_ms)
        assert row["first_ms"] == pytest.approx(responses(result)[0]["offset_ms"]) and 0 < row["auth_ms"] < row["response_ms"]
        assert result.local.startswith("127.0.0.1:") and not result.local.endswith(":0")
    row = cells(node.results("pbx", "text")[0])
    assert row["accepted_only"] is True
    row = cells(node.results("pbx", "login")[0])
    assert row["ira"] is False and row["rrd_ms"] == row["response_ms"] and row["expires_granted"] == MAX_EXPIRES and row["bindings"] == 1
    assert row["unregister_code"] is None  # the account stays registered

    result = node.wait_result("pbx", "call")
    row = cells(result)
    assert (result.verdict, result.code, result.description, row["auth_alg"]) == ("ok", 200, "echoes", "MD5")
    seen = codes(result)
    assert seen[:2] == [407, 100] and seen[-1] == 200 and set(seen[2:-1]) <= {180, 183}
    assert row["trying_ms"] <= row["srd_ms"] <= row["answer_ms"] == pytest.approx(result.response_ms)
    assert row["rtp_rx"] > 5 and row["rtp_tx"] > 5 and (row["audio"], row["codec"]) == ("two_way", "PCMU")
    assert 0 <= row["loss_pct"] < 50 and result.HasField("loss_pct") and row["jitter_ms"] >= 0
    # null when the callee's audio overtakes its 200, as it may: the 200 goes through the proxy
    assert row["first_rtp_ms"] is None or row["first_rtp_ms"] >= 0
    assert (row["ended_by"], row["bye_code"], row["cancel_sent"]) == ("local", 200, False)
    assert 0.25 < row["sdt_s"] < 1 and row["sdd_ms"] > 0
    assert (row["ser"], row["seer"], row["isa"], row["scr"]) == (True, True, False, True)

    wait_bound(kamailio, login)  # one contact, whatever the REGISTER check did
    apply(node, 2)
    wait_for(lambda: login not in kamailio.bindings(), "the binding of the removed account is still there")
    wait_for(lambda: kamailio.dialogs() == 0, "a call is left")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_binding_is_kept_fresh_and_goes_with_its_account(node, kamailio, transport):
    login = f"digest-keep-{transport}"
    apply(node, 1, account(node, kamailio, login, node.command("alive"), transport=transport))
    first = wait_bound(kamailio, login)
    assert int(first["Expires"]) <= MAX_EXPIRES

    # what is changed beside it and in its commands does not touch it
    apply(node, 2, account(node, kamailio, login, node.command("alive"), node.command("text", "MESSAGE", target="sink"), transport=transport),
          node.account("other", kamailio.port, node.command("alive")))
    node.wait_result("pbx", "text", where=lambda r: r.verdict == "ok")
    again = wait_for(lambda: (b := wait_bound(kamailio, login)) and int(b["CSeq"]) > int(first["CSeq"]) and b, "the binding was not refreshed", 7)
    assert (again["Address"], again["Call-ID"]) == (first["Address"], first["Call-ID"])
    assert len({call for method, call, _ in kamailio.seen(login, "REGISTER")}) == 1

    apply(node, 3, node.account("other", kamailio.port, node.command("alive")))
    wait_for(lambda: login not in kamailio.bindings(), "the binding of the removed account is still there")
    assert node.agent.end() == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_binding_goes_with_the_agent(node, kamailio, transport):
    login = f"digest-end-{transport}"
    apply(node, 1, account(node, kamailio, login, node.command("alive"), transport=transport))
    wait_bound(kamailio, login)
    assert node.agent.end() == 0
    assert login not in kamailio.bindings()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registered_account_answers_when_it_is_called(node, kamailio, transport):
    login = f"digest-called-{transport}"
    apply(node, 1, account(node, kamailio, login, node.command("alive"), transport=transport))
    wait_bound(kamailio, login)
    assert {method: kamailio.ask(method, login) for method in ("OPTIONS", "INVITE", "NOTIFY", "SUBSCRIBE")} == {
        "OPTIONS": 200, "INVITE": 486, "NOTIFY": 481, "SUBSCRIBE": 405}
    assert node.agent.end() == 0
    assert kamailio.ask("OPTIONS", login) == 404


def test_registration_never_only_authenticates(node, kamailio):
    login = "digest-never"
    apply(node, 1, account(node, kamailio, login, node.command("text", "MESSAGE", target="sink"), node.command("alive"), registration="never"))
    for variable in ("text", "alive"):
        result = node.wait_result("pbx", variable)
        assert result.verdict == "ok" and cells(result)["auth_rounds"] == 1
    wait_for(lambda: len(node.results("pbx", "alive")) >= 3, "no three cycles")
    assert not kamailio.seen(login, "REGISTER") and login not in kamailio.bindings()

    apply(node, 2, account(node, kamailio, login, node.command("login", "REGISTER"), registration="never"))
    result = node.wait_result("pbx", "login")
    row = cells(result)
    assert (result.verdict, row["unregister_code"], row["expires_granted"]) == ("ok", 200, MAX_EXPIRES) and row["unregister_ms"] > 0
    apply(node, 3)
    wait_for(lambda: login not in kamailio.bindings(), "a REGISTER check left its binding")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_register_from_the_shell_leaves_no_binding(probe, kamailio, transport):
    result = probe.result("REGISTER", f"127.0.0.1:{kamailio.port}", "--transport", transport, *probe.credentials("digest-shell"))
    assert (result.verdict, cells(result)["unregister_code"], cells(result)["bindings"]) == ("ok", 200, 1)
    assert "digest-shell" not in kamailio.bindings()


def test_wrong_password_is_tried_once_per_check(node, kamailio):
    login = "digest-wrong"
    methods = {"alive": ("OPTIONS", 401, {}), "text": ("MESSAGE", 407, {"target": "sink"}), "login": ("REGISTER", 401, {}), "call": ("INVITE", 407, {"target": "600"})}
    commands = [node.command(name, method, retries=2, expect_codes="200-299", **more) for name, (method, _, more) in methods.items()]
    apply(node, 1, node.account("pbx", kamailio.port, *commands, login=login, password=node.secret("n0t-the-0ne"), registration="never"))
    for variable, (method, code, _) in methods.items():
        result = node.wait_result("pbx", variable)
        row = cells(result)
        assert (result.verdict, result.error_class, result.code, result.ok) == ("fail", "auth", code, False), result.error_text
        assert codes(result) == [code, code] and row["auth_rounds"] == 1 and result.attempts == 1
        tries = [credentials for _, call, credentials in kamailio.seen(login, method) if call == row["call_id"]]
        assert tries == [False, True]
    assert login not in kamailio.bindings() and "n0t-the-0ne" not in node.agent.text()


def test_wrong_password_does_not_hammer_the_registrar(node, kamailio):
    login = "digest-hammer"
    apply(node, 1, node.account("pbx", kamailio.port, node.command("alive"), login=login, password=node.secret("wrong")))
    wait_for(lambda: len(node.results("pbx", "alive")) >= 3, "no three cycles")
    tries = [credentials for _, _, credentials in kamailio.seen(login, "REGISTER")]
    assert tries.count(True) == 1 and login not in kamailio.bindings()


def test_no_login_where_one_is_asked_for(node, kamailio):
    apply(node, 1, node.account("pbx", kamailio.port, node.command("text", "MESSAGE", target="sink")))
    result = node.wait_result("pbx", "text")
    assert (result.verdict, result.code) == ("fail", 407) and codes(result) == [407]
    assert (cells(result)["auth_alg"], cells(result)["auth_rounds"]) == (None, 0)


def test_nobody_there_is_404(node, kamailio):
    apply(node, 1, account(node, kamailio, "digest-404", node.command("call", "INVITE", target="999"), node.command("text", "MESSAGE", target="999")))
    for variable in ("call", "text"):
        result = node.wait_result("pbx", variable)
        assert (result.verdict, result.error_class, result.code, codes(result)) == ("fail", "expect", 404, [407, 404])
    wait_for(lambda: kamailio.dialogs() == 0, "a call is left")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("callee", ["600", "601"])  # answers; rings only
@pytest.mark.parametrize("how", ["sigterm", "removed"])
def test_call_under_way_is_ended(node, kamailio, how, callee, transport):
    login = f"digest-mid-{how}-{callee}-{transport}"
    apply(node, 1, account(node, kamailio, login, node.command("call", "INVITE", target=callee, hold_ms=30000, timeout_s=30), transport=transport))
    state = {"600": "4", "601": "2"}[callee]
    wait_for(lambda: f"\tstate: {state}\n" in kamailio.rpc("dlg.list"), f"no call in state {state}")
    wait_bound(kamailio, login)
    assert kamailio.dialogs() == 1
    if how == "sigterm":
        assert node.agent.end() == 0
        assert kamailio.dialogs() == 0 and login not in kamailio.bindings()
    else:
        since = node.mark()
        apply(node, 2)
        result = node.wait_result("pbx", "call", since=since)
        assert (result.verdict, result.error_class, result.HasField("ok")) == ("error", "cancelled", False)
        wait_for(lambda: kamailio.dialogs() == 0, "a call is left")
        wait_for(lambda: login not in kamailio.bindings(), "the binding is left")
