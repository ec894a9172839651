"""Real broker, real SIP peers, the agent as a process; messages decoded by Google's protobuf, received by paho-mqtt."""
import fcntl
import importlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt
import pytest

import peers
from peers import BIN, ROOT, wait_for


@pytest.fixture(scope="session")
def pb():
    """The contract, compiled by protoc for Python."""
    out = BIN / "test-proto" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={out}", ROOT / "proto/sipedge/v1/sipedge.proto"], check=True)
    sys.path.insert(0, str(out))
    return importlib.import_module("sipedge.v1.sipedge_pb2")


@pytest.fixture(scope="module")
def release_tree():
    """For modules whose tests build the release: one at a time in that tree."""
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / "release.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Bed:
    """What one test has started; all of it is ended afterwards, whatever happens."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.processes = []
        self.clients = []
        self.count = 0

    def start(self, kind, *args, **options):
        self.count += 1
        folder = self.folder / f"{self.count}-{kind.__name__.lower()}"
        folder.mkdir()
        process = kind(folder, *args, **options)
        self.processes.append(process)
        return process

    def close(self):
        for client in self.clients:
            client.close()
        for process in reversed(self.processes):
            process.destroy()


@pytest.fixture
def bed(tmp_path):
    bed = Bed(tmp_path)
    yield bed
    bed.close()


@pytest.fixture(scope="module")
def shared_bed(tmp_path_factory):
    """For what all tests of a file may share."""
    bed = Bed(tmp_path_factory.mktemp("shared"))
    yield bed
    bed.close()


class Subscriber:
    """An independent MQTT client that keeps every message in order."""

    def __init__(self, port, protocol=mqtt.MQTTv5, topics=("sipedge/v1/#",), options=1):
        self.port = port
        self.messages = []  # (topic, payload, retain flag, properties), in order of arrival
        self.lock = threading.Lock()
        self.ready = threading.Event()
        self.client = mqtt.Client(protocol=protocol)
        self.client.on_message = self._message
        self.client.on_connect = lambda client, *_: client.subscribe([(t, options) for t in topics])
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def _message(self, client, userdata, message):
        with self.lock:
            self.messages.append((message.topic, bytes(message.payload), message.retain, getattr(message, "properties", None), time.time()))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def all(self, topic_end, since=0):
        """(payload, retain) of messages whose topic ends so."""
        with self.lock:
            return [(m[1], m[2]) for m in self.messages[since:] if m[0].endswith(topic_end)]

    def mark(self):
        with self.lock:
            return len(self.messages)

    def publish(self, topic, payload, retain=False):
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(30)
        assert info.is_published()


class Site(Subscriber):
    """A subscriber that knows one node's topics and the contract's messages."""

    def __init__(self, pb, port, node="n1", **options):
        super().__init__(port, **options)
        self.pb = pb
        self.node = node
        self.base = f"sipedge/v1/{node}"

    def results(self, account=None, variable=None, since=0):
        found = []
        with self.lock:
            messages = self.messages[since:]
        for topic, payload, *_ in messages:
            parts = topic.split("/")
            if len(parts) == 6 and parts[3] == "result" and payload and parts[4] == (account or parts[4]) and parts[5] == (variable or parts[5]):
                found.append(self.pb.CheckResult.FromString(payload))
        return found

    def wait_result(self, account, variable, seconds=15, since=0, where=lambda r: True):
        return wait_for(lambda: next((r for r in self.results(account, variable, since) if where(r)), None),
                        f"no result of {account}/{variable} as wanted; there are {[(r.account, r.variable, r.verdict, r.code, r.error_text) for r in self.results()][-8:]}", seconds)

    def reports(self, since=0):
        return [self.pb.ConfigReport.FromString(p) for p, _ in self.all("/config/reported", since)]

    def statuses(self, since=0):
        return [self.pb.NodeStatus.FromString(p) for p, _ in self.all("/status", since) if p]

    def push_bytes(self, payload):
        since = self.mark()
        self.publish(f"{self.base}/config/desired", payload, retain=True)
        return since

    def push(self, document, seconds=15):
        """Publishes a document and returns the final report on it."""
        since = self.push_bytes(document.SerializeToString())
        return self.wait_report(document.revision, since, seconds)

    def wait_report(self, revision, since=0, seconds=15):
        final = (self.pb.CONFIG_STATUS_APPLIED, self.pb.CONFIG_STATUS_REJECTED, self.pb.CONFIG_STATUS_ROLLED_BACK)
        return wait_for(lambda: next((r for r in self.reports(since) if r.offered_revision == revision and r.status in final), None),
                        f"no final report on revision {revision}", seconds)

    def document(self, revision, *accounts, **fields):
        return self.pb.ConfigDocument(revision=revision, accounts=accounts, **fields)

    def account(self, id, port, *commands, **fields):
        """An account on a loopback port; quick enough for tests unless told otherwise."""
        fields = {"remote_address": "127.0.0.1", "timeout_ms": 3000, "sync_interval_s": 1, **fields}
        return self.pb.DeviceAccount(id=id, remote_port=port, commands=commands, **fields)

    def command(self, name, method="OPTIONS", **fields):
        return self.pb.Command(name=name, command=method, **fields)

    def secret(self, text=peers.PASSWORD):
        return self.pb.Secret(plain=text)


class Agent(peers.Process):
    """sipedge run."""

    def __init__(self, folder, broker, *options, node="n1", env=None, plain=True):
        self.state = pathlib.Path(folder) / "state"
        super().__init__(folder, "agent", BIN / "sipedge", "run", "--broker", broker.url, "--node", node, "--state-dir", self.state,
                         *(["--allow-plain-secrets"] if plain else []), "--log-level", "debug", *options, env={**os.environ, **(env or {})})


@pytest.fixture
def broker(bed):
    return bed.start(peers.Broker)


@pytest.fixture
def site(bed, broker, pb):
    site = Site(pb, broker.port)
    bed.clients.append(site)
    return site


@pytest.fixture
def agent(bed, broker, site):
    agent = bed.start(Agent, broker)
    wait_for(lambda: any(s.state == site.pb.NODE_STATE_ONLINE for s in site.statuses()), f"the agent is not online:\n{agent.text()[-2000:]}")
    return agent


def wait_online(site, agent, since=0):
    wait_for(lambda: any(s.state == site.pb.NODE_STATE_ONLINE for s in site.statuses(since)), f"the agent is not online:\n{agent.text()[-2000:]}")
    return agent


def retained(port):
    """What a new subscriber is given: topic -> payload. A message of its own tells where that ends."""
    subscriber = Subscriber(port, topics=("sipedge/v1/#", "test/end"))
    try:
        subscriber.publish("test/end", b"end")
        wait_for(lambda: subscriber.all("test/end"), "the broker does not send back")
        return {m[0]: m[1] for m in subscriber.messages if m[2]}
    finally:
        subscriber.close()


class Uas:
    """A SIP server over UDP that keeps every request with its time. answer(request) -> bytes, None for silence, or a list of
    (delay in seconds, bytes)."""

    def __init__(self, answer=None):
        self.answer = answer or self.reply
        self.requests = []  # (time.time(), method, text)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.timers = []
        self.socket.settimeout(0.1)  # closing it would not wake the thread
        self.closed = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def header(text, name):
        found = re.search(rf"^{name}[ \t]*:[ \t]*(.*?)\r?$", text, re.M | re.I)
        return found[1] if found else None

    @classmethod
    def reply(cls, text, code=200, reason="OK", extra="", body=""):
        head = [f"SIP/2.0 {code} {reason}"]
        head += [f"Via: {v}" for v in re.findall(r"^Via:[ \t]*(.*?)\r$", text, re.M | re.I)]
        to = cls.header(text, "To")
        head += [f"From: {cls.header(text, 'From')}", f"To: {to if ';tag=' in to else to + ';tag=uas'}",
                 f"Call-ID: {cls.header(text, 'Call-ID')}", f"CSeq: {cls.header(text, 'CSeq')}"]
        contact = cls.header(text, "Contact")
        if text.startswith("REGISTER ") and contact and contact != "*" and cls.header(text, "Expires") != "0" and "expires=0" not in contact:
            head.append(f"Contact: {contact if 'expires=' in contact else contact + ';expires=3600'}")
        return ("\r\n".join(head) + f"\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}").encode()

    def _run(self):
        while not self.closed:
            try:
                data, peer = self.socket.recvfrom(65535)
            except socket.timeout:
                continue
            except OSError:
                continue  # an ICMP error about an earlier answer
            text = data.decode(errors="replace")
            if not text.strip():
                continue
            self.requests.append((time.time(), text.split(" ", 1)[0], text))
            answer = self.answer(text)
            for delay, payload in answer if isinstance(answer, list) else [(0, answer)] if answer else []:
                if delay:
                    timer = threading.Timer(delay, self._send, (payload, peer))
                    timer.daemon = True
                    timer.start()
                    self.timers.append(timer)
                else:
                    self._send(payload, peer)

    def _send(self, payload, peer):
        try:
            self.socket.sendto(payload, peer)
        except OSError:
            pass  # closed

    def of(self, method):
        return [r for r in self.requests if r[1] == method]

    def close(self):
        for timer in self.timers:
            timer.cancel()
        self.closed = True
        self.thread.join()
        self.socket.close()


@pytest.fixture
def uas(bed):
    uas = Uas()
    bed.clients.append(uas)
    return uas


def cells(result):
    """The first record of a result's table: name -> value, None for null."""
    values = {}
    for field, cell in zip(result.table.fields, result.table.records[0].cells):
        kind = cell.WhichOneof("value")
        values[field.name] = getattr(cell, kind) if kind else None
    return values


class Probe:
    """sipedge check, its result decoded."""

    def __init__(self, pb, folder):
        self.pb = pb
        self.password = pathlib.Path(folder) / "password"
        self.password.write_text(peers.PASSWORD + "\n")

    def command(self, *args):
        return [str(a) for a in (BIN / "sipedge", "check", *args)]

    def run(self, *args, seconds=40):
        """The finished process: returncode, stdout, stderr (bytes)."""
        return subprocess.run(self.command(*args), capture_output=True, timeout=seconds)

    def credentials(self, login="700"):
        return ["--login", login, "--password-file", self.password]

    def result(self, *args):
        done = self.run(*args, "--format", "protobuf")
        assert done.stdout and not done.stderr, done
        result = self.pb.CheckResult.FromString(done.stdout)
        assert done.returncode == {"ok": 0, "warn": 1, "maintenance": 1, "fail": 2, "error": 3}[result.verdict], done
        return result


@pytest.fixture
def probe(pb, tmp_path):
    return Probe(pb, tmp_path)


def responses(result):
    """The nested table of responses as dictionaries, in order."""
    table = cells(result)["responses"]
    if not table:
        return []
    names = [column.name for column in table.columns]
    return [{name: getattr(cell, cell.WhichOneof("value")) if cell.WhichOneof("value") else None for name, cell in zip(names, record.cells)}
            for record in table.records]


def codes(result):
    """Every response's code, in order, after a look at the order of the offsets."""
    rows = responses(result)
    offsets = [row["offset_ms"] for row in rows]
    assert offsets == sorted(offsets) and all(offset > 0 for offset in offsets)
    assert all(row["reason"] is not None and row["meaning"] for row in rows)
    return [row["code"] for row in rows]
