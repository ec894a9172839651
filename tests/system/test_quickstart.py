"""The README's first command, ended in every way; test_provisioning has the usual ones."""
import os
import pathlib
import re
import shutil
import signal
import tempfile
import time

import pytest

import peers
from peers import ROOT, wait_for

pytestmark = pytest.mark.usefixtures("release_tree")


def descendants():
    """Every process below this test, by its environment: a mark that children inherit."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as f:
                    found[int(entry.name)] = f.read()
            except OSError:
                pass
    return found


class Quickstart(peers.Process):
    def __init__(self, folder, *options):
        self.mark = f"SIPEDGE_TEST_MARK={folder}"
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.tmp.chmod(0o755)
        super().__init__(folder, "quickstart", ROOT / "provisioning/quickstart", *options,
                         env={**os.environ, "TMPDIR": str(self.tmp), "SIPEDGE_TEST_MARK": str(folder)})

    def running(self):
        return [pid for pid, environ in descendants().items() if self.mark.encode() in environ.split(b"\0")]

    def left(self):
        return self.running(), list(self.tmp.iterdir())


@pytest.fixture
def quickstart(bed):
    """Not below pytest's own folder, which nobody else may enter: the broker gives up root's rights."""
    bed.folder = pathlib.Path(tempfile.mkdtemp(prefix="sipedge-test-"))
    bed.folder.chmod(0o755)
    yield lambda *options: bed.start(Quickstart, *options)
    bed.close()
    shutil.rmtree(bed.folder)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_ended_in_the_live_view(quickstart, signum):
    q = quickstart()
    q.wait_text(r"pbx +\S+ +ok +200", 200)
    assert len(q.running()) >= 4 and list(q.tmp.iterdir())
    began = time.monotonic()
    q.popen.send_signal(signum)
    assert q.popen.wait(30) == {signal.SIGINT: 130}.get(signum, 143)
    assert time.monotonic() - began < 20
    assert q.left() == ([], [])


def test_killed_outright_leaves_no_process(quickstart):
    q = quickstart()
    q.wait_text(r"pbx +\S+ +ok +200", 200)
    q.popen.kill()
    q.popen.wait()
    wait_for(lambda: not q.running(), f"still running: {q.running()}", 20)


def test_log_of_a_failure_is_shown(quickstart, bed, monkeypatch):
    """A broker that can't start: the reason and a remedy, and nothing left."""
    fake = bed.folder / "bin"
    fake.mkdir()
    (fake / "mosquitto").write_text("#!/bin/sh\necho this broker is broken\nexit 1\n")
    (fake / "mosquitto").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    q = quickstart("--once")
    assert q.popen.wait(200) == 1
    assert "failed while starting the broker" in q.text() and "this broker is broken" in q.text()
    assert q.left() == ([], [])
