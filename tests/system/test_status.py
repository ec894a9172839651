"""Birth, farewell and will of a node."""
import re
import signal
import socket
import threading
import time

import pytest

import peers
from conftest import Agent, Site, Uas, retained, wait_online
from peers import wait_for


def newest(site):
    return site.pb.NodeStatus.FromString(retained(site.port)[f"{site.base}/status"])


def test_birth(bed, broker, site):
    before = time.time()
    wait_online(site, bed.start(Agent, broker))
    s = newest(site)
    assert (s.state, s.node, s.config_revision) == (site.pb.NODE_STATE_ONLINE, "n1", 0)
    assert s.session and before - 1 < s.since_unix_us / 1e6 < time.time() + 1
    assert s.version and s.build and s.os.startswith("Linux") and s.arch
    assert {"OPTIONS", "MESSAGE", "REGISTER", "INVITE", "udp", "tcp", "registration"} <= set(s.capabilities)
    assert (s.spooled_results, s.dropped_results, s.unreadable_messages) == (0, 0, 0) and s.uptime_s < 30


def test_sigterm_says_offline(bed, agent, site, uas):
    """Within 10 s although a call is up and a server is silent; what ran has its result before the farewell, nothing is left behind."""
    def answer(text):
        if text.startswith("INVITE "):
            sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
            return Uas.reply(text, extra=f"Contact: <sip:uas@127.0.0.1:{uas.port}>\r\nContent-Type: application/sdp\r\n", body=sdp)
        return Uas.reply(text) if text.startswith(("REGISTER ", "BYE ")) else None
    uas.answer = answer
    peer = bed.start(peers.Respond)
    site.push(site.document(1, site.account("a", uas.port, site.command("call", "INVITE", target="echo", hold_ms=30000)),
                            site.account("silent", uas.port, site.command("alive"), timeout_ms=30000, login="u", password=site.secret()),
                            site.account("beat", peer.udp, site.command("alive"))))
    site.wait_result("beat", "alive", where=lambda r: r.trigger == "schedule")  # by then all are under way
    wait_for(lambda: uas.of("OPTIONS") and uas.of("ACK"), "not all are under way")
    last = site.mark()
    began = time.monotonic()
    assert agent.end(signal.SIGTERM, seconds=10) == 0
    assert time.monotonic() - began < 10
    status = newest(site)
    assert (status.state, status.session) == (site.pb.NODE_STATE_OFFLINE, site.statuses()[0].session)
    wait_for(lambda: site.statuses()[-1].state == site.pb.NODE_STATE_OFFLINE, "no farewell")
    with site.lock:
        topics = [m[0] for m in site.messages[last:]]
    assert topics[-1].endswith("/status"), f"after the farewell came {topics}"

    silent = site.results("silent", "alive", last)
    assert [(r.verdict, r.error_class, r.HasField("code"), r.HasField("ok")) for r in silent] == [("error", "cancelled", False, False)]
    assert len(site.results("a", "call", last)) == len(uas.of("BYE")) == 1, "the call was not ended"
    removed = uas.of("REGISTER")[-1][2]
    assert re.search(r"expires\s*[=:]\s*0\b", removed, re.I), "the binding was not removed"


def test_sigint_ends_it_as_well(agent, site):
    assert agent.end(signal.SIGINT, seconds=10) == 0
    assert newest(site).state == site.pb.NODE_STATE_OFFLINE


def test_sigkill_is_told_by_the_will(bed, broker, agent, site):
    session = site.statuses()[-1].session
    agent.end(signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: site.statuses()[-1].state == site.pb.NODE_STATE_LOST, "no will", 20)
    assert time.monotonic() - killed > 8, "the will does not wait"
    assert (site.statuses()[-1].session, newest(site).state) == (session, site.pb.NODE_STATE_LOST)

    since = site.mark()
    wait_online(site, bed.start(Agent, broker), since)
    assert site.statuses()[-1].session != session and newest(site).state == site.pb.NODE_STATE_ONLINE


def test_a_quick_restart_is_no_loss(bed, broker, agent, site):
    """The will waits 10 s: an agent that is back by then was never lost."""
    since = site.mark()
    agent.end(signal.SIGKILL)
    wait_online(site, bed.start(Agent, broker), since)
    assert [s.state for s in site.statuses(since)] == [site.pb.NODE_STATE_ONLINE]


def test_birth_after_the_broker_was_away(bed, broker, agent, site):
    session = site.statuses()[-1].session
    broker.end(signal.SIGKILL)
    again = bed.start(peers.Broker, broker.port)
    site = Site(site.pb, again.port)
    bed.clients.append(site)
    wait_online(site, agent)
    assert site.statuses()[-1].session == session
    assert agent.end() == 0


def test_sigterm_without_a_broker(bed, broker, agent, site):
    peer = bed.start(peers.Respond)
    site.push(site.document(1, site.account("a", peer.udp, site.command("alive"))))
    site.wait_result("a", "alive")
    broker.end(signal.SIGKILL)
    began = time.monotonic()
    assert agent.end(signal.SIGTERM, seconds=10) == 0
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_ends_in_time_while_a_broker_says_nothing(bed, signum):
    """It takes the connection and never answers: the agent still ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        class Mute:
            url = "mqtt://127.0.0.1:%d" % listener.getsockname()[1]
        agent = bed.start(Agent, Mute)
        listener.settimeout(15)
        connection, _ = listener.accept()
        assert connection.recv(1), "no CONNECT"
        assert agent.end(signum, seconds=10) == 0
        connection.close()


def test_ends_in_time_while_the_broker_hangs(bed, broker, agent, site):
    peer = bed.start(peers.Respond)
    site.push(site.document(1, site.account("a", peer.udp, site.command("alive"))))
    site.wait_result("a", "alive")
    broker.kill(signal.SIGSTOP)
    try:
        assert agent.end(signal.SIGTERM, seconds=10) == 0
    finally:
        broker.kill(signal.SIGCONT)


class OldBroker:
    """A broker of MQTT 3.1.1 before a real one: how it turns down version 5 differs."""

    def __init__(self, broker, refusal):
        self.refusal = refusal
        self.levels = []
        self.to = broker.port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "mqtt://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.sockets = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(client)
            head = client.recv(4096)
            level = head[head.index(b"MQTT") + 4]
            self.levels.append(level)
            if level > 4:
                if self.refusal:
                    client.sendall(self.refusal)
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self.sockets.append(server)
            server.sendall(head)
            for a, b in (client, server), (server, client):
                threading.Thread(target=self._relay, args=(a, b), daemon=True).start()

    @staticmethod
    def _relay(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for s in source, sink:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for s in self.sockets:
            s.close()


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b""], ids=["code 1", "reason 0x84", "dropped"])
def test_falls_back_to_mqtt_311(bed, broker, site, refusal):
    old = OldBroker(broker, refusal)
    bed.clients.append(old)
    peer = bed.start(peers.Respond)
    agent = wait_online(site, bed.start(Agent, old))
    assert 5 in old.levels and old.levels[-1] == 4 and len(old.levels) < 6
    site.push(site.document(1, site.account("a", peer.udp, site.command("alive"))))
    assert site.wait_result("a", "alive").verdict == "ok"
    assert {t.split("/", 3)[3] for t in retained(broker.port)} == {"status", "config/desired", "config/reported", "result/a/alive"}
    agent.end(signal.SIGKILL)
    wait_for(lambda: site.statuses()[-1].state == site.pb.NODE_STATE_LOST, "no will")
