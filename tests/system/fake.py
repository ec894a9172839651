"""A SIP peer for what a real server can't be made to do: the test says every byte that it sends."""
import re
import socket
import struct
import threading

import peers


def header(request, name):
    found = re.search(rf"^{name}:[ \t]*(.*?)\r$", request, re.M | re.I)
    return found[1] if found else ""


def reply(request, status="200 OK", lines=(), body=b"", tag="fake", leave_out=(), **changes):
    """A right answer, but for what is changed (header name in lower case, '-' as '_') or left out."""
    fields = {"Via": header(request, "Via"), "From": header(request, "From"), "To": f"{header(request, 'To')};tag={tag}",
              "Call-ID": header(request, "Call-ID"), "CSeq": header(request, "CSeq"), "Content-Length": str(len(body))}
    fields = {name: changes.get(name.lower().replace("-", "_"), value) for name, value in fields.items() if name not in leave_out}
    head = [f"SIP/2.0 {status}", *(f"{name}: {value}" for name, value in fields.items()), *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


class Fake:
    """Owns a port and a thread. requests: every request that arrived, as text, in order."""

    def __init__(self):
        self.requests = []
        self.socket.settimeout(0.1)
        self.is_ending = False
        self.failure = None
        self.thread = threading.Thread(target=self._guarded, daemon=True)
        self.thread.start()

    def _guarded(self):
        try:
            self.run()
        except Exception as failure:  # a mistake of the test's own: told by close()
            self.failure = failure

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def call_ids(self, method="OPTIONS"):
        """Of each check once, in order."""
        return list(dict.fromkeys(header(r, "Call-ID") for r in list(self.requests) if r.startswith(method + " ")))

    def close(self):
        self.is_ending = True
        self.thread.join(5)
        self.socket.close()
        if self.failure:
            raise self.failure


class UdpFake(Fake):
    """answer(request, count of its transmissions): the datagrams to send."""

    def __init__(self, answer):
        self.answer = answer
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        super().__init__()

    def run(self):
        while not self.is_ending:
            try:
                data, source = self.socket.recvfrom(65535)
            except socket.timeout:
                continue
            request = data.decode()
            if not re.match(r"[A-Z]+ sip:", request):
                continue  # an answer to us
            self.requests.append(request)
            for datagram in self.answer(request, self.requests.count(request)):
                self.socket.sendto(datagram, source)


class TcpFake(Fake):
    """answer(request, connection): sends by itself; True: the connection stays open for more."""

    def __init__(self, answer):
        self.answer = answer
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(16)
        self.connections = []
        super().__init__()

    def run(self):
        while not self.is_ending:
            try:
                connection = self.socket.accept()[0]
            except socket.timeout:
                continue
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            thread.start()
            self.connections.append((connection, thread))
        for connection, thread in self.connections:
            thread.join(5)
            connection.close()

    def _serve(self, connection):
        connection.settimeout(0.1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffered = b""
        stays = True
        while stays and not self.is_ending:
            try:
                data = connection.recv(65535)
            except socket.timeout:
                continue
            except OSError:
                break
            if not data:
                break
            buffered += data
            while stays and b"\r\n\r\n" in buffered.lstrip(b"\r\n"):
                head, buffered = buffered.lstrip(b"\r\n").split(b"\r\n\r\n", 1)
                request = head.decode() + "\r\n\r\n"
                self.requests.append(request)
                try:
                    stays = self.answer(request, connection)
                except OSError:  # the agent closed it: its right
                    stays = False
        connection.close()


def reset(connection):
    """Closes by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def closed_port():
    """Nobody listens there."""
    return peers.free_port()
