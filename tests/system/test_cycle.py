"""The synchronization cycle: every command once per cycle, spread, never overlapping itself."""
import collections

import peers
from conftest import Agent, Uas, wait_online
from peers import wait_for


def starts(site, account, variable, trigger="schedule"):
    return [r.started_unix_us / 1e6 for r in site.results(account, variable) if r.trigger == trigger]


def near(a, b, tolerance=0.15):
    return abs(a - b) < tolerance


def test_every_command_once_per_cycle(bed, agent, site):
    peer = bed.start(peers.Respond)
    own = {"often": 1, "own": 2, "slow": 3}
    site.push(site.document(1, site.account("a", peer.udp, site.command("often"), site.command("own", interval_s=2), site.command("slow", interval_s=3)),
                            site.account("b", peer.tcp, site.command("often"), transport="tcp", sync_interval_s=1)))
    wait_for(lambda: len(starts(site, "a", "slow")) >= 2, "two cycles of 3 s did not end", 20)
    for account, variable in ("a", "often"), ("a", "own"), ("a", "slow"), ("b", "often"):
        results = site.results(account, variable)
        assert [r.trigger for r in results] == ["startup"] + ["schedule"] * (len(results) - 1)
        times = starts(site, account, variable)
        gaps = [b - a for a, b in zip(times, times[1:])]
        assert all(near(g, own[variable]) for g in gaps), (account, variable, gaps)
        first = times[0] - results[0].started_unix_us / 1e6
        assert 0.4 * own[variable] < first < 1.6 * own[variable], "the first of the cycle follows the start at once, or not"
        assert all(r.sched_lag_ms < 150 for r in results)


def test_starts_are_spread(bed, agent, site):
    """A hundred commands of one cycle do not start in one tick."""
    peer = bed.start(peers.Respond)
    site.push(site.document(1, *[site.account(f"a{i}", peer.udp, *[site.command(f"c{j}", interval_s=2) for j in range(10)]) for i in range(10)]))
    wait_for(lambda: len([r for r in site.results() if r.trigger == "schedule"]) >= 100, "a cycle did not end", 20)
    tenths = collections.Counter(r.started_unix_us // 100000 % 20 for r in site.results() if r.trigger == "schedule")
    assert len(tenths) > 12 and max(tenths.values()) < 40, tenths


def test_never_overlaps_itself(bed, agent, site):
    """Answered after 1.5 cycles: every other slot is left out, the grid stays."""
    slow = Uas(lambda text: [(1.5, Uas.reply(text))])
    bed.clients.append(slow)
    site.push(site.document(1, site.account("a", slow.port, site.command("c", "OPTIONS", expect_codes="200"), transport="udp")))
    wait_for(lambda: len(starts(site, "a", "c")) >= 3, "no results of a slow server", 20)
    results = site.results("a", "c")
    assert all(r.verdict == "ok" and 1450 < r.response_ms < 2000 for r in results)
    spans = [(r.started_unix_us, r.finished_unix_us) for r in results]
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:])), "two checks of one command at the same time"
    times = starts(site, "a", "c")
    assert all(near(b - a, 2) for a, b in zip(times, times[1:])), times
    ids = [Uas.header(r[2], "Call-ID") for r in slow.of("OPTIONS")]
    assert len(set(ids)) <= len(results) + 1, "more checks on the wire than results"


def test_timeouts_do_not_overlap(agent, site):
    silent = Uas(lambda text: None)
    try:
        site.push(site.document(1, site.account("a", silent.port, site.command("c", timeout_s=2))))
        wait_for(lambda: len(site.results("a", "c")) >= 2, "no results of a silent server", 20)
        first, second = site.results("a", "c")[:2]
        assert first.error_class == second.error_class == "timeout"
        assert 1990 < first.total_ms < 2300 and second.started_unix_us >= first.finished_unix_us
        assert not first.HasField("response_ms") and first.retransmits >= 1
    finally:
        silent.close()


def test_phase_is_the_same_after_a_restart(bed, broker, agent, site):
    peer = bed.start(peers.Respond)
    site.push(site.document(1, site.account("a", peer.udp, site.command("x"), site.command("y"), sync_interval_s=2)))

    def phases(since=0):
        found = {}
        for r in site.results("a", since=since):
            if r.trigger == "schedule":
                found[r.variable] = r.started_unix_us / 1e6 % 2
        return found if len(found) == 2 else None
    before = wait_for(phases, "no scheduled results")
    assert agent.end() == 0
    since = site.mark()
    wait_online(site, bed.start(Agent, broker), since)
    after = wait_for(lambda: phases(since), "no scheduled results after the restart")
    assert not near(before["x"], before["y"], 0.02)
    for variable, phase in before.items():
        distance = abs(phase - after[variable])
        assert min(distance, 2 - distance) < 0.15, (variable, before, after)
