"""The ways of kubectl that need no node."""
import json

from tests.harness.case import same
from tests.harness.server import wait_for

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: %s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {no: node}
      containers: [{name: web, image: "example.com/web:%s", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def k(t, *args, **kw):
    return t.kubectl("-n", t.ns, *args, **kw)


def images(t):
    return k(t, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}").out.split()


def settled(t, tag):
    wait_for(f"two pods of {tag}", lambda: images(t) == [f"example.com/web:{tag}"] * 2)


def test_apply_diff_edit_delete(t):
    out = k(t, "apply", "-f", "-", input=MANIFEST % ("red", 1)).out
    same(out.count(" created"), 3)
    same(k(t, "apply", "-f", "-", input=MANIFEST % ("red", 1)).out.count(" unchanged"), 3)
    diff = k(t, "diff", "-f", "-", input=MANIFEST % ("blue", 1), code=1).out
    assert "-  colour: red" in diff and "+  colour: blue" in diff, diff
    same(k(t, "apply", "-f", "-", input=MANIFEST % ("blue", 1)).out.count(" configured"), 1)
    same(k(t, "get", "cm", "settings", "-o", "jsonpath={.data.colour}").out, "blue")
    k(t, "patch", "cm", "settings", "-p", '{"data":{"more":"1"}}')
    k(t, "apply", "--server-side", "--field-manager=other", "-f", "-", input="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {own: a}\n")
    same(json.loads(k(t, "get", "cm", "settings", "-o", "json").out)["data"], {"more": "1", "own": "a"},
         "kubectl hands what it applied before to the new manager")
    same(k(t, "delete", "-f", "-", input=MANIFEST % ("blue", 1)).out.count(" deleted"), 3)


def test_rollout_scale_undo(t):
    k(t, "apply", "-f", "-", input=MANIFEST % ("red", 1))
    settled(t, 1)
    k(t, "set", "image", "deployment/web", "web=example.com/web:2")
    k(t, "annotate", "deployment/web", "kubernetes.io/change-cause=second")
    wait_for("a new replica set", lambda: len(k(t, "get", "rs", "-o", "name").out.split()) == 2)
    history = k(t, "rollout", "history", "deployment/web").out
    assert "1  " in history and "2  " in history, history
    k(t, "rollout", "undo", "deployment/web")
    wait_for("the old image", lambda: k(t, "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}").out == "example.com/web:1")
    k(t, "scale", "deployment/web", "--replicas=0")
    wait_for("no pods", lambda: images(t) == [])
    k(t, "rollout", "pause", "deployment/web")
    assert k(t, "get", "deploy", "web", "-o", "jsonpath={.spec.paused}").out == "true"
    k(t, "rollout", "resume", "deployment/web")
    k(t, "rollout", "status", "deployment/web", "--timeout=20s")


def test_label_annotate_create_expose(t):
    k(t, "create", "configmap", "c", "--from-literal=a=1")
    k(t, "label", "cm", "c", "x=y")
    same(k(t, "get", "cm", "-l", "x=y", "-o", "name").out.strip(), "configmap/c")
    k(t, "label", "cm", "c", "x-")
    k(t, "create", "secret", "generic", "s", "--from-literal=a=1")
    k(t, "create", "deployment", "d", "--image=example.com/d", "--replicas=0")
    k(t, "expose", "deployment", "d", "--port=80")
    k(t, "autoscale", "deployment", "d", "--max=3")
    k(t, "create", "job", "j", "--image=example.com/j")
    k(t, "create", "cronjob", "cj", "--image=example.com/j", "--schedule=0 0 1 1 *")
    k(t, "create", "ingress", "i", "--rule=example.com/*=d:80")
    k(t, "create", "quota", "q", "--hard=pods=9")
    k(t, "create", "serviceaccount", "sa")
    k(t, "create", "role", "r", "--verb=get", "--resource=pods")
    k(t, "create", "rolebinding", "rb", "--role=r", f"--serviceaccount={t.ns}:sa")
    out = k(t, "get", "all").out
    for word in ("service/d", "deployment.apps/d", "horizontalpodautoscaler.autoscaling/d", "job.batch/j", "cronjob.batch/cj"):
        assert word in out, (word, out)


def test_describe(t):
    k(t, "apply", "-f", "-", input=MANIFEST % ("red", 1))
    settled(t, 1)
    for what, word in (("deployment/web", "RollingUpdate"), ("service/web", "Selector:"), ("cm/settings", "colour"), ("pods", "Node-Selectors:"),
                       ("rs", "Controlled By:")):
        out = k(t, "describe", what).out
        assert word in out, (what, out)
    wait_for("the scheduler says why it waits", lambda: "FailedScheduling" in k(t, "get", "events").out)


def test_wrong_fields_are_refused(t):
    bad = MANIFEST.replace("colour", "colour").replace("replicas: 2", "replics: 2") % ("red", 1)
    err = k(t, "apply", "-f", "-", input=bad, code=1).err
    assert "replics" in err, err
    err = k(t, "create", "-f", "-", input="apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n", code=1).err
    assert 'no matches for kind "Nothing" in version "v1"' in err, err


def test_get_in_every_form(t):
    k(t, "apply", "-f", "-", input=MANIFEST % ("red", 1))
    settled(t, 1)
    head = k(t, "get", "pods", "-o", "wide").out.splitlines()[0].split()
    same(head, ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"])
    same(k(t, "get", "deploy", "web", "--no-headers").out.split()[:4], ["web", "0/2", "2", "0"])
    assert "kind: Deployment" in k(t, "get", "deploy", "web", "-o", "yaml").out
    same(k(t, "get", "pods", "--sort-by=.metadata.name", "-o", "custom-columns=N:.metadata.labels.app", "--no-headers").out.split(), ["web", "web"])
    assert "t-kubectl" in k(t, "get", "pods", "-A").out
    same(k(t, "get", "cm/none", code=1).err.strip(), 'Error from server (NotFound): configmaps "none" not found')


def test_wait(t):
    k(t, "create", "configmap", "c")
    k(t, "delete", "cm", "c", "--wait")
    k(t, "create", "namespace", t.ns + "-2")
    k(t, "delete", "namespace", t.ns + "-2", "--timeout=30s")
