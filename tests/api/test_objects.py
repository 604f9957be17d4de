"""What an object goes through: names, conflicts, errors, finalizers, dry runs, field validation, subresources."""
from tests.api.manifests import POD, SELECTOR, TEMPLATE
from tests.harness.case import same
from tests.harness.client import APPLY, JSON_PATCH, MERGE, STRATEGIC
from tests.harness.server import wait_for

PAUSED = dict(POD, nodeSelector={"no": "node"})


def status_of(answer, code, reason, *words):
    s = answer.json
    same((answer.code, s["kind"], s["apiVersion"], s["status"], s["code"], s["reason"]), (code, "Status", "v1", "Failure", code, reason), s.get("message"))
    for w in words:
        assert w in s["message"], f"{w!r} not in {s['message']!r}"
    return s


def config_map(name, **more):
    return {"metadata": {"name": name, **more}, "data": {"k": "v"}}


def test_errors_are_status_objects(t):
    maps = t.path("configmaps")
    t.api.ok("POST", maps, config_map("a"))
    same(status_of(t.api.get(maps + "/none"), 404, "NotFound", 'configmaps "none" not found')["details"], {"name": "none", "kind": "configmaps"})
    status_of(t.api.post(maps, config_map("a")), 409, "AlreadyExists", 'configmaps "a" already exists')
    s = status_of(t.api.post(maps, config_map("Bad_Name")), 422, "Invalid", 'ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name"')
    same([(c["reason"], c["field"]) for c in s["details"]["causes"]], [("FieldValueInvalid", "metadata.name")])
    status_of(t.api.post(maps, {"metadata": {}}), 422, "Invalid", "name or generateName is required")
    status_of(t.api.post(maps, "{not json"), 400, "BadRequest")
    status_of(t.api.post(maps, config_map("b"), type="text/plain"), 415, "UnsupportedMediaType")
    status_of(t.api.post(maps, dict(config_map("b"), kind="Secret", apiVersion="v1")), 400, "BadRequest")
    status_of(t.api.post(maps, config_map("b", namespace="elsewhere")), 400, "BadRequest", "does not match the namespace")
    status_of(t.api.get(maps + "?labelSelector=%3D%3D%3D"), 400, "BadRequest")
    status_of(t.api.get(maps + "?fieldSelector=data.k%3Dv"), 400, "BadRequest", '"data.k" is not a known field selector')
    status_of(t.api.post("/api/v1/namespaces/no-such/configmaps", config_map("a")), 404, "NotFound", 'namespaces "no-such" not found')
    status_of(t.api.patch(maps + "/a", [{"op": "test", "path": "/data/k", "value": "w"}], JSON_PATCH), 422, "Invalid")
    same(t.api.get(maps + "/a", headers={"Accept": "image/png"}).code, 406)


def test_a_pod_is_validated(t):
    s = status_of(t.api.post(t.path("pods"), {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "Up"}]}}), 422, "Invalid")
    fields = {c["field"] for c in s["details"]["causes"]}
    assert {"spec.containers[0].name", "spec.containers[0].image"} <= fields, fields
    status_of(t.api.post(t.path("pods"), {"metadata": {"name": "p"}, "spec": {"containers": []}}), 422, "Invalid", "spec.containers: Required value")
    bad = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"other": "y"}}, "template": TEMPLATE}}
    status_of(t.api.post(t.path("apps/v1/deployments"), bad), 422, "Invalid", "`selector` does not match template `labels`")


def test_optimistic_concurrency(t):
    one = t.path("configmaps") + "/a"
    first = t.api.ok("POST", t.path("configmaps"), config_map("a"))
    second = t.api.ok("PUT", one, dict(first, data={"k": "2"}))
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    status_of(t.api.put(one, dict(first, data={"k": "3"})), 409, "Conflict", "the object has been modified; please apply your changes to the latest version")
    status_of(t.api.patch(one, {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "3"}}), 409, "Conflict")
    status_of(t.api.put(one, dict(config_map("a", uid="00000000-0000-0000-0000-000000000000"))), 409, "Conflict")
    same(t.api.ok("PUT", one, second)["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"], "a write that changes nothing")
    status_of(t.api.delete(one, {"preconditions": {"resourceVersion": "1"}}), 409, "Conflict")
    status_of(t.api.put(t.path("configmaps/none"), config_map("none")), 404, "NotFound")
    status_of(t.api.put(one, config_map("b")), 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")


def test_generated_names(t):
    made = [t.api.ok("POST", t.path("configmaps"), {"metadata": {"generateName": "gen-"}})["metadata"]["name"] for _ in range(5)]
    same(len(set(made)), 5)
    assert all(n.startswith("gen-") and len(n) == 9 for n in made), made


def test_finalizers_hold_an_object(t):
    one = t.path("configmaps") + "/a"
    made = t.api.ok("POST", t.path("configmaps"), config_map("a", finalizers=["example.com/hold"]))
    held = t.api.ok("DELETE", one)
    assert held["metadata"]["deletionTimestamp"], held
    status_of(t.api.post(t.path("configmaps"), config_map("a")), 409, "AlreadyExists", "object is being deleted")
    status_of(t.api.patch(one, {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}), 422, "Invalid")
    with t.api.watch(t.path("configmaps"), resourceVersion=made["metadata"]["resourceVersion"]) as w:
        t.api.ok("PATCH", one, {"metadata": {"finalizers": None}})
        w.until("MODIFIED", "a")
        w.until("DELETED", "a")
    same(t.api.get(one).code, 404)


def replica_set(replicas):
    return {"metadata": {"name": "r"}, "spec": {"replicas": replicas, "selector": SELECTOR, "template": {**TEMPLATE, "spec": PAUSED}}}


def test_propagation(t):
    sets, pods = t.path("apps/v1/replicasets"), t.path("pods")
    count = lambda: len(t.api.ok("GET", pods)["items"])
    for policy in ("Background", "Foreground", "Orphan"):
        t.api.ok("POST", sets, replica_set(2))
        wait_for(f"{policy}: 2 pods", lambda: count() == 2)
        t.api.ok("DELETE", sets + "/r", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy})
        wait_for(f"{policy}: the set is gone", lambda: t.api.get(sets + "/r").code == 404)
        if policy != "Orphan":
            wait_for(f"{policy}: its pods are gone", lambda: count() == 0)
    same(count(), 2, "orphans")
    assert all(not p["metadata"].get("ownerReferences") for p in t.api.ok("GET", pods)["items"])


def test_dry_run_stores_nothing(t):
    maps = t.path("configmaps")
    done = t.api.ok("POST", maps, config_map("a"), dryRun="All")
    assert done["metadata"]["uid"]
    same(t.api.get(maps + "/a").code, 404)
    kept = t.api.ok("POST", maps, config_map("a"))
    same(t.api.ok("PATCH", maps + "/a", {"data": {"k": "2"}}, dryRun="All")["data"]["k"], "2")
    t.api.ok("DELETE", maps + "/a", dryRun="All")
    same(t.api.ok("GET", maps + "/a"), kept)
    same(t.api.post(maps, config_map("b"), dryRun="Some").code, 422)


def test_field_validation(t):
    maps, body = t.path("configmaps"), '{"metadata":{"name":"%s","labls":{}},"data":{"k":"1","k":"2"},"dat":1}'
    s = status_of(t.api.post(maps, body % "strict", fieldValidation="Strict"), 400, "BadRequest", "strict decoding error")
    for word in ('unknown field "dat"', 'unknown field "metadata.labls"', 'duplicate field "data.k"'):
        assert word in s["message"], (word, s["message"])
    warned = t.api.post(maps, body % "warn", fieldValidation="Warn")
    same(warned.code, 201)
    warnings = " ".join(warned.headers.get_all("Warning") or [])
    assert '299 - "unknown field \\"dat\\""' in warnings and 'duplicate field \\"data.k\\"' in warnings, warnings
    same(warned.json["data"], {"k": "2"})
    quiet = t.api.post(maps, body % "ignore", fieldValidation="Ignore")
    same((quiet.code, quiet.headers.get_all("Warning")), (201, None))
    assert t.api.post(maps, body % "plain").headers.get_all("Warning"), "Warn is the default"
    same(t.api.post(maps, config_map("x"), fieldValidation="Maybe").code, 422)


def test_status_is_a_subresource(t):
    one = t.path("pods") + "/p"
    t.api.ok("POST", t.path("pods"), {"metadata": {"name": "p"}, "spec": PAUSED, "status": {"phase": "Running"}})
    same(t.api.ok("GET", one)["status"]["phase"], "Pending")
    same(t.api.ok("PATCH", one, {"status": {"message": "no"}}, STRATEGIC)["status"].get("message"), None)
    done = t.api.ok("PATCH", one + "/status", {"metadata": {"labels": {"l": "1"}}, "spec": {"nodeName": "n"}, "status": {"message": "yes"}}, STRATEGIC)
    same(done["status"]["message"], "yes")
    assert "nodeName" not in done["spec"]


def test_scale(t):
    one = t.path("apps/v1/deployments") + "/d"
    t.api.ok("POST", t.path("apps/v1/deployments"), {"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}})
    scale = t.api.ok("GET", one + "/scale")
    same((scale["kind"], scale["apiVersion"], scale["spec"].get("replicas", 0), scale["status"]["selector"]), ("Scale", "autoscaling/v1", 0, "app=x"))
    def put():  # the deployment's controller writes at the same time
        scale = t.api.ok("GET", one + "/scale")
        scale["spec"]["replicas"] = 3
        return t.api.put(one + "/scale", scale)
    same(wait_for("scale without a conflict", lambda: (a := put()).code == 200 and a).json["spec"]["replicas"], 3)
    same(t.api.ok("PATCH", one + "/scale", {"spec": {"replicas": 1}}, MERGE)["spec"]["replicas"], 1)
    same(t.api.ok("GET", one)["spec"]["replicas"], 1)


def test_delete_collection(t):
    maps = t.path("configmaps")
    for i in range(6):
        t.api.ok("POST", maps, config_map(f"c{i}", labels={"half": str(i % 2)}))
    t.api.ok("DELETE", maps + "?labelSelector=half%3D1")
    left = [o["metadata"]["name"] for o in t.api.ok("GET", maps)["items"] if o["metadata"]["name"][0] == "c"]
    same(left, ["c0", "c2", "c4"])


def test_strategic_merge_knows_keys(t):
    spec = {"containers": [{"name": "a", "image": "x/a:1"}, {"name": "b", "image": "x/b:1"}], "nodeSelector": {"no": "node"}}
    t.api.ok("POST", t.path("apps/v1/deployments"), {"metadata": {"name": "d"}, "spec": {
        "replicas": 0, "selector": SELECTOR, "template": {"metadata": {"labels": {"app": "x"}}, "spec": spec}}})
    containers = lambda o: {c["name"]: c["image"] for c in o["spec"]["template"]["spec"]["containers"]}
    patch = lambda c: t.api.ok("PATCH", t.path("apps/v1/deployments/d"), {"spec": {"template": {"spec": {"containers": c}}}}, STRATEGIC)
    same(containers(patch([{"name": "b", "image": "x/b:2"}])), {"a": "x/a:1", "b": "x/b:2"})
    same(containers(patch([{"name": "a", "$patch": "delete"}])), {"b": "x/b:2"})


def test_server_side_apply(t):
    one = t.path("configmaps/a")
    apply = lambda data, who, **q: t.api.patch(one, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}, APPLY, fieldManager=who, **q)
    same(apply({"k": "1", "l": "1"}, "one").code, 201)
    s = status_of(apply({"k": "2"}, "two"), 409, "Conflict", 'conflict with "one": .data.k')
    same([(c["reason"], c["field"]) for c in s["details"]["causes"]], [("FieldManagerConflict", ".data.k")])
    same(apply({"k": "2"}, "two", force="true").json["data"], {"k": "2", "l": "1"})
    same(apply({}, "one").json["data"], {"k": "2"}, "a field nobody applies any more")
    status_of(t.api.patch(one, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, APPLY), 422, "Invalid", "fieldManager")
    same({(m["manager"], m["operation"]) for m in t.api.ok("GET", one)["metadata"]["managedFields"]} - {("one", "Apply")}, {("two", "Apply")})


def test_namespace_ends_with_its_content(t):
    t.api.ok("POST", t.path("configmaps"), config_map("a", finalizers=["example.com/hold"]))
    t.api.ok("DELETE", f"/api/v1/namespaces/{t.ns}")
    status_of(t.api.post(t.path("configmaps"), config_map("b")), 403, "Forbidden", "because it is being terminated")
    same(t.api.ok("GET", f"/api/v1/namespaces/{t.ns}")["status"]["phase"], "Terminating")
    wait_for("the object is marked", lambda: t.api.get(t.path("configmaps/a")).json["metadata"].get("deletionTimestamp"))
    t.api.ok("PATCH", t.path("configmaps/a"), {"metadata": {"finalizers": None}})
    wait_for("the namespace is gone", lambda: t.api.get(f"/api/v1/namespaces/{t.ns}").code == 404, 60)


def test_what_exists_from_the_start(t):
    names = {o["metadata"]["name"] for o in t.api.ok("GET", "/api/v1/namespaces")["items"]}
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} <= names, names
    same(t.api.ok("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"], "10.43.0.1")
    assert t.api.ok("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")["endpoints"]
    wait_for("kube-root-ca.crt", lambda: t.api.get(t.path("configmaps/kube-root-ca.crt")).code == 200)
    wait_for("default service account", lambda: t.api.get(t.path("serviceaccounts/default")).code == 200)
