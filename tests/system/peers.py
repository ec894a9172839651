"""Real peers, each started on a loopback port that the kernel picks and ended by its process id."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = pathlib.Path(os.environ.get("SIPEDGE_BIN", ROOT / "build" / "dev"))
PASSWORD = "pa55-w0rd-that-never-shows"


def wait_for(condition, what, seconds=15):
    """Polls a condition; its last value is returned, a timeout fails the test with a sentence."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s: {what}")
        time.sleep(0.02)


def free_port(kind=socket.SOCK_STREAM):
    """A port that is free for both UDP and TCP just now."""
    while True:
        with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Process:
    """A child with its output in a file; ended, with all that it started, when the test is over."""

    def __init__(self, folder, name, *command, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen([str(c) for c in command], stdin=stdin, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                          env=env, start_new_session=True,
                                          # a shell without job control starts what runs in the background with it ignored
                                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    @property
    def pid(self):
        return self.popen.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_text(self, pattern, seconds=15):
        def look():
            found = re.search(pattern, self.text(), re.M)
            if not found and self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.text()[-3000:]}")
            return found
        return wait_for(look, f"{self.name} did not say {pattern!r}:\n{self.text()[-3000:]}", seconds)

    def kill(self, signum):
        os.kill(self.pid, signum)

    def end(self, signum=signal.SIGTERM, seconds=12):
        """Exit status; killed when it does not end by itself."""
        if self.popen.poll() is None:
            self.popen.send_signal(signum)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.popen.wait()
            raise AssertionError(f"{self.name} did not end within {seconds} s of signal {signum}:\n{self.text()[-3000:]}")
        return self.popen.returncode

    def destroy(self):
        """For clean-up only: no complaint."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


class Broker(Process):
    """mosquitto."""

    def __init__(self, folder, port=None, extra=""):
        for _ in range(5):
            self.port = port or free_port()
            conf = pathlib.Path(folder) / "mosquitto.conf"
            user = "user root\n" if os.geteuid() == 0 else ""
            conf.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n"
                            f"max_packet_size 268435455\n{user}{extra}")
            super().__init__(folder, "mosquitto", shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin"), "-c", conf)
            try:
                self.wait_text(r"mosquitto version .* running")
                break
            except AssertionError:
                if "Address already in use" not in self.text():
                    raise
        self.url = f"mqtt://127.0.0.1:{self.port}"


class Respond(Process):
    """sipedge respond: for what only has to answer."""

    def __init__(self, folder, *options, name="respond"):
        super().__init__(folder, name, BIN / "sipedge", "respond", "--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", *options)
        self.udp = int(self.wait_text(r"^listening udp:127\.0\.0\.1:(\d+)")[1])
        self.tcp = int(self.wait_text(r"^listening tcp:127\.0\.0\.1:(\d+)")[1])


class Kamailio(Process):
    """Registrar with digest, proxy and call list: kamailio.cfg."""

    def __init__(self, folder, max_expires=3600):
        folder = pathlib.Path(folder)
        self.port = free_port()
        # short: a Unix socket's path has 107 characters at most
        self.ctl = f"/tmp/sipedge-kam-{os.getpid()}-{self.port}.sock"
        modules = next(p for p in pathlib.Path("/usr/lib").rglob("kamailio/modules") if p.is_dir())
        text = (HERE / "kamailio.cfg").read_text()
        for key, value in {"MODULES": modules, "PORT": self.port, "CTL": self.ctl, "PASSWORD": PASSWORD, "MAX_EXPIRES": max_expires}.items():
            text = text.replace(f"@{key}@", str(value))
        config = folder / "kamailio.cfg"
        config.write_text(text)
        super().__init__(folder, "kamailio", shutil.which("kamailio", path=os.environ["PATH"] + ":/usr/sbin"), "-DD", "-E", "-m", "32", "-M", "8",
                         "-Y", folder, "-P", folder / "kamailio.pid", "-f", config)
        wait_for(self._answers, f"kamailio did not start:\n{self.text()[-3000:]}")

    def _answers(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"kamailio ended:\n{self.text()[-3000:]}")
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.settimeout(0.3)
            me = s.bind(("127.0.0.1", 0)) or s.getsockname()[1]
            s.sendto((f"OPTIONS sip:127.0.0.1:{self.port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bKtest{me}\r\n"
                      f"From: <sip:open@t>;tag=1\r\nTo: <sip:t>\r\nCall-ID: {me}@t\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n").encode(),
                     ("127.0.0.1", self.port))
            try:
                return b"200" in s.recv(4096)
            except OSError:
                return False

    def rpc(self, *command):
        done = subprocess.run([shutil.which("kamcmd", path=os.environ["PATH"] + ":/usr/sbin"), "-s", f"unix:{self.ctl}", *command],
                              capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def bindings(self):
        """AoR -> number of contacts."""
        found, aor = {}, None
        for line in self.rpc("ul.dump").splitlines():
            if m := re.search(r"AoR: (\S+)", line):
                aor = m[1]
            elif re.search(r"Address:", line):
                found[aor] = found.get(aor, 0) + 1
        return found

    def binding(self, aor):
        """The only contact of an AoR as its lines of ul.dump, None without one."""
        if self.bindings().get(aor) != 1:
            return None
        dump = self.rpc("ul.dump").split(f"AoR: {aor}\n", 1)
        return dict(re.findall(r"^\s*([\w-]+): (.+)$", dump[1].split("\t}\n", 1)[0], re.M)) if len(dump) == 2 else None

    def seen(self, user, method=None):
        """(method, Call-ID, had credentials) of each request from a user, in order."""
        return [(m[1], m[2], m[3] != ":") for m in
                re.finditer(rf"seen (\w+) from={re.escape(user)} call=(\S+) credentials=(\S+)", self.text()) if m[1] == (method or m[1])]

    def ask(self, method, user):
        """Sends a request for a registered user, as somebody who needs no credentials; returns the final code, acknowledged."""
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.bind(("127.0.0.1", 0))
            me = s.getsockname()[1]
            def send(name):
                s.sendto((f"{name} sip:{user}@127.0.0.1:{self.port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bK{method}{me}\r\n"
                          f"From: <sip:open@t>;tag={me}\r\nTo: <sip:{user}@t>\r\nCall-ID: {method}-{me}@t\r\nCSeq: 1 {name}\r\n"
                          f"Contact: <sip:open@127.0.0.1:{me}>\r\nMax-Forwards: 10\r\nEvent: presence\r\nContent-Length: 0\r\n\r\n").encode(),
                         ("127.0.0.1", self.port))
            send(method)
            while (code := int(s.recv(65535).split()[1])) < 200:
                pass
            if method == "INVITE":
                send("ACK")
            return code

    def dialogs(self):
        """Calls that are being set up or stand: what has ended (state 5) stays listed a little."""
        return len(re.findall(r"^\s*state: [1-4]$", self.rpc("dlg.list"), re.M))

    def destroy(self):
        super().destroy()
        pathlib.Path(self.ctl).unlink(missing_ok=True)


class Sipp(Process):
    """SIPp as a UAS with a scenario file of scenarios/ or a built-in one (name without .xml)."""

    def __init__(self, folder, scenario, transport="udp", calls=None, name="sipp", extra=()):
        source = ["-sf", HERE / "scenarios" / scenario] if str(scenario).endswith(".xml") else ["-sn", scenario]
        for _ in range(5):
            self.port = free_port()
            super().__init__(folder, name, "sipp", *source, "-i", "127.0.0.1", "-p", self.port, "-t", {"udp": "u1", "tcp": "t1"}[transport],
                             "-nostdin", "-trace_msg", "-message_file", pathlib.Path(folder) / f"{name}.messages", "-trace_err", "-error_file",
                             pathlib.Path(folder) / f"{name}.errors", *(["-m", str(calls)] if calls else []), *extra,
                             cwd=folder, env={**os.environ, "TERM": "dumb"})
            try:
                self.wait_listening(transport)
                return
            except AssertionError:
                if "in use" not in self.text():
                    raise
        raise AssertionError(self.text())

    def wait_listening(self, transport):
        table = pathlib.Path(f"/proc/net/{transport}")
        entry = f"0100007F:{self.port:04X}"
        def listening():
            if self.popen.poll() is not None:
                raise AssertionError(f"sipp ended:\n{self.text()[-2000:]}")
            return any(line.split()[1] == entry for line in table.read_text().splitlines()[1:])
        wait_for(listening, "sipp does not listen")

    def messages(self):
        path = self.log.parent / f"{self.name}.messages"
        return path.read_text(errors="replace") if path.exists() else ""


class Baresip(Process):
    """baresip as a callee: registers, answers by itself, sends a tone."""

    def __init__(self, folder, registrar_port, user="600", transport="udp", answers=True):
        folder = pathlib.Path(folder) / f"baresip-{user}"
        folder.mkdir()
        modules = next(p for p in pathlib.Path("/usr/lib").rglob("baresip/modules") if p.is_dir())
        (folder / "accounts").write_text(f"<sip:{user}@127.0.0.1:{registrar_port};transport={transport}>;auth_user={user};auth_pass={PASSWORD};"
                                         f"answermode={'auto' if answers else 'manual'};audio_codecs=pcmu,pcma;regint=60\n")
        (folder / "config").write_text(
            "sip_listen 127.0.0.1:0\naudio_source ausine,440\nausrc_srate 48000\nausrc_channels 2\naudio_player aufile,/dev/null\naudio_alert aufile,/dev/null\n"
            f"net_interface 127.0.0.1\nmodule_path {modules}\nmodule g711.so\nmodule ausine.so\nmodule aufile.so\n"
            "module_tmp account.so\nmodule_app menu.so\n")
        super().__init__(folder, "baresip", "baresip", "-f", folder)
