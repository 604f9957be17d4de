"""A user's day: deployments, services, rollouts, restarts of the program, a second node."""
import json
import urllib.request

from tests.e2e.lab import SecondNode, k, pod, run_pod, until
from tests.harness.case import same
from tests.harness.server import wait_for

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {key: word}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: registry.test/web:1
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
        env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}]
        volumeMounts: [{name: s, mountPath: /secret}]
      volumes: [{name: s, secret: {secretName: secret}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def page(address):
    return urllib.request.urlopen(f"http://{address}/", timeout=5).read().decode()


def pods(t):
    return t.api.ok("GET", t.path("pods") + "?labelSelector=app%3Dweb")["items"]


def test_the_day_of_a_user(t):
    k(t, "apply", "-f", "-", input=MANIFEST)
    k(t, "rollout", "status", "deployment/web", "--timeout=60s")
    same(k(t, "get", "deploy", "web", "--no-headers").out.split()[1], "3/3")
    for p in pods(t):
        same(page(p["status"]["podIP"]), "one\n")
    assert '"GET / HTTP' in k(t, "logs", "deployment/web").out
    same(k(t, "exec", "deployment/web", "--", "sh", "-c", "echo $GREETING; cat /secret/key").out, "hello\nword")
    service = t.api.ok("GET", t.path("services/web"))["spec"]["clusterIP"]
    wait_for("the service answers", lambda: page(service) == "one\n")
    k(t, "set", "image", "deployment/web", "web=registry.test/web:2")
    k(t, "rollout", "status", "deployment/web", "--timeout=60s")
    wait_for("the second version answers", lambda: page(service) == "two\n")
    k(t, "rollout", "undo", "deployment/web")
    k(t, "rollout", "status", "deployment/web", "--timeout=60s")
    wait_for("the first version answers again", lambda: page(service) == "one\n")
    k(t, "scale", "deployment/web", "--replicas=1")
    wait_for("one pod", lambda: len(pods(t)) == 1)
    k(t, "delete", "-f", "-", input=MANIFEST)
    wait_for("no pods", lambda: not pods(t))


def test_an_image_of_docker_kind(t):
    same(page(run_pod(t, pod("p", image="registry.test/web:docker"))["status"]["podIP"]), "docker\n")


def test_pods_reach_each_other_and_the_api(t):
    web = run_pod(t, pod("web", image="registry.test/web:1"))["status"]["podIP"]
    run_pod(t, pod("p", "sleep", "1000"))
    same(k(t, "exec", "p", "--", "wget", "-qO-", f"http://{web}/").out, "one\n")
    out = k(t, "exec", "p", "--", "sh", "-c", "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo there").out
    same(out, "there\n")


def starts(t):
    return {p["metadata"]["name"]: (p["status"]["containerStatuses"][0]["containerID"], p["status"]["containerStatuses"][0]["restartCount"]) for p in pods(t)}


def test_containers_outlive_the_program(t):
    k(t, "apply", "-f", "-", input=MANIFEST)
    k(t, "rollout", "status", "deployment/web", "--timeout=60s")
    before, address = starts(t), pods(t)[0]["status"]["podIP"]
    for end in (t.server.kill, t.server.terminate):
        end()
        t.api.close()
        same(page(address), "one\n", "while the program is away")
        t.server.start()
        until(t, pods(t)[0]["metadata"]["name"])
        same(starts(t), before)
        same(k(t, "exec", "deployment/web", "--", "echo", "again").out, "again\n")


def test_a_second_node(t):
    node = SecondNode(t.server)
    t.after(lambda: t.api.delete("/api/v1/nodes/n2"))  # when its agent has ended: it would register again
    t.after(node.remove)
    ready = lambda: [line.split()[1] for line in t.kubectl("get", "nodes", "--no-headers").out.splitlines() if line.startswith("n2")] == ["Ready"]
    try:
        wait_for("the second node is Ready", ready, 30)
    except AssertionError as e:
        raise AssertionError(f"{e}\n" + open(node.dir + "/log").read()[-3000:]) from None
    p = run_pod(t, pod("far", image="registry.test/busybox:1", container={"command": ["sh", "-c", "echo far; exec httpd -f -p 80 -h /etc"]}, nodeName="n2"))
    same(p["status"]["hostIP"], "10.200.0.2")
    same(k(t, "logs", "far").out, "far\n")
    same(k(t, "exec", "far", "--", "hostname").out, "far\n")
    run_pod(t, pod("near", "sleep", "1000", nodeName="n1"))
    assert "root" in k(t, "exec", "near", "--", "wget", "-qO-", f"http://{p['status']['podIP']}/passwd").out
    assert json.loads(t.kubectl("get", "node", "n2", "-o", "json").out)["status"]["conditions"]
