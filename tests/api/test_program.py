"""The program itself: flags, settings files, ports, restarts, SIGTERM, and kill -9 under load."""
import concurrent.futures
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import threading
import time

from tests.harness.case import same
from tests.harness.server import program, wait_for


def refused(t, *args, code=1):
    return t.run(program(), *args, code=code).err


def test_help_and_version(t):
    assert re.match(r"rancherd version v1\.37\.2\+rancherd1 \([0-9a-f]+\)\n", t.run(program(), "--version").out)
    out = t.run(program(), "--help").out
    for word in ("NAME:", "server", "agent", "kubectl", "COMMANDS:"):
        assert word in out, out
    out = t.run(program(), "server", "--help").out
    assert "--data-dir value, -d value" in out and "$RANCHERD_TOKEN, $K3S_TOKEN" in out


def test_bad_command_lines(t):
    assert "--nonsense" in refused(t, "server", "--nonsense")
    err = refused(t, "server", "--https-listen-port", "abc")
    assert '"abc"' in err and "--https-listen-port" in err and "allowed is a number" in err, err
    assert "not supported by rancherd: --docker, because" in refused(t, "server", "--docker")
    err = refused(t, "server", "--kube-apiserver-arg", "anonymous-auth=false")
    assert "not supported by rancherd: --kube-apiserver-arg anonymous-auth, because" in err, err
    err = refused(t, "server", "--kube-apiserver-arg", "etcd-compaction-interval=5x")
    assert '"5x"' in err and "duration" in err, err
    assert "--server is required" in refused(t, "agent")
    assert 'no command "nothing"' in refused(t, "nothing", code=2)


def test_bad_settings_files(t):
    s = t.own_server(start=False)
    config = pathlib.Path(s.dir, "config.yaml")
    config.write_text("data-dir: [\n")
    err = refused(t, "server", "--config", str(config))
    assert str(config) in err and "line" in err, err
    config.write_text("disable-agent: true\nhttps-listen-port: x\n")
    err = refused(t, "server", "--config", str(config))
    assert f"{config}:2" in err and "https-listen-port" in err, err


def test_settings_and_their_precedence(t):
    s = t.own_server(start=False, env={"K3S_NODE_NAME": "from-env", "K3S_TOKEN": "k3s", "RANCHERD_TOKEN": "ours"})
    pathlib.Path(s.dir, "config.yaml").write_text('nonsense: 1\nnode-name: "from-file"\nservice-cidr: 10.99.0.0/16\ntls-san:\n- a.example.com\n')
    drop = pathlib.Path(s.dir, "config.yaml.d")
    drop.mkdir()
    (drop / "10.yaml").write_text("tls-san+: [b.example.com]\ncluster-dns: 10.99.0.10\n")
    s.start()
    assert "nonsense" in s.log_now() and f"{s.dir}/config.yaml:1" in s.log_now(), s.log_now()
    same(t.api.ok("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"], "10.99.0.1")
    text = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}"], input=b"", capture_output=True).stdout
    cert = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=text, capture_output=True).stdout.decode()
    for name in ("a.example.com", "b.example.com", "kubernetes.default.svc.cluster.local", "10.99.0.1", "127.0.0.1", "from-env"):
        assert name in cert, (name, cert)
    assert pathlib.Path(s.dir, "data/server/token").read_text().strip().endswith("::server:ours")


def test_a_taken_port_is_named(t):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        s = t.own_server(start=False, port=taken.getsockname()[1])
        s.spawn()
        same(s.process.wait(20), 1)
        assert "address already in use" in s.log_now() and str(s.port) in s.log_now(), s.log_now()


def test_two_servers_never_share_a_data_directory(t):
    s = t.own_server()
    done = subprocess.run([program(), "server", "--disable-agent", "--config", s.dir + "/config.yaml", "--data-dir", s.dir + "/data",
                           "--https-listen-port", "0", "--write-kubeconfig", s.dir + "/k2"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done.stderr
    same(t.api.get("/readyz").code, 200)


def test_sigterm_ends_cleanly(t):
    s = t.own_server()
    t.api.ok("POST", t.path("configmaps"), {"metadata": {"name": "a"}})
    with t.api.watch(t.path("configmaps")) as w:
        w.until("ADDED", "a")
        same(s.terminate(), 0)
        for _ in w:  # the stream ends at an event's boundary, not in the middle
            pass
    s.start()
    same(t.api.ok("GET", t.path("configmaps/a"))["metadata"]["name"], "a")


def test_systemd_is_told(t):
    s = t.own_server(start=False)
    path = s.dir + "/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind(path)
        n.settimeout(20)
        s.env["NOTIFY_SOCKET"] = path
        s.spawn()
        told = n.recv(4096).decode()
        assert "READY=1" in told.splitlines(), told


def test_files_and_modes(t):
    s = t.own_server("--write-kubeconfig-mode", "0644")
    same(stat.S_IMODE(os.stat(s.dir + "/kubeconfig").st_mode), 0o644)
    data = pathlib.Path(s.dir, "data/server")
    same((data / "node-token").read_text(), (data / "token").read_text())
    assert re.match(r"K10[0-9a-f]{64}::server:[0-9a-f]{32}\n$", (data / "token").read_text()), (data / "token").read_text()
    same(stat.S_IMODE((data / "db").stat().st_mode) & 0o077, 0)


class Writer(threading.Thread):
    """Creates secrets without end and remembers which the server acknowledged."""

    def __init__(self, server, ns, number, stop):
        super().__init__(daemon=True)
        self.server, self.ns, self.number, self.stop, self.acknowledged = server, ns, number, stop, {}

    def run(self):
        i, client = 0, self.server.client(timeout=5)
        while not self.stop.is_set():
            i += 1
            name = f"w{self.number}-{i}"
            try:
                a = client.post(f"/api/v1/namespaces/{self.ns}/secrets", {"metadata": {"name": name}})
                if a.code == 201:
                    self.acknowledged[name] = a.json["metadata"]["uid"]
            except OSError:
                self.stop.wait(0.02)
            except Exception:  # an answer cut in the middle
                pass
        client.close()


def test_kill_9_loses_nothing(t):
    """Twenty kills at random moments under load: every acknowledged object is there again, with its uid."""
    s, stop = t.own_server(), threading.Event()
    writers = [Writer(s, t.ns, n, stop) for n in range(4)]
    for w in writers:
        w.start()
    t.after(stop.set)
    random.seed(int.from_bytes(os.urandom(4), "big"))
    for _ in range(20):
        time.sleep(random.uniform(0.02, 0.4))  # the moment is what is tried here
        s.process.send_signal(signal.SIGKILL)
        s.process.wait()
        s.start()
    stop.set()
    for w in writers:
        w.join()
    acknowledged = {k: v for w in writers for k, v in w.acknowledged.items()}
    stored = {o["metadata"]["name"]: o["metadata"]["uid"] for o in t.api.ok("GET", t.path("secrets"))["items"]}
    lost = [n for n, uid in acknowledged.items() if stored.get(n) != uid]
    assert not lost, f"{len(lost)} of {len(acknowledged)} lost: {lost[:5]}"
    assert len(acknowledged) > 200, f"only {len(acknowledged)} were written"


def test_many_clients_at_once(t):
    def one(i):
        c = t.server.client()
        try:
            for j in range(20):
                c.ok("POST", t.path("configmaps"), {"metadata": {"name": f"m{i}-{j}"}})
                c.ok("GET", t.path(f"configmaps/m{i}-{j}"))
            return 20
        finally:
            c.close()
    t.ns
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        same(sum(pool.map(one, range(16))), 320)
    same(len([o for o in t.api.ok("GET", t.path("configmaps"))["items"] if o["metadata"]["name"][0] == "m"]), 320)


def test_descriptors_do_not_leak(t):
    s = t.own_server()
    count = lambda: len(os.listdir(f"/proc/{s.process.pid}/fd"))
    t.api.get("/version")
    before = count()
    for _ in range(50):
        c = s.client()
        c.get("/version")
        with c.watch("/api/v1/namespaces"):
            pass
        c.close()
    wait_for("the connections are closed", lambda: count() <= before + 2, 10)
