"""One pod at a time: what runs in it, what it sees, what kubectl does with it."""
from tests.e2e.lab import k, pod, run_pod, until
from tests.harness.case import same
from tests.harness.server import wait_for


def test_hello(t):
    run_pod(t, pod("p", "sh", "-c", "echo hello; exec sleep 1000"))
    wait_for("the log", lambda: k(t, "logs", "p").out == "hello\n")
    row = k(t, "get", "pod", "p", "-o", "wide").out.splitlines()[1].split()
    same((row[1], row[2], row[6]), ("1/1", "Running", "n1"))
    k(t, "delete", "pod", "p")
    same(t.api.get(t.path("pods/p")).code, 404)


def test_exec(t):
    run_pod(t, pod("p", "sleep", "1000"))
    same(k(t, "exec", "p", "--", "echo", "in there").out, "in there\n")
    same(k(t, "exec", "-i", "p", "--", "cat", input="through\n").out, "through\n")
    same(k(t, "exec", "p", "--", "sh", "-c", "echo no >&2; exit 7", code=7).err.splitlines()[0], "no")


def test_env_and_volumes(t):
    t.api.ok("POST", t.path("configmaps"), {"metadata": {"name": "m"}, "data": {"colour": "red", "file": "text\n"}})
    t.api.ok("POST", t.path("secrets"), {"metadata": {"name": "s"}, "stringData": {"pass": "word"}})
    env = [{"name": "PLAIN", "value": "a"}, {"name": "MORE", "value": "$(PLAIN)b"},
           {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "colour"}}},
           {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pass"}}},
           {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    mounts = [{"name": n, "mountPath": "/v/" + n} for n in ("m", "s", "e", "mem", "d")]
    volumes = [{"name": "m", "configMap": {"name": "m"}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}}, {"name": "e", "emptyDir": {}},
               {"name": "mem", "emptyDir": {"medium": "Memory"}},
               {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]
    m = pod("p", "sleep", "1000", container={"env": env, "envFrom": [{"prefix": "X_", "configMapRef": {"name": "m"}}], "volumeMounts": mounts}, volumes=volumes)
    m["metadata"]["labels"] = {"app": "x"}
    p = run_pod(t, m)
    sh = lambda c: k(t, "exec", "p", "--", "sh", "-c", c).out
    same(sh("echo $PLAIN $MORE $COLOUR $PASS $X_colour $IP"), f"a ab red word red {p['status']['podIP']}\n")
    same(sh("cat /v/m/file /v/s/pass /v/d/labels"), 'text\nwordapp="x"')
    assert "tmpfs" in sh("grep ' /v/mem ' /proc/mounts")
    same(sh("echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT"), "10.43.0.1 443\n")
    assert sh("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace") == t.ns
    assert sh("cat /var/run/secrets/kubernetes.io/serviceaccount/token").count(".") == 2


def test_init_containers_and_completion(t):
    m = pod("p", "cat", "/e/f", restartPolicy="Never", volumes=[{"name": "e", "emptyDir": {}}],
            container={"volumeMounts": [{"name": "e", "mountPath": "/e"}]},
            initContainers=[{"name": "i", "image": "registry.test/busybox:1", "command": ["sh", "-c", "echo made > /e/f"],
                             "volumeMounts": [{"name": "e", "mountPath": "/e"}]}])
    p = run_pod(t, m, "Succeeded")
    same(k(t, "logs", "p").out, "made\n")
    same(p["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0)
    same(p["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed")


def test_a_crash_is_told_and_repeated(t):
    t.api.ok("POST", t.path("pods"), pod("p", "sh", "-c", "echo dying; exit 3"))
    status = lambda: t.api.ok("GET", t.path("pods/p"))["status"].get("containerStatuses", [{}])[0]
    s = wait_for("CrashLoopBackOff", lambda: (c := status()).get("restartCount", 0) >= 1 and
                 c["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" and c, 60)
    same(s["lastState"]["terminated"]["exitCode"], 3)
    same(k(t, "logs", "p", "--previous").out, "dying\n")


def test_failed_pods_stay(t):
    p = run_pod(t, pod("p", "sh", "-c", "exit 4", restartPolicy="Never"), "Failed")
    same(p["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4)


def test_an_image_that_does_not_exist(t):
    t.api.ok("POST", t.path("pods"), pod("p", image="registry.test/nothing:1"))
    reason = lambda: t.api.ok("GET", t.path("pods/p"))["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
    wait_for("an image error", lambda: reason() in ("ErrImagePull", "ImagePullBackOff"))
    assert "Failed to pull image" in k(t, "get", "events").out


def test_probes(t):
    m = pod("p", "sh", "-c", "sleep 1; touch /ok; exec sleep 1000",
            container={"readinessProbe": {"exec": {"command": ["cat", "/ok"]}, "periodSeconds": 1}})
    t.api.ok("POST", t.path("pods"), m)
    until(t, "p")
    k(t, "exec", "p", "--", "rm", "/ok")
    ready = lambda: k(t, "get", "pod", "p", "-o", "jsonpath={.status.containerStatuses[0].ready}").out
    wait_for("not ready any more", lambda: ready() == "false")
    m = pod("q", "sleep", "1000", container={"livenessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}})
    t.api.ok("POST", t.path("pods"), m)
    wait_for("a restart", lambda: k(t, "get", "pod", "q", "-o", "jsonpath={.status.containerStatuses[0].restartCount}").out not in ("", "0"), 30)


def test_limits_and_qos(t):
    p = run_pod(t, pod("p", "sleep", "1000", container={"resources": {"limits": {"memory": "32Mi", "cpu": "500m"}}}))
    same(p["status"]["qosClass"], "Guaranteed")
    out = k(t, "exec", "p", "--", "sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null").out
    same(out.split(), [str(32 << 20)])


def test_grace(t):
    run_pod(t, pod("p", "sh", "-c", "trap 'echo term; exit 0' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=20))
    with t.api.watch(t.path("pods"), timeout=15) as w:
        t.api.ok("DELETE", t.path("pods/p"))
        w.until("DELETED", "p")  # long before the 20 seconds are over


def test_cp_and_port_forward(t):
    import pathlib
    import socket
    import subprocess
    import urllib.request
    run_pod(t, pod("p", image="registry.test/web:1"))
    f = pathlib.Path(t.server.dir, "sent")
    f.write_text("sent\n")
    k(t, "cp", str(f), "p:/srv/sent")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    fwd = subprocess.Popen(["kubectl", "--kubeconfig", t.server.kubeconfig().path, "-n", t.ns, "port-forward", "p", f"{port}:80"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    t.after(fwd.stdout.close)
    t.after(fwd.wait)
    t.after(fwd.kill)
    assert "Forwarding from" in fwd.stdout.readline()
    for path, text in (("", "one\n"), ("sent", "sent\n")):
        same(urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read().decode(), text)


def test_host_network_and_host_port(t):
    import urllib.request
    p = run_pod(t, pod("p", "httpd", "-f", "-p", "8765", hostNetwork=True))
    same(p["status"]["podIP"], "10.200.0.1")
    run_pod(t, pod("q", image="registry.test/web:1", container={"ports": [{"containerPort": 80, "hostPort": 8766}]}))
    same(urllib.request.urlopen("http://10.200.0.1:8766/", timeout=10).read(), b"one\n")
