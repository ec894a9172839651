"""sipedge respond, asked by plain sockets."""
import hashlib
import re
import signal
import socket
import subprocess
import time
import uuid

import pytest

import peers
from peers import BIN, PASSWORD, wait_for

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"


class Asker:
    """A SIP client of a few lines."""

    def __init__(self, port, transport="udp"):
        self.port, self.transport = port, transport
        self.socket = socket.socket(type=socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.me = "%s:%d" % self.socket.getsockname()
        self.buffer = b""

    def request(self, method, body="", extra="", cseq=1, call=None, branch=None, to_tag="", user="x"):
        call = call or uuid.uuid4().hex
        return (f"{method} sip:{user}@127.0.0.1:{self.port} SIP/2.0\r\nVia: SIP/2.0/{self.transport.upper()} {self.me};branch={branch or 'z9hG4bK' + uuid.uuid4().hex};rport\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:t@127.0.0.1>;tag=t\r\nTo: <sip:{user}@127.0.0.1>{to_tag}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n"
                f"Contact: <sip:t@{self.me}>\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}")

    def send(self, text):
        self.socket.sendall(text.encode())

    def receive(self):
        """One response: (code, head, body)."""
        if self.transport == "udp":
            data = self.socket.recv(65535)
        else:
            while b"\r\n\r\n" not in self.buffer:
                self.buffer += self.more()
            head = self.buffer.partition(b"\r\n\r\n")[0]
            end = len(head) + 4 + int(re.search(rb"content-length: *(\d+)", head, re.I)[1])
            while len(self.buffer) < end:
                self.buffer += self.more()
            data, self.buffer = self.buffer[:end], self.buffer[end:]
        head, _, body = data.decode().partition("\r\n\r\n")
        return int(head.split(" ", 2)[1]), head, body

    def more(self):
        data = self.socket.recv(65535)
        assert data, "the connection was closed"
        return data

    def ask(self, method, *args, **fields):
        self.send(self.request(method, *args, **fields))
        while True:
            answer = self.receive()
            if answer[0] >= 200:
                return answer

    def close(self):
        self.socket.close()


@pytest.fixture
def ask(bed):
    def connect(port, transport="udp"):
        asker = Asker(port, transport)
        bed.clients.append(asker)
        return asker
    return connect


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_answers(bed, ask, transport):
    peer = bed.start(peers.Respond)
    client = ask(getattr(peer, transport), transport)
    code, head, _ = client.ask("OPTIONS")
    assert code == 200 and re.search(r"^Allow: .*INVITE", head, re.M)
    assert re.search(r"^To: .*;tag=\S+", head, re.M)
    assert "received=127.0.0.1" in head and f"rport={client.me.split(':')[1]}" in head
    assert client.ask("MESSAGE", "hello", "Content-Type: text/plain\r\n")[0] == 200
    assert client.ask("PUBLISH")[0] in (405, 501)


def test_pipelined_requests_over_tcp(bed, ask):
    client = ask(bed.start(peers.Respond).tcp, "tcp")
    calls = [uuid.uuid4().hex for _ in range(3)]
    stream = "".join(client.request("OPTIONS", call=c) for c in calls)
    client.send(stream[:100])
    client.send(stream[100:])
    assert {re.search(r"Call-ID: (\S+)", client.receive()[1])[1] for _ in calls} == set(calls)


def test_registrar(bed, ask):
    client = ask(bed.start(peers.Respond).udp)
    call = uuid.uuid4().hex
    code, head, _ = client.ask("REGISTER", extra="Expires: 60\r\n", call=call)
    assert code == 200 and re.search(r"Contact: .*expires=(60|5\d)\b", head)
    code, head, _ = client.ask("REGISTER", extra="Expires: 0\r\n", call=call, cseq=2)
    assert code == 200 and "Contact:" not in head


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_call_echoes_audio(bed, ask, transport):
    peer = bed.start(peers.Respond)
    client = ask(getattr(peer, transport), transport)
    call = uuid.uuid4().hex
    with socket.socket(type=socket.SOCK_DGRAM) as rtp:
        rtp.bind(("127.0.0.1", 0))
        rtp.settimeout(5)
        client.send(client.request("INVITE", SDP.format(port=rtp.getsockname()[1]), "Content-Type: application/sdp\r\n", call=call))
        answers = [client.receive()]
        while answers[-1][0] < 200:
            answers.append(client.receive())
        assert [a[0] for a in answers] == [100, 180, 200] or [a[0] for a in answers] == [180, 200]
        _, head, sdp = answers[-1]
        assert re.search(r"^Contact:", head, re.M) and "application/sdp" in head
        tag = re.search(r"^To: .*;tag=(\S+)", head, re.M)[1]
        client.send(client.request("ACK", call=call, to_tag=f";tag={tag}"))
        port = int(re.search(r"^m=audio (\d+) RTP/AVP 0\b", sdp, re.M)[1])
        packet = b"\x80\x00\x00\x01\x00\x00\x00\xa0\x12\x34\x56\x78" + b"\x55" * 160
        rtp.sendto(packet, ("127.0.0.1", port))
        assert rtp.recv(2000)[12:] == packet[12:]
        assert client.ask("BYE", call=call, cseq=2, to_tag=f";tag={tag}")[0] == 200
    assert peer.end() == 0
    assert re.search(r"requests=3 responses=\d+ dropped=0 calls=1", peer.text())


def test_cancelled_call(bed, ask):
    client = ask(bed.start(peers.Respond, "--ring-ms", "60000").udp)
    call, branch = uuid.uuid4().hex, "z9hG4bK" + uuid.uuid4().hex
    client.send(client.request("INVITE", SDP.format(port=40000), "Content-Type: application/sdp\r\n", call=call, branch=branch))
    while client.receive()[0] < 180:
        pass
    client.send(client.request("CANCEL", call=call, branch=branch))
    got = {}
    while len(got) < 2:
        code, head, _ = client.receive()
        got[re.search(r"CSeq: 1 (\S+)", head)[1]] = code
    assert got == {"CANCEL": 200, "INVITE": 487}


def test_code(bed, ask):
    client = ask(bed.start(peers.Respond, "--code", "OPTIONS=503", "--code", "INVITE=486").udp)
    assert client.ask("OPTIONS")[0] == 503
    assert client.ask("INVITE", SDP.format(port=40000), "Content-Type: application/sdp\r\n")[0] == 486
    assert client.ask("MESSAGE")[0] == 200


def test_delay(bed, ask):
    client = ask(bed.start(peers.Respond, "--delay-ms", "400").udp)
    began = time.monotonic()
    assert client.ask("OPTIONS")[0] == 200
    assert 0.4 <= time.monotonic() - began < 2


def test_drop(bed, ask):
    peer = bed.start(peers.Respond, "--drop-percent", "50")
    client = ask(peer.udp)
    for _ in range(200):
        client.send(client.request("OPTIONS"))
    client.socket.settimeout(0.5)
    answers = 0
    try:
        while True:
            answers += client.receive()[0] == 200
    except socket.timeout:
        pass
    assert 60 <= answers <= 140
    assert peer.end() == 0
    found = re.search(r"requests=(\d+) responses=(\d+) dropped=(\d+)", peer.text())
    assert (int(found[1]), int(found[2])) == (200, answers) and int(found[3]) == 200 - answers

    silent = bed.start(peers.Respond, "--drop-percent", "100")
    client = ask(silent.udp)
    client.socket.settimeout(0.5)
    client.send(client.request("OPTIONS"))
    with pytest.raises(socket.timeout):
        client.receive()


def digest(challenge, method, uri, user="u", password=PASSWORD):
    value = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
    def md5(*parts):
        return hashlib.md5(":".join(parts).encode()).hexdigest()
    response = md5(md5(user, value["realm"], password), value["nonce"], "00000001", "c", "auth", md5(method, uri))
    return (f'Authorization: Digest username="{user}", realm="{value["realm"]}", nonce="{value["nonce"]}", uri="{uri}", response="{response}", '
            f'algorithm=MD5, cnonce="c", qop=auth, nc=00000001\r\n')


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "INVITE"])
def test_auth(bed, ask, method):
    password = bed.folder / "pw"
    password.write_text(PASSWORD + "\n")
    peer = bed.start(peers.Respond, "--auth-user", "u", "--auth-password-file", password)
    client = ask(peer.udp)
    uri, call = f"sip:x@127.0.0.1:{peer.udp}", uuid.uuid4().hex
    body = (SDP.format(port=40000), "Content-Type: application/sdp\r\n") if method == "INVITE" else ("", "")
    code, head, _ = client.ask(method, *body, call=call)
    assert code == 401
    challenge = re.search(r"^WWW-Authenticate: Digest (.*)$", head, re.M)[1]
    assert 'realm="sipedge"' in challenge and 'qop="auth"' in challenge
    wrong = [digest(challenge, method, uri, password="wrong"), digest(challenge, method, uri, user="other"), digest(challenge, "OPTIONS", uri)]
    for n, credentials in enumerate(wrong):
        assert client.ask(method, body[0], body[1] + credentials, call=call, cseq=2 + n)[0] in (401, 403)
    assert client.ask(method, body[0], body[1] + digest(challenge, method, uri), call=call, cseq=9)[0] == 200


def test_noise_is_ignored(bed, ask):
    peer = bed.start(peers.Respond)
    client = ask(peer.udp)
    for noise in b"\r\n\r\n", b"\0" * 100, b"OPTIONS", b"SIP/2.0 200 OK\r\n\r\n", b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"\xff" * 60000:
        client.socket.sendall(noise)
    assert client.ask("OPTIONS")[0] in (200, 400)
    peer.kill(signal.SIGTERM)
    assert peer.end() == 0


@pytest.mark.parametrize("options", [[], ["--listen", "sctp:127.0.0.1:0"], ["--listen", "udp:nowhere"], ["--listen", "udp:127.0.0.1:0", "--drop-percent", "101"],
                                     ["--listen", "udp:127.0.0.1:0", "--code", "OPTIONS=99"], ["--listen", "udp:127.0.0.1:0", "--auth-user", "u"], ["--nonsense"]])
def test_bad_usage(options):
    done = subprocess.run([BIN / "sipedge", "respond", *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_taken_port():
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        done = subprocess.run([BIN / "sipedge", "respond", "--listen", "udp:127.0.0.1:%d" % taken.getsockname()[1]], capture_output=True, text=True, timeout=20)
    assert done.returncode not in (0, 2) and "in use" in done.stderr
