"""A whole machine for end-to-end tests: registry, images, one server with its node, more nodes on demand."""
import json
import os
import pathlib
import subprocess
import tempfile
import shutil

from tests.e2e import image as mkimage
from tests.e2e.registry import Registry
from tests.harness.case import SuiteServer
from tests.harness.server import ROOT, Server, program, wait_for


class NodeServer(Server):
    """rancherd server with its node agent."""

    def __init__(self, registry, *args, **kw):
        super().__init__("--node-name", "n1", "--private-registry", "/nonexistent", *args, agent=True, port=6443, **kw)
        path = self.dir + "/registries.yaml"
        pathlib.Path(path).write_text(f'mirrors:\n  "registry.test":\n    endpoint: ["http://{registry}"]\n  "{registry}":\n'
                                      f'    endpoint: ["http://{registry}"]\n')
        self.args[self.args.index("/nonexistent")] = path
        self.registries = path

    def start(self, limit_s=20):
        super().start(limit_s)
        kubectl = ["kubectl", "--kubeconfig", self.dir + "/kubeconfig", "get", "nodes", "--no-headers"]
        wait_for("the node is Ready", lambda: b" Ready" in subprocess.run(kubectl, capture_output=True).stdout, 30)
        return self


class Lab(SuiteServer):
    """Images registry.test/web:1, :2 and registry.test/busybox:1."""

    def __init__(self):
        super().__init__()
        self.registry = Registry()
        mkimage.busybox().push(self.registry.host, "busybox", "1")
        mkimage.nginx("one\n").push(self.registry.host, "web", "1")
        mkimage.nginx("two\n").push(self.registry.host, "web", "2", index=True)
        mkimage.nginx("docker\n").push(self.registry.host, "web", "docker", oci=False)

    def make(self):
        return NodeServer(self.registry.host)

    def stop(self):
        super().stop()
        self.registry.stop()


class SecondNode:
    """rancherd agent in a network namespace of its own, on lab0's network."""

    def __init__(self, server, name="n2", address="10.200.0.2"):
        self.name, self.dir = name, tempfile.mkdtemp(prefix="rancherd-test-")
        ip = lambda text: subprocess.run(["ip", *text.split()], check=True)
        ip(f"netns add {name}")
        ip(f"link add v{name} type veth peer name eth0 netns {name}")
        ip(f"link set v{name} master lab0 up")
        for command in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up", "route add default via 10.200.0.254"):
            ip(f"-n {name} {command}")
        pathlib.Path(self.dir, "config.yaml").touch()
        token = pathlib.Path(server.dir, "data/server/token").read_text().strip()
        self.log = open(self.dir + "/log", "wb")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", name, program(), "agent", "--config", self.dir + "/config.yaml", "--data-dir", self.dir + "/data",
             "--server", f"https://10.200.0.1:{server.port}", "--token", token, "--node-name", name, "--private-registry", server.registries],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def remove(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        subprocess.run([ROOT + "/scripts/killall"], env=dict(os.environ, RANCHERD_DATA_DIR=self.dir + "/data"), stdout=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "delete", self.name])
        subprocess.run(["ip", "link", "delete", "v" + self.name], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def pod(name, *command, image="registry.test/busybox:1", **spec):
    container = spec.pop("container", {})
    if command:
        container = dict(container, command=list(command))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [dict({"name": "c", "image": image}, **container)], **spec}}


def run_pod(t, manifest, phase="Running", limit_s=30):
    """Creates it and waits for the phase (Running: Ready); the pod."""
    t.api.ok("POST", t.path("pods"), manifest)
    return until(t, manifest["metadata"]["name"], phase, limit_s)


def until(t, name, phase="Running", limit_s=30):
    last = {}

    def there():
        last.update(t.api.ok("GET", t.path("pods/" + name)))
        if last["status"]["phase"] != phase:
            return None
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in last["status"].get("conditions", []))
        return last if ready or phase != "Running" else None
    try:
        return wait_for(f"pod {name} is {phase}", there, limit_s)
    except AssertionError as e:
        events = [f"{x['reason']}: {x.get('message')}" for x in t.api.ok("GET", t.path("events"))["items"] if x["involvedObject"].get("name") == name]
        raise AssertionError(f"{e}\n{json.dumps(last.get('status'))[:3000]}\n" + "\n".join(events)) from None


def k(t, *args, **kw):
    return t.kubectl("-n", t.ns, *args, **kw)
