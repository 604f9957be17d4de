#!/usr/bin/env python3
"""Our figures, beside the reference's from the same run where Go is there (`make bench`).

  bench.py PROGRAM [--n 5000] [--no-peer]

CPU per 1,000 comes from kbench (client-go) against both servers; rates of ours also from h2load, which parses nothing. Memory is PSS.
This machine's speed drifts: read the ratios.
"""
import argparse, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pss_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M)[1]) / 1024


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """One rancherd server without an agent, in a folder of its own."""

    def __init__(self, program):
        self.dir = tempfile.mkdtemp(prefix="rancherd-bench-")
        self.port = free_port()
        self.kubeconfig = f"{self.dir}/kubeconfig"
        began = time.monotonic()
        self.process = subprocess.Popen(
            [program, "server", "--data-dir", f"{self.dir}/data", "--https-listen-port", str(self.port), "--disable-agent",
             "--bind-address", "127.0.0.1", "--write-kubeconfig", self.kubeconfig, "--config", "/dev/null"],
            stdout=open(f"{self.dir}/log", "wb"), stderr=subprocess.STDOUT)
        self.ready_s = self.wait(began)
        self.pid = self.process.pid

    def wait(self, began):
        while time.monotonic() - began < 60:
            if self.process.poll() is not None:
                sys.exit(f"server ended: {open(self.dir + '/log').read()}")
            if b"server ready" in open(f"{self.dir}/log", "rb").read():
                return time.monotonic() - began
            time.sleep(0.002)
        sys.exit("server not ready in 60 s")

    def curl(self, path):
        return subprocess.run(["curl", "-sk", "--max-time", "60", "-H", f"Authorization: Bearer {self.token()}",
                               f"https://127.0.0.1:{self.port}{path}"], capture_output=True, check=True).stdout

    def token(self):
        if not hasattr(self, "_token"):
            env = dict(os.environ, KUBECONFIG=self.kubeconfig)
            run = lambda *a: subprocess.run(["kubectl", *a], env=env, check=True, capture_output=True, text=True).stdout
            run("create", "serviceaccount", "bench", "-n", "kube-system")
            run("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", "--serviceaccount=kube-system:bench")
            self._token = run("create", "token", "bench", "-n", "kube-system").strip()
        return self._token

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


POD = {"apiVersion": "v1", "kind": "Pod",
       "metadata": {"generateName": "raw-", "namespace": "default", "labels": {"app": "raw"}},
       "spec": {"schedulerName": "nobody", "containers": [{"name": "a", "image": "busybox", "command": ["sleep", "1000"],
                                                          "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}]}}


def h2load(server, path, n, body=None, clients=8, streams=8):
    """Requests a second and server CPU per 1,000, by a client that parses nothing, pinned to one core."""
    command = ["taskset", "-c", "0", "h2load", "-n", str(n), "-c", str(clients), "-m", str(streams),
               "-H", f"Authorization: Bearer {server.token()}"]
    if body:
        command += ["-d", body, "-H", "content-type: application/json"]
    before = cpu_s(server.pid)
    out = subprocess.run([*command, f"https://127.0.0.1:{server.port}{path}"], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", out)[1])
    ok = int(re.search(r"status codes: (\d+) 2xx", out)[1])
    if ok != n:
        sys.exit(f"{path}: {ok} of {n} answered 2xx:\n{out}")
    return rate, (cpu_s(server.pid) - before) * 1e6 / n


def raw_rates(server, n):
    rows = {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(POD, f)
        f.flush()
        rows["create pod, raw"] = h2load(server, "/api/v1/namespaces/default/pods", n, f.name)
    name = json.loads(server.curl("/api/v1/namespaces/default/pods?limit=1"))["items"][0]["metadata"]["name"]
    rows["get pod, raw"] = h2load(server, f"/api/v1/namespaces/default/pods/{name}", 4 * n)
    return rows


def kbench(program, kubeconfig, pids, n):
    out = subprocess.run([program, "-kubeconfig", kubeconfig, "-n", str(n), "-c", "16", "-pids", ",".join(map(str, pids))],
                         capture_output=True, text=True, check=True).stdout
    return {row["phase"]: row for row in map(json.loads, filter(None, out.splitlines()))}


def build_kbench():
    target = f"{ROOT}/build/peer/bin/kbench"
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        subprocess.run(["go", "build", "-o", target, "."], cwd=f"{HERE}/kbench", check=True,
                       env=dict(os.environ, GOFLAGS="-mod=mod -buildvcs=false", CGO_ENABLED="0"))
    return target


def peer_run(program, n):
    folder = tempfile.mkdtemp(prefix="rancherd-peer-")
    script = f"{HERE}/peer.sh"
    try:
        subprocess.run([script, "build"], check=True)
        began = time.monotonic()
        subprocess.run([script, "up", folder, str(free_port())], check=True)
        ready = time.monotonic() - began
        pids = [int(p) for p in open(f"{folder}/pids").read().split()]
        idle = sum(map(pss_mb, pids))
        rows = kbench(program, f"{folder}/kubeconfig", pids, n)
        return ready, idle, rows, sum(map(pss_mb, pids))
    finally:
        subprocess.run([script, "down", folder])
        shutil.rmtree(folder, ignore_errors=True)


def line(name, ours, theirs, goal):
    print(f"| {name} | {theirs} | {ours} | {goal} |")


GOALS = {"create_pod": "≤ 600", "get_pod": "≤ 60", "list_all": "", "list_label_1pct": "≤ 0.5 ms each", "patch_merge": "≤ 300",
         "patch_status_strategic": "≤ 300", "apply_ssa": "≤ 300", "watch_fanout_100x200": "≤ 12", "delete_pod": "≤ 300"}


def report(server, idle, raw, ours, after, peer):
    ready, peer_idle, theirs, peer_after = peer or (None, None, {}, None)
    show = lambda v, unit, digits=0: "–" if v is None else f"{v:.{digits}f} {unit}"
    print("\n| | reference | rancherd | goal |\n|---|---|---|---|")
    line("start → /readyz", show(server.ready_s, "s", 2), show(ready, "s", 2), "≤ 0.2 s")
    line("memory idle, control plane (PSS)", show(idle, "MB", 1), show(peer_idle, "MB"), "≤ 40 MB with the node")
    line("memory after the run (PSS)", show(after, "MB", 1), show(peer_after, "MB"), "≤ 48 MB")
    for name, (rate, cpu) in raw.items():
        line(f"{name}: rate; CPU per 1,000", f"{rate:.0f}/s; {cpu:.0f} ms", "–", "≥ 2,000/s" if "create" in name else "≥ 15,000/s")
    for phase, row in ours.items():
        if "server_cpu_ms_per_1000" not in row:
            continue
        other = theirs.get(phase)
        line(f"{phase}: CPU per 1,000; rate", f"{row['server_cpu_ms_per_1000']:.1f} ms; {row['per_sec']:.0f}/s",
             f"{other['server_cpu_ms_per_1000']:.1f} ms; {other['per_sec']:.0f}/s" if other else "–", GOALS.get(phase, ""))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("program")
    ap.add_argument("--n", type=int, default=5000)
    ap.add_argument("--no-peer", action="store_true")
    opt = ap.parse_args()
    for tool in ("h2load", "kubectl", "curl"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is needed (Debian: nghttp2-client, kubernetes-client, curl)")
    server = Server(opt.program)
    try:
        time.sleep(2)  # the start's own garbage goes
        idle = pss_mb(server.pid)
        raw = raw_rates(server, opt.n)
        ours, peer = {}, None
        if shutil.which("go"):
            program = build_kbench()
            ours = kbench(program, server.kubeconfig, [server.pid], opt.n)
            after = pss_mb(server.pid)
            peer = None if opt.no_peer else peer_run(program, opt.n)
        else:
            print("left out: kbench and the reference, because Go is not installed")
            after = pss_mb(server.pid)
        report(server, idle, raw, ours, after, peer)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
