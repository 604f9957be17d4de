"""Debian's docker-registry on loopback, plain HTTP, in a temporary folder."""
import pathlib
import shutil
import socket
import subprocess
import tempfile

from tests.e2e.image import program
from tests.harness.server import free_port, wait_for


class Registry:
    def __init__(self):
        self.dir, self.port = tempfile.mkdtemp(prefix="registry-"), free_port()
        self.host = f"127.0.0.1:{self.port}"
        config = pathlib.Path(self.dir, "config.yml")
        config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.dir}/data}}}}\n"
                          f"http: {{addr: '{self.host}'}}\n")
        self.log = open(self.dir + "/log", "wb")
        self.process = subprocess.Popen([program("docker-registry"), "serve", str(config)], stdout=self.log, stderr=self.log)
        wait_for("the registry answers", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the registry ended: " + pathlib.Path(self.dir, "log").read_text()[-2000:])
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
