"""`sipedge check`: what it prints, what it exits with, what it refuses, and that Ctrl-C leaves nothing on the server."""
import re
import signal
import subprocess

import pytest
from google.protobuf import json_format

import peers
from conftest import cells
from peers import wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    respond = peers.Respond(tmp_path_factory.mktemp("respond"), "--code", "MESSAGE=503")
    yield respond
    respond.destroy()


@pytest.fixture
def target(server):
    return f"127.0.0.1:{server.udp}"


def test_protobuf_and_json_are_the_same_message(probe, target):
    result = probe.result("OPTIONS", target)
    assert (result.command, result.verdict, result.code, result.reason, result.trigger) == ("OPTIONS", "ok", 200, "OK", "request")
    assert result.ok and result.remote == target and result.config_revision in (0, 1)
    done = probe.run("OPTIONS", target, "--format", "json")
    assert done.returncode == 0
    parsed = json_format.Parse(done.stdout.decode(), probe.pb.CheckResult())  # refuses names that are not the schema's
    def comparable(message):
        """What can't differ between two runs."""
        ours = json_format.MessageToDict(message, preserving_proto_field_name=True)
        for name in ("started_unix_us", "finished_unix_us", "response_ms", "total_ms", "local", "table", "boot_id"):
            assert ours.pop(name, None) is not None or name == "boot_id", name
        return ours
    assert comparable(parsed) == comparable(result)
    assert [f.name for f in parsed.table.fields] == [f.name for f in result.table.fields]
    assert '"response_ms"' in done.stdout.decode() and "responseMs" not in done.stdout.decode()


def test_json_leaves_absent_fields_out(probe):
    port = peers.free_port()
    done = probe.run("OPTIONS", f"127.0.0.1:{port}", "--timeout-ms", 300, "--format", "json")
    result = json_format.Parse(done.stdout.decode(), probe.pb.CheckResult())
    assert result.error_class == "transport" and done.returncode == 2
    assert not result.HasField("code") and not result.HasField("response_ms") and result.HasField("ok")
    top = "\n".join(line for line in done.stdout.decode().splitlines() if re.match(r" {1,4}\"", line))
    assert '"code"' not in top.split('"table"')[0] and '"mos"' not in top


def test_table_shows_every_value(probe, target):
    done = probe.run("OPTIONS", target)
    assert done.returncode == 0 and not done.stderr
    rows = dict(line.split(None, 1) for line in done.stdout.decode().splitlines() if re.match(r"\w+ +\S", line))
    assert (rows["verdict"], rows["code"], rows["remote"]) == ("ok", "200", target)
    assert re.fullmatch(r"\d+\.\d{3} ms", rows["response_ms"])
    assert b"\033" not in done.stdout  # no colours but on a terminal


def test_nagios_is_one_line_with_performance_data(probe, target):
    done = probe.run("OPTIONS", target, "--format", "nagios", "--warn-ms", 500, "--fail-ms", 900)
    assert done.returncode == 0
    assert re.fullmatch(r"SIP OK - OPTIONS 200 OK in [\d.]+ ms \| response_ms=[\d.]+ms;500;900;0\n", done.stdout.decode())


@pytest.mark.parametrize("options, status, word", [
    (["--expect", "200-299"], 2, "CRITICAL"),
    (["--expect", "200-299,503"], 0, "OK"),
    (["--expect", "500-599", "--fail-ms", "1"], None, None),
    (["--maintenance", "503"], 1, "WARNING"),
])
def test_codes_decide_the_exit_status(probe, server, options, status, word):
    done = probe.run("MESSAGE", f"sip:600@127.0.0.1:{server.udp}", "--data", "hi", "--format", "nagios", *options)
    if status is None:  # as fast as the machine is: one of the two, and word and status agree
        status, word = (0, "OK") if done.returncode == 0 else (2, "CRITICAL")
    assert done.returncode == status, done
    assert done.stdout.decode().startswith(f"SIP {word} - MESSAGE 503 ")
    assert ("(maintenance)" in done.stdout.decode()) == ("--maintenance" in options)


def test_slow_answer_is_a_warning_then_a_failure(probe, bed):
    slow = bed.start(peers.Respond, "--delay-ms", "120")
    result = probe.result("OPTIONS", f"127.0.0.1:{slow.udp}", "--warn-ms", 60)
    assert (result.verdict, result.ok, result.error_class) == ("warn", True, "none") and result.response_ms > 118
    result = probe.result("OPTIONS", f"127.0.0.1:{slow.udp}", "--warn-ms", 50, "--fail-ms", 60)
    assert (result.verdict, result.ok, result.error_class) == ("fail", False, "expect")


def test_error_exits_3(probe):
    result = probe.result("OPTIONS", "no-such-host.invalid", "--timeout-ms", 2000)
    assert (result.verdict, result.error_class, result.attempts) == ("error", "dns", 0)
    assert not result.HasField("ok") and not result.HasField("code") and result.table.quality == 8


@pytest.mark.parametrize("method", ["OPTIONS", "options", "Options"])
def test_method_in_any_case(probe, target, method):
    assert probe.result(method, target).command == "OPTIONS"


@pytest.mark.parametrize("form, transport, uri", [
    ("127.0.0.1:{udp}", "udp", "sip:127.0.0.1:{udp}"),
    ("sip:127.0.0.1:{udp}", "udp", "sip:127.0.0.1:{udp}"),
    ("sip:600@127.0.0.1:{udp}", "udp", "sip:600@127.0.0.1:{udp}"),
    ("sip:600@127.0.0.1:{tcp};transport=tcp", "tcp", "sip:600@127.0.0.1:{tcp}"),
    ("sip:127.0.0.1:{tcp};transport=TCP", "tcp", "sip:127.0.0.1:{tcp}"),
    ("localhost:{udp}", "udp", "sip:localhost:{udp}"),
])
def test_targets(probe, server, form, transport, uri):
    ports = {"udp": server.udp, "tcp": server.tcp}
    result = probe.result("OPTIONS", form.format(**ports))
    assert (result.verdict, result.transport, result.remote) == ("ok", transport, f"127.0.0.1:{ports[transport]}")
    assert cells(result)["target"].startswith(uri.format(**ports))


@pytest.mark.parametrize("args, named", [
    ([], "METHOD"),
    (["OPTIONS"], "TARGET"),
    (["OPTIONS", "127.0.0.1", "and", "more"], "METHOD"),
    (["SUBSCRIBE", "127.0.0.1"], "METHOD"),
    (["OPTIONS", "127.0.0.1:0"], "TARGET"),
    (["OPTIONS", "127.0.0.1:65536"], "TARGET"),
    (["OPTIONS", "127.0.0.1:sip"], "TARGET"),
    (["OPTIONS", "tel:+123"], "TARGET"),
    (["OPTIONS", "sips:127.0.0.1"], "TARGET"),
    (["OPTIONS", ""], "TARGET"),
    (["INVITE", "127.0.0.1"], "TARGET"),
    (["OPTIONS", "127.0.0.1", "--no-such-flag"], "no-such-flag"),
    (["OPTIONS", "127.0.0.1", "--timeout-ms"], "timeout-ms"),
    (["OPTIONS", "127.0.0.1", "--timeout-ms", "0"], "--timeout-ms"),
    (["OPTIONS", "127.0.0.1", "--timeout-ms", "1s"], "--timeout-ms"),
    (["OPTIONS", "127.0.0.1", "--timeout-ms", "-1"], "--timeout-ms"),
    (["OPTIONS", "127.0.0.1", "--retries", "6"], "--retries"),
    (["OPTIONS", "127.0.0.1", "--expect", "200-"], "--expect"),
    (["OPTIONS", "127.0.0.1", "--expect", "99"], "--expect"),
    (["OPTIONS", "127.0.0.1", "--format", "xml"], "--format"),
    (["OPTIONS", "127.0.0.1", "--transport", "tls"], "--transport"),
    (["OPTIONS", "127.0.0.1", "--hold-ms", "10"], "--hold-ms"),
    (["OPTIONS", "127.0.0.1", "--data", "x"], "--data"),
    (["OPTIONS", "127.0.0.1", "--password-file", "/no/such/file"], "--password-file"),
])
def test_bad_usage_exits_3_and_names_the_place(probe, args, named):
    done = probe.run(*args)
    assert done.returncode == 3 and not done.stdout, done
    assert named in done.stderr.decode() and len(done.stderr) < 1000


def test_help_lists_every_flag(probe):
    done = probe.run("--help")
    assert done.returncode == 0
    for flag in ("--transport", "--login", "--password-file", "--timeout-ms", "--expect", "--retries", "--format"):
        assert flag in done.stdout.decode()


def test_timeout_and_retries(probe, bed):
    deaf = bed.start(peers.Respond, "--drop-percent", "100")
    once = probe.result("OPTIONS", f"127.0.0.1:{deaf.udp}", "--timeout-ms", 150)
    assert (once.error_class, once.attempts) == ("timeout", 1) and not once.HasField("code") and not once.HasField("response_ms")
    assert 150 <= once.total_ms < 1000
    thrice = probe.result("OPTIONS", f"127.0.0.1:{deaf.udp}", "--timeout-ms", 150, "--retries", 2)
    assert (thrice.error_class, thrice.attempts) == ("timeout", 3)
    assert 450 <= thrice.total_ms < 2000


def test_password_never_shows(probe, bed, tmp_path):
    strict = bed.start(peers.Respond, "--auth-user", "700", "--auth-password-file", probe.password)
    wrong = tmp_path / "wrong"
    wrong.write_text("wr0ng-s3cret\n")
    for file, verdict in ((probe.password, "ok"), (wrong, "fail")):
        done = probe.run("OPTIONS", f"127.0.0.1:{strict.udp}", "--login", "700", "--password-file", file, "--format", "json")
        assert f'"{verdict}"' in done.stdout.decode()
        assert file.read_text().strip() not in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("scenario, ready, ended", [("ring.xml", "SIP/2.0 180", "CANCEL sip:"), ("answer.xml", "ACK sip:", "BYE sip:")])
def test_interrupt_during_a_call_leaves_nothing(probe, bed, scenario, ready, ended):
    peer = bed.start(peers.Sipp, scenario, calls=1)
    check = subprocess.Popen(probe.command("INVITE", f"sip:600@127.0.0.1:{peer.port}", "--hold-ms", 20000, "--timeout-ms", 30000, "--format", "json"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: ready in peer.messages(), "no call under way")
        assert ended not in peer.messages()
        check.send_signal(signal.SIGINT)
        out, err = check.communicate(timeout=10)
    finally:
        check.kill()
        check.wait()
    result = json_format.Parse(out.decode(), probe.pb.CheckResult())
    assert (result.verdict, result.error_class) == ("error", "cancelled") and check.returncode == 3 and not err
    assert peer.popen.wait(5) == 0, peer.messages()[-3000:]  # SIPp saw the whole scenario
    assert ended in peer.messages()
