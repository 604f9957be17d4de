"""Every resource of the facts: created from the smallest manifest, read, listed, shown as a table, patched in each way, watched, deleted."""
import json
import pathlib

from tests.api.manifests import NAMES, OBJECTS, OTHERS, REVIEWS, manifest
from tests.api.test_discovery import RESOURCES
from tests.harness.case import same
from tests.harness.client import APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE
from tests.harness.server import ROOT, wait_for

COLUMNS = {(c["group"], c["kind"]): c["columns"] for c in
           map(json.loads, pathlib.Path(ROOT, "embed/facts/columns.jsonl").read_text().splitlines())}

OWNED_BY_NOBODY = {"serviceaccounts", "deviceclasses", "certificatesigningrequests"}  # of their smallest manifest no field is owned
PROTECTED = {"namespaces", "persistentvolumes", "persistentvolumeclaims", "volumeattributesclasses"}  # a finalizer holds them for a while


def key_of(r):
    return f"{r['group']}/{r['version']}/{r['resource']}"


def api_version(r):
    return r["group"] + "/" + r["version"] if r["group"] else r["version"]


def collection(t, r):
    base = "/apis/" + api_version(r) if r["group"] else "/api/v1"
    return base + (f"/namespaces/{t.ns}/" if r["namespaced"] else "/") + r["resource"]


def each(t, check):
    """Runs check for every row and collects what fails, so that one kind does not hide the next."""
    failures = []
    for r in RESOURCES:
        if key_of(r) in OBJECTS:
            try:
                check(r)
            except Exception as e:
                failures.append(f"{key_of(r)}: {type(e).__name__} {e}")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(OBJECTS)}:\n" + "\n".join(failures))


def test_the_manifests_cover_every_resource(t):
    same({key_of(r) for r in RESOURCES}, set(OBJECTS) | set(REVIEWS) | OTHERS)


def life_of(t, r):
    """The whole life of one object; what each step must show."""
    where, name = collection(t, r), NAMES.get(key_of(r), "x-" + r["resource"])
    one = f"{where}/{name}"
    obj = dict(manifest(key_of(r), t.ns), apiVersion=api_version(r), kind=r["kind"], metadata={"name": name})
    rv = t.api.ok("GET", where)["metadata"]["resourceVersion"]
    made = t.api.ok("POST", where, obj, code=201)
    try:
        same((made["apiVersion"], made["kind"], made["metadata"]["name"]), (api_version(r), r["kind"], name))
        for field in ("uid", "resourceVersion", "creationTimestamp") + (() if r["resource"] in OWNED_BY_NOBODY else ("managedFields",)):
            assert made["metadata"].get(field), f"created without {field}"
        got = t.api.ok("GET", one)
        same(got["metadata"]["uid"], made["metadata"]["uid"])
        listed = t.api.ok("GET", where)
        same((listed["kind"], listed["apiVersion"]), (r["kind"] + "List", api_version(r)))
        assert name in [o["metadata"]["name"] for o in listed["items"]], "not listed"
        table(t, r, one)
        patches(t, r, one)
        with t.api.watch(where, resourceVersion=rv, timeoutSeconds=9) as w:
            w.until("ADDED", name)
            w.until("MODIFIED", name)
    finally:
        gone = t.api.delete(one + "?propagationPolicy=Background&gracePeriodSeconds=0")
    assert gone.code in (200, 202), f"delete: {gone.code} {gone.text}"
    if r["resource"] not in PROTECTED:
        with t.api.watch(where, resourceVersion=rv, timeoutSeconds=9) as w:
            w.until("DELETED", name)
        same(t.api.get(one).code, 404)


def table(t, r, one):
    shown = t.api.ok("GET", one, headers={"Accept": TABLE})
    same(shown["kind"], "Table")
    same(len(shown["rows"]), 1)
    if r["resource"] != "ipaddresses":  # upstream sends a cell more than columns
        same(len(shown["rows"][0]["cells"]), len(shown["columnDefinitions"]), "cells")
    wanted = [c["name"] for c in COLUMNS.get((r["group"], r["kind"]), [{"name": "Name"}, {"name": "Created At"}])]
    same([c["name"] for c in shown["columnDefinitions"]], wanted, "columns")


def patches(t, r, one):
    labels = lambda o: {k: v for k, v in o["metadata"].get("labels", {}).items() if k.startswith("p-")}
    same(labels(t.api.ok("PATCH", one, {"metadata": {"labels": {"p-m": "1"}}}, MERGE)), {"p-m": "1"}, "merge")
    same(labels(t.api.ok("PATCH", one, {"metadata": {"labels": {"p-s": "1"}}}, STRATEGIC)), {"p-m": "1", "p-s": "1"}, "strategic")
    same(labels(t.api.ok("PATCH", one, [{"op": "remove", "path": "/metadata/labels/p-m"}], JSON_PATCH)), {"p-s": "1"}, "json")
    apply = {"apiVersion": api_version(r), "kind": r["kind"], "metadata": {"name": one.split("/")[-1], "labels": {"p-a": "1"}}}
    done = t.api.ok("PATCH", one, apply, APPLY, fieldManager="tester")
    same(labels(done), {"p-s": "1", "p-a": "1"}, "apply")
    assert any(m["manager"] == "tester" and m["operation"] == "Apply" for m in done["metadata"]["managedFields"]), "no managedFields entry"
    current = t.api.ok("GET", one)
    current["metadata"].setdefault("annotations", {})["put"] = "yes"
    same(t.api.ok("PUT", one, current)["metadata"]["annotations"]["put"], "yes", "put")


def test_life_of_every_resource(t):
    each(t, lambda r: life_of(t, r))


def test_reviews(t):
    for r in RESOURCES:
        if key_of(r) in REVIEWS:
            done = t.api.ok("POST", collection(t, r), dict(manifest(key_of(r), t.ns), kind=r["kind"], apiVersion=api_version(r)), code=201)
            assert "status" in done, key_of(r)


def components(t):
    shown = t.api.ok("GET", "/api/v1/componentstatuses")
    same(shown["kind"], "ComponentStatusList")
    for c in shown["items"]:
        same([c["conditions"][0]["type"], len(c["conditions"])], ["Healthy", 1])
    return {c["metadata"]["name"]: (c["conditions"][0]["status"], c["conditions"][0]["message"]) for c in shown["items"]}


def test_componentstatuses(t):
    ok = ("True", "ok")
    wait_for("all parts healthy", lambda: components(t) == {"scheduler": ok, "controller-manager": ok, "etcd-0": ok})
    lines = t.kubectl("get", "cs").out.splitlines()
    same(lines[0].split(), ["NAME", "STATUS", "MESSAGE", "ERROR"])
    same(sorted(line.split() for line in lines[1:]), [["controller-manager", "Healthy", "ok"], ["etcd-0", "Healthy", "ok"], ["scheduler", "Healthy", "ok"]])
    same(t.kubectl("get", "cs", "etcd-0", "--no-headers").out.split(), ["etcd-0", "Healthy", "ok"])
    table = t.api.ok("GET", "/api/v1/componentstatuses", headers={"Accept": TABLE})
    same((table["metadata"], table["rows"][0]["object"]), ({}, {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "scheduler"}}))
    gone = t.api.get("/api/v1/componentstatuses/nope")
    same((gone.code, gone.json["message"]), (404, 'componentstatus "nope" not found'))


def test_componentstatuses_of_parts_that_do_not_run(t):
    t.own_server("--disable-scheduler", "--disable-controller-manager")
    shown = components(t)
    same(shown.pop("etcd-0"), ("True", "ok"))
    same(shown, {"scheduler": ("False", "not run by this server: --disable-scheduler"),
                 "controller-manager": ("False", "not run by this server: --disable-controller-manager")})
    assert "scheduler            Unhealthy   not run" in t.kubectl("get", "cs").out
    same(t.api.get("/readyz").code, 200)  # ready without what it was told not to run


def test_kubectl_get_everything(t):
    """kubectl's own way through discovery, tables and both list forms, for every kind that can be listed."""
    for r in RESOURCES:
        if "list" in r["verbs"]:
            t.kubectl("get", r["resource"] + ("." + r["version"] + "." + r["group"] if r["group"] else ""), "-A" if r["namespaced"] else "--no-headers")
