"""What scripts and the Dockerfile promise; test_provisioning runs them."""
import os
import re
import subprocess

from peers import ROOT


def test_dockerfile_keeps_its_promises():
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM "):]
    assert re.search(r"^USER (?!root)", final, re.M)
    assert re.search(r"^HEALTHCHECK .*\"sipedge\", \"health\"", final, re.M)
    assert re.search(r"^STOPSIGNAL SIGTERM", final, re.M)
    for script in re.findall(r"/src/(provisioning/\S+)", text):
        assert os.access(ROOT / script, os.X_OK), script


def test_scripts_say_how_they_are_used():
    for script in "provisioning/build", "provisioning/quickstart", "provisioning/install-packages", "tests/run":
        done = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and "usage" in done.stdout, script
        done = subprocess.run([ROOT / script, "--nonsense"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and "usage" in done.stderr, script
