"""Birth, farewell and will of a node."""
import re
import signal
import time

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
