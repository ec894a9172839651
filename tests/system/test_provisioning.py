"""The README's first command and the image, as a newcomer gets them: what they run, what they leave behind."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("release_tree")


def processes_that_name(text):
    """The command lines of all processes in which `text` stands."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


@pytest.fixture
def quickstart(tmp_path):
    """Starts provisioning/quickstart, its directory below tmp_path, with no terminal."""
    started = []

    def start(*options):
        process = subprocess.Popen(
            [ROOT / "provisioning/quickstart", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        process.stdout.close()


def assert_nothing_left(tmp_path):
    assert processes_that_name(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_quickstart_once_every_result_is_ok_and_nothing_is_left(quickstart, tmp_path):
    process = quickstart("--once")
    output = process.communicate(timeout=170)[0]
    assert process.returncode == 0, output
    for variable in ("alive", "greeting", "echo-call", "login"):
        assert variable in output
    assert_nothing_left(tmp_path)


def test_quickstart_ended_while_it_watches_leaves_nothing(quickstart, tmp_path):
    process = quickstart()
    for line in process.stdout:
        if "Ctrl-C ends it" in line:
            break
    assert len(processes_that_name(str(tmp_path))) >= 2  # the broker and the agent, or this test sees nothing
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.monotonic() - begun < 15
    assert_nothing_left(tmp_path)


def image_build_command():
    """What the Dockerfile's first stage runs to build and install, as words."""
    text = (ROOT / "Dockerfile").read_text()
    commands = re.findall(r"^RUN /src/(provisioning/build .*)$", text, re.M)
    assert len(commands) == 1
    return shlex.split(commands[0])


def test_image_has_the_programs_and_the_libraries_that_they_need(tmp_path):
    command = [str(tmp_path) if word == "/out" else word for word in image_build_command()]
    assert str(tmp_path) in command
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=170)
    installed = subprocess.run(
        [ROOT / "provisioning/install-packages", "--list", "run"], check=True, capture_output=True, text=True
    ).stdout.split()
    for name in ("sipedge", "sipedgectl"):
        program = tmp_path / "usr/bin" / name
        dynamic = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"NEEDED.*\[(.*)\]", dynamic):
            owners = subprocess.run(
                ["dpkg-query", "-S", f"*/{library}"], check=True, capture_output=True, text=True
            ).stdout
            packages = {re.split(r"[:,]", line)[0] for line in owners.splitlines()}
            assert packages & {*installed, "libc6"}, f"{name} needs {library} of {packages}"
    version = subprocess.run([tmp_path / "usr/bin/sipedge", "version"], check=True, capture_output=True, text=True)
    assert re.match(r"sipedge \d+\.\d+\.\d+", version.stdout)


if os.environ.get("SIPEDGE_LONG"):

    @pytest.mark.parametrize("suite", ["bookworm", "trixie"])
    def test_quickstart_in_a_bare_root(suite):
        """Needs root, debootstrap and a mirror; takes the committed tree."""
        run = subprocess.run(
            [ROOT / "tests/bare-root", "--suite", suite, "provisioning/quickstart", "--once"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert run.returncode == 0, run.stdout + run.stderr

    @pytest.mark.parametrize("suite", ["bookworm", "trixie"])
    def test_image_stages_in_bare_roots(suite, tmp_path):
        """What the Dockerfile does, without Docker: build in one root, install and run in another one."""
        bare = [ROOT / "tests/bare-root", "--suite", suite, "--root"]
        build = ["sh", "-c", "provisioning/install-packages build && " + shlex.join(image_build_command())]
        subprocess.run([*bare, tmp_path / "build", *build], check=True, stdin=subprocess.DEVNULL, timeout=600)
        install = ["provisioning/install-packages", "run"]
        subprocess.run([*bare, tmp_path / "run", *install], check=True, stdin=subprocess.DEVNULL, timeout=600)
        out, usr = tmp_path / "build/out/usr", tmp_path / "run/usr"
        subprocess.run(["cp", "-a", f"{out}/.", usr], check=True)
        run = subprocess.run(
            [*bare, tmp_path / "run", "su", "nobody", "-s", "/bin/sh", "-c", "sipedge version && sipedgectl --help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stdout + run.stderr
