"""What a test function gets: a server, clients, kubectl, a namespace of its own, and clean-up."""
import os
import pathlib
import subprocess

from tests.harness.server import Other, Server, wait_for


class SuiteServer:
    """One server for the tests of a suite, started when the first asks; a test that breaks it gets a new one."""

    def __init__(self):
        self.server = None

    def make(self):
        return Server()

    def get(self):
        if self.server and self.server.process.poll() is not None:
            code, self.server = self.server.process.returncode, None
            raise AssertionError(f"the server of an earlier test ended with {code}")
        if not self.server and os.environ.get("TEST_KUBECONFIG"):
            self.server = Other(os.environ["TEST_KUBECONFIG"])
        if not self.server:
            self.server = self.make()
            try:
                self.server.start()
            except BaseException:
                self.stop()
                raise
        return self.server

    def log_tail(self):
        return self.server.log_tail() if self.server else ""

    def stop(self):
        if self.server:
            self.server.remove()
        self.server = None


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


class Case:
    def __init__(self, name, suite):
        self.name, self.suite = name, suite
        self._server = self._api = self._ns = None
        self._after = []

    def after(self, function):
        self._after.append(function)

    @property
    def server(self):
        if not self._server:
            self._server = self.suite.get()
        return self._server

    def own_server(self, *args, start=True, **kw):
        """A server of this test alone; the case's clients and kubectl use it from now on."""
        self._server, self._api = Server(*args, **kw), None
        self.after(self._server.remove)
        return self._server.start() if start else self._server

    @property
    def api(self):
        if not self._api:
            self._api = self.server.client()
            self.after(self._api.close)
        return self._api

    @property
    def ns(self):
        if not self._ns:
            self._ns = ("t-" + "".join(c if c.isalnum() else "-" for c in self.name.lower()))[:50].strip("-") + f"-{os.getpid() % 10000}"
            self.api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": self._ns}})
            if isinstance(self.server, Server):  # pods need it; another server may run without controllers
                account = f"/api/v1/namespaces/{self._ns}/serviceaccounts/default"
                wait_for("the default service account", lambda: self.api.get(account).code == 200, every_s=0.002)
        return self._ns

    def path(self, rest):
        """"pods/x" → /api/v1/namespaces/<ns>/pods/x; "apps/v1/deployments" → /apis/apps/v1/namespaces/<ns>/deployments"""
        parts = rest.split("/")
        if len(parts) > 2 and parts[1].startswith("v") and parts[1][1:2].isdigit():
            return f"/apis/{parts[0]}/{parts[1]}/namespaces/{self.ns}/" + "/".join(parts[2:])
        return f"/api/v1/namespaces/{self.ns}/{rest}"

    def run(self, *args, input=None, timeout=60, code=0, env=None):
        """A program. code: the exit code wanted; None: any."""
        done = subprocess.run(args, input=input, text=True, capture_output=True, timeout=timeout, env=dict(os.environ, **(env or {})))
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(args)}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return Result(done)

    def kubectl(self, *args, **kw):
        kubeconfig = self.server.kubeconfig().path
        cache = pathlib.Path(kubeconfig).parent / "cache"
        return self.run("kubectl", "--kubeconfig", kubeconfig, "--cache-dir", str(cache), *args, **kw)

    def clean(self):
        if self._ns and self._server.process.poll() is None:
            self.api.delete(f"/api/v1/namespaces/{self._ns}")
        failures = []
        for f in reversed(self._after):
            try:
                f()
            except Exception as e:
                failures.append(e)
        if failures:
            raise failures[0]


def same(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what or 'value'} is {got!r}, wanted {want!r}")
