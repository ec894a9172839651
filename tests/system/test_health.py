"""sipedge health: is the agent's loop alive, whatever the broker does?"""
import os
import signal
import subprocess
import time

import peers
from conftest import Agent, wait_online
from peers import BIN, wait_for


def health(state, **options):
    return subprocess.run([BIN / "sipedge", "health", "--state-dir", state], capture_output=True, text=True, timeout=20, **options)


def test_alive(agent):
    done = health(agent.state)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    env = {**os.environ, "SIPEDGE_STATE_DIR": str(agent.state)}
    assert subprocess.run([BIN / "sipedge", "health"], env=env, capture_output=True, timeout=20).returncode == 0


def test_no_agent(tmp_path):
    for state in tmp_path, tmp_path / "missing":
        done = health(state)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_ended_agent(agent):
    assert agent.end() == 0
    assert health(agent.state).returncode == 1


def test_killed_agent(agent):
    """The socket is still there: nobody answers."""
    agent.end(signal.SIGKILL)
    assert health(agent.state).returncode == 1


def test_stopped_agent(agent):
    agent.kill(signal.SIGSTOP)
    began = time.monotonic()
    try:
        done = health(agent.state)
    finally:
        agent.kill(signal.SIGCONT)
    assert done.returncode == 1 and 4 < time.monotonic() - began < 8
    assert "did not answer" in done.stderr
    wait_for(lambda: health(agent.state).returncode == 0, "not alive again")


def test_dead_broker_is_no_illness(bed, broker, agent):
    broker.end(signal.SIGKILL)
    agent.wait_text("broker (lost|disconnected|.*closed|connecting(.|\n)*broker connecting)")
    assert health(agent.state).returncode == 0


def test_second_agent_on_one_state_directory(bed, broker, agent):
    second = subprocess.run([BIN / "sipedge", "run", "--broker", broker.url, "--node", "n2", "--state-dir", agent.state], capture_output=True, text=True,
                            timeout=20)
    assert second.returncode == 1 and "another agent" in second.stderr
    assert health(agent.state).returncode == 0


def test_after_a_kill_the_next_one_starts(bed, broker, site, agent):
    agent.end(signal.SIGKILL)
    since = site.mark()
    state = agent.state
    again = bed.start(Agent, broker, "--state-dir", state)
    wait_online(site, again, since)
    assert health(state).returncode == 0


def test_bad_usage():
    done = subprocess.run([BIN / "sipedge", "health", "--nonsense"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
