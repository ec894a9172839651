"""How `sipedge run` is told what to do, and what it never tells."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import peers
from conftest import Agent, Site, wait_online
from peers import BIN, PASSWORD, wait_for

BROKER_PASSWORD = "br0ker-pass-that-never-shows"


class Bare(peers.Process):
    """sipedge run with nothing but what a test gives; an environment without ours."""

    def __init__(self, folder, *options, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SIPEDGE_")}
        super().__init__(folder, "agent", BIN / "sipedge", "run", *options, env={**clean, **(env or {})})


def run(*options, env=None):
    """To its end: for what is refused."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIPEDGE_")}
    return subprocess.run([BIN / "sipedge", "run", *map(str, options)], capture_output=True, text=True, timeout=20, env={**clean, **(env or {})})


def node_of(agent):
    return agent.wait_text(r"started .*\bnode=(\S+)")[1]


# ---- where a value comes from


def test_environment_is_enough(bed, broker, pb):
    site = Site(pb, broker.port, node="from-env")
    bed.clients.append(site)
    agent = bed.start(Bare, env={"SIPEDGE_BROKER": broker.url, "SIPEDGE_NODE": "from-env", "SIPEDGE_STATE_DIR": str(bed.folder / "s")})
    wait_online(site, agent)
    assert {s.node for s in site.statuses()} == {"from-env"}
    assert {m[0] for m in site.messages} == {"sipedge/v1/from-env/status"}


def test_flag_then_environment_then_file(bed, broker):
    config = bed.folder / "run.yaml"
    config.write_text(f"broker: [{broker.url}]\nnode: from-file\nstate_dir: {bed.folder / 's'}\nlog_level: error\nlog_format: json\n")
    quiet = {"SIPEDGE_LOG_LEVEL": "notice", "SIPEDGE_LOG_FORMAT": "text"}
    assert node_of(bed.start(Bare, "--config", config, env=quiet)) == "from-file"
    assert node_of(bed.start(Bare, env={**quiet, "SIPEDGE_CONFIG": str(config), "SIPEDGE_STATE_DIR": str(bed.folder / "t")})) == "from-file"
    env = {**quiet, "SIPEDGE_NODE": "from-env", "SIPEDGE_STATE_DIR": str(bed.folder / "u")}
    assert node_of(bed.start(Bare, "--config", config, env=env)) == "from-env"
    env["SIPEDGE_STATE_DIR"] = str(bed.folder / "v")
    assert node_of(bed.start(Bare, "--config", config, "--node", "from-flag", env=env)) == "from-flag"


def test_topic_prefix(bed, broker, pb):
    subscriber = Site(pb, broker.port, topics=("plant/7/#",))
    bed.clients.append(subscriber)
    wait_online(subscriber, bed.start(Agent, broker, "--topic-prefix", "plant/7"))
    subscriber.base = "plant/7/n1"
    assert subscriber.push(subscriber.document(1)).status == pb.CONFIG_STATUS_APPLIED


def test_json_log(bed, broker, site):
    agent = wait_online(site, bed.start(Agent, broker, "--log-format", "json"))
    assert agent.end() == 0
    lines = [json.loads(line) for line in agent.text().splitlines()]
    assert all(set(line) == {"time", "level", "message"} for line in lines)
    assert any(line["message"].startswith("started ") for line in lines)


@pytest.mark.parametrize("options, what", [
    (["--no-such-flag"], "--no-such-flag"), (["--log-level", "loud"], "loud"), (["--log-format", "xml"], "xml"), (["--broker", "http://x"], "http://x"),
    (["--broker", "mqtt://"], "mqtt://"), (["--node"], "node"), (["--node", ""], "node"), (["--node", "a/b"], "a/b"), (["--node", "_a"], "_a"),
    (["--node", "a.b"], "a.b"), (["--node", "x" * 65], "x" * 65), (["--topic-prefix", "a/#"], "a/#"), (["--config", "/nonexistent"], "/nonexistent"),
    (["--password-file", "/nonexistent"], "/nonexistent"), (["--cert", "/nonexistent", "--node", "n"], "--cert"), (["stray"], "stray"),
])
def test_bad_usage_is_one_line_and_exit_2(options, what):
    done = run(*options)
    assert done.returncode == 2
    assert what in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout


@pytest.mark.parametrize("text, where", [("node: [a]\n", ":1:"), ("broker: mqtt://x\nnodes: n\n", ":2:"), ("node: 'a\n", ":"), ("- node\n", ""),
                                         ("password: plain\n", ":1:")])
def test_bad_file_is_one_line_and_exit_2(tmp_path, text, where):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    done = run("--config", path)
    assert done.returncode == 2
    assert f"{path}{where}" in done.stderr and len(done.stderr.splitlines()) == 1


def test_bad_environment_is_refused():
    done = run(env={"SIPEDGE_LOG_LEVEL": "loud"})
    assert done.returncode == 2 and "SIPEDGE_LOG_LEVEL" in done.stderr


def test_help():
    done = run("--help")
    assert done.returncode == 0
    for flag in ("config broker node state-dir log-level log-format username password-file ca cert key secrets-dir allow-plain-secrets "
                 "topic-prefix").split():
        assert f"--{flag}" in done.stdout


def test_node_from_host_name_or_refused(bed, broker):
    host = os.uname().nodename
    options = ["--broker", broker.url, "--state-dir", bed.folder / "s"]
    if re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9_-]{0,63}", host):
        assert node_of(bed.start(Bare, *options)) == host
    else:
        done = run(*options)
        assert done.returncode == 2 and "--node" in done.stderr


def test_node_from_certificate(bed, broker):
    key, cert = bed.folder / "key.pem", bed.folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-subj",
                    "/CN=from-cert"], check=True, capture_output=True)
    agent = bed.start(Bare, "--broker", broker.url, "--cert", cert, "--key", key, "--username", "from-user", "--state-dir", bed.folder / "s")
    assert node_of(agent) == "from-cert"


# ---- brokers


def test_second_broker_when_the_first_is_dead(bed, broker, site):
    dead = f"mqtt://127.0.0.1:{peers.free_port()}"

    class Both:
        url = f"{dead},{broker.url}"
    agent = wait_online(site, bed.start(Agent, Both))
    agent.wait_text(rf"broker connected url={re.escape(broker.url)} ")


def test_next_broker_when_one_dies(bed, broker, site, pb):
    other = bed.start(peers.Broker)
    wait_online(site, bed.start(Agent, broker, "--broker", other.url))
    second = Site(pb, other.port)
    bed.clients.append(second)
    broker.end(signal.SIGKILL)
    wait_for(lambda: second.statuses(), "the agent did not go to the other broker", 20)
    assert second.statuses()[-1].session == site.statuses()[0].session


@pytest.fixture
def guarded(bed):
    """A broker that asks for a password."""
    users = bed.folder / "users"
    users.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", users, "edge-7", BROKER_PASSWORD], check=True)
    if os.geteuid() == 0:
        users.chmod(0o644)
    broker = bed.start(peers.Broker, extra=f"password_file {users}\nallow_anonymous false\n")
    (bed.folder / "good").write_text(BROKER_PASSWORD + "\n")
    (bed.folder / "bad").write_text("wr0ng-pass-that-never-shows\n")
    return broker


@pytest.mark.parametrize("way", ["flag", "file variable", "variable", "config"])
def test_broker_password(bed, guarded, way):
    good = bed.folder / "good"
    options = ["--broker", guarded.url, "--username", "edge-7", "--state-dir", bed.folder / "s", "--log-level", "debug"]
    env = {}
    if way == "flag":
        options += ["--password-file", good]
    elif way == "config":
        (bed.folder / "run.yaml").write_text(f"password_file: {good}\n")
        options += ["--config", bed.folder / "run.yaml"]
    else:
        env = {"SIPEDGE_PASSWORD_FILE": str(good)} if way == "file variable" else {"SIPEDGE_PASSWORD": BROKER_PASSWORD}
    agent = bed.start(Bare, *options, env=env)
    agent.wait_text("broker connected")
    assert node_of(agent) == "edge-7", "the user name is the node id"
    assert agent.end() == 0
    assert BROKER_PASSWORD not in agent.text()


def test_wrong_broker_password_tries_on(bed, guarded):
    """Refused again and again without a crash; SIGHUP reads the file anew, and the right one is taken."""
    secret = bed.folder / "pw"
    secret.write_bytes((bed.folder / "bad").read_bytes())
    agent = bed.start(Bare, "--broker", guarded.url, "--username", "edge-7", "--state-dir", bed.folder / "s", "--password-file", secret, "--log-level", "debug")
    wait_for(lambda: len(re.findall(r"broker connecting", agent.text())) >= 2, "does not try again")
    assert re.search(r"(warn|error|notice): broker .*(refused|not authori[sz]ed|failed)", agent.text(), re.I), agent.text()
    assert agent.popen.poll() is None
    secret.write_bytes((bed.folder / "good").read_bytes())
    agent.kill(signal.SIGHUP)
    agent.wait_text("broker connected")
    assert agent.end() == 0
    assert "never-shows" not in agent.text()


# ---- SIGHUP


def test_sighup_reads_the_log_level_anew(bed, broker, site):
    config = bed.folder / "run.yaml"
    config.write_text("log_level: error\n")
    agent = wait_online(site, bed.start(Bare, "--config", config, "--broker", broker.url, "--node", "n1", "--state-dir", bed.folder / "s"))
    assert agent.text() == ""
    config.write_text("log_level: debug\n")
    agent.kill(signal.SIGHUP)
    agent.wait_text("files read anew")
    site.push(site.document(1))
    agent.wait_text("configuration applied")
    config.write_text("log_level: very\n")
    agent.kill(signal.SIGHUP)
    agent.wait_text("nothing is changed")
    assert site.push(site.document(2)).status == site.pb.CONFIG_STATUS_APPLIED


def test_sighup_reads_secrets_anew(bed, broker, site):
    password = bed.folder / "respond.pw"
    password.write_text(PASSWORD)
    peer = bed.start(peers.Respond, "--auth-user", "u", "--auth-password-file", password)
    secrets = bed.folder / "secrets"
    secrets.mkdir()
    (secrets / "u.pw").write_text("wr0ng-pass-that-never-shows")
    agent = wait_online(site, bed.start(Agent, broker, "--secrets-dir", secrets))
    site.push(site.document(1, site.account("a", peer.udp, site.command("login", "REGISTER"), login="u", password=site.pb.Secret(file="u.pw"),
                                            registration="never")))
    assert site.wait_result("a", "login").error_class == "auth"
    (secrets / "u.pw").write_text(PASSWORD)
    agent.kill(signal.SIGHUP)
    assert site.wait_result("a", "login", where=lambda r: r.verdict == "ok").code == 200
    assert "never-shows" not in agent.text() and PASSWORD not in agent.text()


# ---- secrets


def test_no_secret_is_ever_told(bed, guarded, pb):
    """Not in the log at its most talkative, not in a published byte, whatever the server says."""
    from conftest import Uas
    echo = Uas(lambda text: Uas.reply(text, 401, PASSWORD[:4], 'WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"\r\n'))
    bed.clients.append(echo)
    password = bed.folder / "respond.pw"
    password.write_text(PASSWORD)
    peer = bed.start(peers.Respond, "--auth-user", "u", "--auth-password-file", password)

    class Known(Site):
        def __init__(self, *args):
            import paho.mqtt.client as mqtt
            original = mqtt.Client.connect
            def connect(client, *where):
                client.username_pw_set("edge-7", BROKER_PASSWORD)
                return original(client, *where)
            mqtt.Client.connect = connect
            try:
                super().__init__(*args)
            finally:
                mqtt.Client.connect = original
    site = Known(pb, guarded.port, "edge-7")
    bed.clients.append(site)
    agent = wait_online(site, bed.start(Bare, "--broker", guarded.url, "--username", "edge-7", "--password-file", bed.folder / "good", "--state-dir",
                                        bed.folder / "s", "--allow-plain-secrets", "--log-level", "debug"))
    methods = [site.command("o"), site.command("m", "MESSAGE", target="x", sip_data="b0dy-that-never-shows"), site.command("r", "REGISTER"),
               site.command("i", "INVITE", target="x", hold_ms=0)]
    report = site.push(site.document(1, site.account("good", peer.udp, *methods, login="u", password=site.secret()),
                                     site.account("refused", echo.port, *methods, login="u", password=site.secret("0ther-pass-that-never-shows")),
                                     site.account("tcp", peer.tcp, *methods, transport="tcp", login="u", password=site.secret())))
    assert report.status == pb.CONFIG_STATUS_APPLIED
    for account in "good", "refused", "tcp":
        for variable in "omri":
            site.wait_result(account, variable)
    site.push_bytes(site.document(2, site.account("x", 0, login="u", password=site.secret())).SerializeToString())
    site.wait_report(2)
    assert agent.end() == 0
    with site.lock:
        published = b"".join(m[1] for m in site.messages if not m[0].endswith("/desired"))
    responses = {re.search(r'response="([0-9a-f]{32})"', r[2])[1].encode() for r in echo.requests if 'response="' in r[2]}
    assert responses, "nothing was authenticated: the test shows nothing"
    for secret in [b"never-shows", *responses]:
        assert secret not in published
        assert secret not in agent.log.read_bytes()
    state = b"".join(p.read_bytes() for p in (bed.folder / "s").rglob("*") if p.is_file())
    assert b"never-shows" not in state
    assert (bed.folder / "s").stat().st_mode & 0o077 == 0
