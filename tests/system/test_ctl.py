"""sipedgectl against a real broker and agent."""
import csv
import io
import json
import os
import re
import socket
import subprocess

import pytest
from google.protobuf import json_format

import peers
from conftest import retained
from peers import BIN, PASSWORD, ROOT, wait_for


def ctl(*args, stdin=b"", env=None, timeout=60):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIPEDGE_")}
    done = subprocess.run([BIN / "sipedgectl", *map(str, args)], input=stdin, capture_output=True, timeout=timeout, env={**clean, **(env or {})})
    done.out, done.err = done.stdout.decode(), done.stderr.decode()
    return done


@pytest.fixture
def push(site, tmp_path):
    """Writes YAML, pushes it to node n1; the file is there afterwards."""
    def run(text, *args):
        path = tmp_path / "document.yaml"
        path.write_text(text)
        return ctl("push", path, "--broker", f"mqtt://127.0.0.1:{site.port}", "--node", "n1", *args)
    return run


def yaml(port, commands="{name: alive, command: OPTIONS}", more=""):
    return f"{more}accounts:\n  - id: pbx\n    remote_address: 127.0.0.1\n    remote_port: {port}\n    sync_interval_s: 1\n    commands:\n      - {commands}\n"


# ---- validate


def test_validate_samples():
    for sample in sorted((ROOT / "provisioning").rglob("*.yaml")):
        done = ctl("validate", sample)
        assert done.returncode == 0, done.out + done.err
        assert re.search(r"valid: accounts \d+, commands \d+", done.out)


def test_validate_names_line_and_path_of_every_error(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("accounts:\n"
                    "  - id: pbx\n"
                    "    remote_address: 127.0.0.1\n"
                    "    remote_port: 0\n"
                    "    commands:\n"
                    "      - {name: a/b, command: OPTIONS}\n"
                    "      - name: poke\n"
                    "        command: PING\n"
                    "        timeout_s: 0\n"
                    "  - id: PBX\n"
                    "    remote_address: 192.0.2.1\n"
                    "    timeout_ms: 0\n")
    done = ctl("validate", path)
    assert done.returncode == 1
    found = {(int(m[1]), m[2]) for m in re.finditer(rf"^{re.escape(str(path))}:(\d+):\d+: (\S+): .+$", done.out, re.M)}
    assert found == {(4, "accounts[pbx].remote_port"), (6, "accounts[pbx].commands[0].name"), (8, "accounts[pbx].commands[poke].command"),
                     (9, "accounts[pbx].commands[poke].timeout_s"), (10, "accounts[1].id"), (12, "accounts[PBX].timeout_ms")}
    assert len(done.out.splitlines()) == 6


@pytest.mark.parametrize("text, line, what", [
    ("accounts:\n  - id: a\n    remote_adress: x\n", 3, "remote_adress"),
    ("accounts:\n  - {id: a, remote_address: h, remote_port: many}\n", 2, "remote_port"),
    ("accounts: [\n", None, ""),
    ("accounts:\n  - id: a\n    id: b\n    remote_address: h\n", 3, "id"),
])
def test_validate_yaml_errors(tmp_path, text, line, what):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    done = ctl("validate", path)
    assert done.returncode == 1
    assert what in done.out
    assert re.search(rf":{line}:\d+: " if line else r":\d+:\d+: ", done.out), done.out


def test_validate_reads_standard_input():
    assert ctl("validate", "-", stdin=yaml(5060).encode()).returncode == 0
    assert ctl("validate", "-", stdin=yaml(0).encode()).returncode == 1


@pytest.mark.parametrize("args", [(), ("validate",), ("validate", "/nonexistent.yaml"), ("fly",), ("push", "--wait", "x", "f"), ("watch", "--format", "xml"),
                                  ("decode", "NoSuchType"), ("push", "/dev/null", "--broker", "http://x", "--node", "n1"), ("show",),
                                  ("show", "--node", "a/b", "--broker", "mqtt://127.0.0.1")])
def test_bad_usage(args):
    done = ctl(*args)
    assert done.returncode == 2
    assert done.err and not done.out


# ---- push


def test_push_applied(bed, agent, site, push):
    peer = bed.start(peers.Respond)
    done = push(yaml(peer.udp))
    assert done.returncode == 0, done.out + done.err
    assert "APPLIED: revision 1, accounts 1, commands 1" in done.out
    assert site.wait_result("pbx", "alive").verdict == "ok"
    document = site.pb.ConfigDocument.FromString(retained(site.port)[f"{site.base}/config/desired"])
    assert document.revision == 1 and document.accounts[0].commands[0].command == "OPTIONS"

    assert "revision 2" in push(yaml(peer.udp)).out  # one higher by itself
    done = push(yaml(peer.udp, more="revision: 40\n"))
    assert done.returncode == 0 and "APPLIED: revision 40" in done.out
    assert "APPLIED: revision 41" in push(yaml(peer.udp)).out
    assert push(yaml(peer.udp, more="revision: 41\n")).returncode == 0, "the very same again is a success"


def test_push_goes_above_what_was_refused(bed, agent, site, push):
    site.push_bytes(site.document(70, site.account("a", 0)).SerializeToString())
    site.wait_report(70)
    done = push(yaml(5999))
    assert done.returncode == 0 and "APPLIED: revision 71" in done.out


def test_push_stale(agent, push):
    assert push(yaml(5999, more="revision: 9\n")).returncode == 0
    done = push(yaml(5999, more="revision: 3\n"))
    assert done.returncode == 1
    assert re.search(r"document\.yaml:1:\d+: revision: .*\[stale\]", done.out)
    assert "REJECTED: revision 9 runs on" in done.out


def test_push_rejected_names_the_line(agent, push):
    """What only the node can know: its secret files."""
    done = push("accounts:\n  - id: pbx\n    remote_address: 127.0.0.1\n    login: u\n    password:\n      file: missing.pw\n")
    assert done.returncode == 1
    assert re.search(r"document\.yaml:6:\d+: accounts\[pbx\]\.password\.file: .*\[secret\]", done.out), done.out
    assert "REJECTED: the node runs no configuration" in done.out


def test_push_does_not_send_what_is_not_valid(agent, site, push):
    since = site.mark()
    done = push(yaml(0))
    assert done.returncode == 1 and ":4:" in done.out
    assert not site.all("config/desired", since)


def test_push_rolled_back(agent, push):
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = push(f"accounts:\n  - id: pbx\n    remote_address: 127.0.0.1\n    local_address: 127.0.0.1\n    local_port: {port}\n")
    assert done.returncode == 3
    assert re.search(r"document\.yaml:5:\d+: accounts\[pbx\]\.local_port: .*\[resource\]", done.out), done.out
    assert "ROLLED_BACK" in done.out


def test_push_without_agent(site, push):
    done = push(yaml(5060), "--wait", "1")
    assert done.returncode == 4
    assert "no answer from n1 within 1 s: the broker has no status of it" in done.err


def test_push_without_broker(tmp_path):
    path = tmp_path / "document.yaml"
    path.write_text(yaml(5060))
    done = ctl("push", path, "--broker", f"mqtt://127.0.0.1:{peers.free_port()}", "--node", "n1", "--wait", "1")
    assert done.returncode == 4 and done.err


# ---- show, watch, decode


def test_show(bed, agent, site, push):
    peer = bed.start(peers.Respond)
    push(yaml(peer.udp, more="").replace("    remote_address", f"    login: u\n    password: {{plain: {PASSWORD}}}\n    remote_address"))
    site.wait_result("pbx", "alive")
    wait_for(lambda: site.statuses()[-1].config_revision == 1, "no status")
    args = "--broker", f"mqtt://127.0.0.1:{site.port}", "--node", "n1"
    text = ctl("show", *args)
    assert text.returncode == 0
    for pattern in r"state +ONLINE", r"last offer +APPLIED", r"effective +1", r"accounts +1", r"pbx +udp +127\.0\.0\.1:\d+ +u +commands 1", r"alive +OPTIONS":
        assert re.search(pattern, text.out), (pattern, text.out)
    done = ctl("show", *args, "--format", "json")
    shown = json.loads(done.out)
    assert json_format.ParseDict(shown["reported"], site.pb.ConfigReport()) == site.reports()[-1]
    assert json_format.ParseDict(shown["status"], site.pb.NodeStatus()).node == "n1"
    assert json_format.ParseDict(shown["desired"], site.pb.ConfigDocument()).accounts[0].id == "pbx"
    assert PASSWORD not in text.out + done.out

    env = {"SIPEDGE_BROKER": f"mqtt://127.0.0.1:{site.port}", "SIPEDGE_NODE": "n1"}
    assert ctl("show", env=env).out.splitlines()[1] == text.out.splitlines()[1]
    assert ctl("show", *args[:2], "--node", "nobody", "--timeout", "0.3").returncode == 4


def test_watch_once(bed, agent, site, push):
    good, bad = bed.start(peers.Respond), bed.start(peers.Respond, "--code", "OPTIONS=503")
    args = "--broker", f"mqtt://127.0.0.1:{site.port}", "--node", "n1", "--once", "--timeout", "20"
    push(yaml(good.udp, "{name: alive, command: OPTIONS}\n      - {name: login, command: REGISTER}"))
    done = ctl("watch", *args)
    assert done.returncode == 0, done.out + done.err
    assert re.search(r"n1 +pbx +alive +ok +200", done.out) and re.search(r"n1 +pbx +login +ok +200", done.out)

    done = ctl("watch", *args, "--format", "json")
    results = [json_format.Parse(line, site.pb.CheckResult()) for line in done.out.splitlines()]
    assert done.returncode == 0 and {r.variable for r in results} >= {"alive", "login"}
    known = {r.seq: r for r in site.results()}
    assert all(known[r.seq] == r for r in results if r.seq in known) and any(r.seq in known for r in results)

    done = ctl("watch", *args, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    assert done.returncode == 0 and {r["variable"] for r in rows} >= {"alive", "login"}
    assert all(r["verdict"] == "ok" and r["code"] == "200" and float(r["response_ms"]) > 0 for r in rows)

    push(yaml(bad.udp))
    done = ctl("watch", *args)
    assert done.returncode == 1
    assert re.search(r"pbx +alive +fail +503", done.out)


def test_watch_once_without_an_end(site):
    done = ctl("watch", "--broker", f"mqtt://127.0.0.1:{site.port}", "--node", "n1", "--once", "--timeout", "1")
    assert done.returncode == 4


def test_decode_prints_what_google_reads(bed, agent, site):
    """Every kind of payload that was seen on the wire, there and back."""
    pb, peer = site.pb, bed.start(peers.Respond)
    site.push(site.document(1, site.account("a", peer.udp, site.command("alive", description="ümlaut \"quoted\" \\ \u2028"),
                                            site.command("call", "INVITE", target="echo", hold_ms=100), login="u", password=site.secret()),
                            site.account("dead", peers.free_port(), site.command("alive", timeout_s=1))))
    for name in ("a", "alive"), ("a", "call"), ("dead", "alive"):
        site.wait_result(*name)
    site.push_bytes(site.document(1, site.account("x", 0)).SerializeToString())
    wait_for(lambda: site.reports()[-1].status == pb.CONFIG_STATUS_REJECTED, "not refused")
    with site.lock:
        payloads = {(m[0], m[1]) for m in site.messages if m[1]}
    seen = set()
    for topic, payload in payloads:
        kind = {"status": "NodeStatus", "config/desired": "ConfigDocument", "config/reported": "ConfigReport"}.get(topic.split("/", 3)[3], "CheckResult")
        if (topic, kind) in seen and kind == "CheckResult":
            continue
        seen.add((topic, kind))
        done = ctl("decode", kind, stdin=payload)
        assert done.returncode == 0, done.err
        assert json_format.Parse(done.out, getattr(pb, kind)()) == getattr(pb, kind).FromString(payload), topic
        assert ctl("decode", f"sipedge.v1.{kind}", stdin=payload).out == done.out
    assert {k for _, k in seen} == {"NodeStatus", "ConfigDocument", "ConfigReport", "CheckResult"}


def test_decode_extremes(pb):
    table = pb.DataTable(fields=[pb.TableField(name="x", type=2)], records=[pb.Record(id="r", cells=[
        pb.Cell(int_value=-2**63), pb.Cell(double_value=1e-320), pb.Cell(double_value=0.1), pb.Cell(bytes_value=bytes(range(256))), pb.Cell(bool_value=False),
        pb.Cell(string_value="\x01\x7f</script>\U0001f600"), pb.Cell()])], quality=192)
    result = pb.CheckResult(seq=2**64 - 1, table=table, ok=False, code=0, cert_days=-1)
    done = ctl("decode", "CheckResult", stdin=result.SerializeToString())
    assert json_format.Parse(done.out, pb.CheckResult()) == result, done.out


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x0a\x05n", b"hello\n"])
def test_decode_refuses_what_is_no_message(payload):
    done = ctl("decode", "CheckResult", stdin=payload)
    assert done.returncode == 1 and done.err and not done.out
