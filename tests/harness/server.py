"""A rancherd of the test's own: own data directory, own port, always ended and removed."""
import base64
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tests.harness.client import Client

ROOT = str(pathlib.Path(__file__).resolve().parents[2])


def out_dir():
    return pathlib.Path(ROOT, os.environ.get("RANCHERD_OUT") or "build/gcc-release")


def program():
    return str(out_dir() / "rancherd")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, limit_s=30, every_s=0.05):
    """Waits for something outside of this process that tells nobody; returns the condition's first true value."""
    end = time.monotonic() + limit_s
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(every_s)


class Kubeconfig:
    """The few fields of a kubeconfig as rancherd writes it."""

    def __init__(self, path):
        text = pathlib.Path(path).read_text()
        field = lambda name: re.search(rf"{name}: (\S+)", text)[1].strip('"')
        self.path, self.url = str(path), field("server")
        self.token = self.ca = None
        if "\n    token:" in text or "{token:" in text:  # another server's, for comparison
            self.token, self.url = field("token").rstrip("}]"), self.url.rstrip(',"')
            return
        self.ca, self.cert, self.key = (base64.b64decode(field(n)) for n in
                                        ("certificate-authority-data", "client-certificate-data", "client-key-data"))


class Other:
    """A server that runs already, named by TEST_KUBECONFIG: the same tests against upstream show whether a test is right."""

    def __init__(self, path):
        self.path = path
        self.process = type("Running", (), {"poll": lambda _: None})()

    def kubeconfig(self):
        return Kubeconfig(self.path)

    def client(self, **identity):
        return Client(self.kubeconfig(), **identity)

    def log_tail(self):
        return ""

    def remove(self):
        pass


class Server:
    def __init__(self, *args, agent=False, port=None, env=None, prefix=()):
        self.dir = tempfile.mkdtemp(prefix="rancherd-test-")
        self.port, self.agent = port or free_port(), agent
        self.args = [program(), "server", "--config", self.dir + "/config.yaml", "--data-dir", self.dir + "/data", "--https-listen-port", str(self.port),
                     "--write-kubeconfig", self.dir + "/kubeconfig", *([] if agent else ["--disable-agent"]), *args]
        self.prefix, self.env, self.process = list(prefix), dict(os.environ, **(env or {})), None
        self.log = self.dir + "/log"
        pathlib.Path(self.dir, "config.yaml").touch()

    def spawn(self):
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(self.prefix + self.args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.dir)

    def start(self, limit_s=20):
        self.spawn()
        wait_for("server ready\n" + self.log_tail(), self.ready, limit_s, 0.01)
        return self

    def log_now(self):
        with open(self.log, "rb") as f:
            f.seek(self.log_start)
            return f.read().decode(errors="replace")

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
        return "server ready" in self.log_now()

    def kubeconfig(self):
        return Kubeconfig(self.dir + "/kubeconfig")

    def client(self, **identity):
        return Client(self.kubeconfig(), **identity)

    def log_tail(self, lines=15):
        try:
            return "\n".join(pathlib.Path(self.log).read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def terminate(self, limit_s=15):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit_s)

    def remove(self):
        """The process, and whatever a node of its own left in the kernel."""
        self.kill()
        if self.agent:
            subprocess.run([ROOT + "/scripts/killall"], env=dict(os.environ, RANCHERD_DATA_DIR=self.dir + "/data"), stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)
