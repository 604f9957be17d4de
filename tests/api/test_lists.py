"""Lists in pieces, selectors, and watches in every form."""
import base64
import json
import re

from tests.harness.case import same
from tests.harness.server import wait_for


def fill(t, n, **labels):
    for i in range(n):
        t.api.ok("POST", t.path("secrets"), {"metadata": {"name": f"s{i:03}", "labels": {"n": str(i % 2), **labels}}})
    return t.path("secrets")


def names(answer):
    return [o["metadata"]["name"] for o in answer["items"]]


def test_pages_are_one_snapshot(t):
    where = fill(t, 25)
    page = t.api.ok("GET", where, limit=10)
    rv = page["metadata"]["resourceVersion"]
    same((names(page)[0], len(page["items"]), page["metadata"]["remainingItemCount"]), ("s000", 10, 15))
    t.api.ok("DELETE", where + "/s015")
    t.api.ok("POST", where, {"metadata": {"name": "s012x"}})
    all_names = names(page)
    while page["metadata"].get("continue"):
        page = t.api.ok("GET", where, limit=10, **{"continue": page["metadata"]["continue"]})
        same(page["metadata"]["resourceVersion"], rv)
        all_names += names(page)
    same(all_names, [f"s{i:03}" for i in range(25)])
    same(t.api.get(where, limit=10, **{"continue": "rubbish"}).code, 400)


def compacted(t):
    return int(re.search(r"rancherd_store_compacted_revision (\d+)", t.api.get("/metrics").text)[1])


def token_of(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_compacted_revision_is_gone(t):
    """What upstream 1.37 answers when history has been compacted, in its words."""
    server = t.own_server("--kube-apiserver-arg", "etcd-compaction-interval=100ms")
    where = fill(t, 6)
    page = t.api.ok("GET", where, limit=2)
    rv = page["metadata"]["resourceVersion"]
    with t.api.watch(where, resourceVersion=rv, timeoutSeconds=9) as w:
        t.api.ok("DELETE", where + "/s003")
        t.api.ok("POST", where, {"metadata": {"name": "s004x"}})
        wait_for("compaction", lambda: compacted(t) > int(rv))
        w.until("ADDED", "s004x")  # who follows already misses nothing
    wanted = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410}
    for query in ({"resourceVersionMatch": "Exact"}, {"limit": 1}, {"resourceVersionMatch": "Exact", "limit": 1, "labelSelector": "n=1"}):
        a = t.api.get(where, resourceVersion=rv, **query)
        same((a.code, a.json), (410, dict(wanted, message="The resourceVersion for the provided list is too old.")))

    a = t.api.get(where, limit=2, **{"continue": page["metadata"]["continue"]})
    go_on = a.json["metadata"].pop("continue") if a.code == 410 else a.text
    same(a.json["reason"], "Expired")
    assert a.json["message"].startswith("The provided continue parameter is too old to display a consistent list result. You can start"), a.text
    assert a.json["message"].endswith("deleted between the time the first chunk was returned and now may show up in the list."), a.text
    same(token_of(go_on), dict(token_of(page["metadata"]["continue"]), rv=-1))
    rest = []
    while go_on:  # the rest as it is now
        page = t.api.ok("GET", where, limit=2, **{"continue": go_on})
        go_on, rest = page["metadata"].get("continue"), rest + names(page)
    same(rest, ["s002", "s004", "s004x", "s005"])

    with t.api.watch(where, resourceVersion=rv, timeoutSeconds=9) as w:  # memory still holds what came since
        same([(kind, o["metadata"]["name"]) for kind, o in (next(w), next(w))], [("DELETED", "s003"), ("ADDED", "s004x")])
    same(server.terminate(), 0)
    server.start()
    for query in ({}, {"allowWatchBookmarks": "true"}):
        with t.api.watch(where, resourceVersion=rv, timeoutSeconds=9, **query) as w:
            same(w.code, 200)
            (kind, status), more = next(w), list(w)
        same((kind, more), ("ERROR", []))
        m = re.fullmatch(rf"too old resource version: {rv} \((\d+)\)", status.pop("message"))
        assert m and int(m[1]) > int(rv), m
        same(status, wanted)
    same(t.api.ok("GET", where, resourceVersion=rv)["kind"], "SecretList")  # not older than rv: the present will do


def test_selectors(t):
    where = fill(t, 10)
    for selector, n in (("n=1", 5), ("n!=1", 5), ("n in (0,1)", 10), ("n notin (0)", 5), ("!n", 0), ("n,x", 0), ("n==0", 5)):
        same(len(t.api.ok("GET", where, labelSelector=selector)["items"]), n, selector)
    same(names(t.api.ok("GET", where, fieldSelector="metadata.name=s003")), ["s003"])
    same(len(t.api.ok("GET", "/api/v1/secrets", fieldSelector=f"metadata.namespace={t.ns},metadata.name!=s003")["items"]), 9)
    same(len(t.api.ok("GET", where, fieldSelector="type=Opaque", labelSelector="n=0", limit=3)["items"]), 3)


def test_resource_version_match(t):
    where = fill(t, 2)
    old = t.api.ok("GET", where)["metadata"]["resourceVersion"]
    t.api.ok("DELETE", where + "/s000")
    same(names(t.api.ok("GET", where, resourceVersion=old, resourceVersionMatch="Exact")), ["s000", "s001"])
    same(names(t.api.ok("GET", where, resourceVersion=old, resourceVersionMatch="NotOlderThan")), ["s001"])
    same(names(t.api.ok("GET", where, resourceVersion="0")), ["s001"])
    same(t.api.get(where, resourceVersionMatch="Exact").code, 422)
    same(t.api.get(where, resourceVersion=str(int(old) + 10**6)).code, 504)


def test_watch_from_a_revision(t):
    where = fill(t, 3)
    start = t.api.ok("GET", where)["metadata"]["resourceVersion"]
    t.api.ok("PATCH", where + "/s001", {"data": {"a": "YQ=="}})
    t.api.ok("DELETE", where + "/s002")
    with t.api.watch(where, resourceVersion=start) as w:
        same(w.until("MODIFIED")["metadata"]["name"], "s001")
        same(w.until("DELETED")["metadata"]["name"], "s002")
        t.api.ok("POST", where, {"metadata": {"name": "new"}})
        new = w.until("ADDED")
        same(new["metadata"]["name"], "new")
        assert int(new["metadata"]["resourceVersion"]) > int(start)


def test_watch_without_a_revision_starts_with_what_is_there(t):
    where = fill(t, 2)
    with t.api.watch(where) as w:
        same({next(w)[1]["metadata"]["name"], next(w)[1]["metadata"]["name"]}, {"s000", "s001"})


def test_an_object_enters_and_leaves_a_selector(t):
    where = fill(t, 1)
    start = t.api.ok("GET", where)["metadata"]["resourceVersion"]
    with t.api.watch(where, resourceVersion=start, labelSelector="n=1") as w:
        t.api.ok("PATCH", where + "/s000", {"metadata": {"labels": {"n": "1"}}})
        w.until("ADDED", "s000")
        left = t.api.ok("PATCH", where + "/s000", {"metadata": {"labels": {"n": "2"}}})
        gone = w.until("DELETED", "s000")
        same((gone["metadata"]["labels"]["n"], gone["metadata"]["resourceVersion"]), ("1", left["metadata"]["resourceVersion"]))


def test_watch_list_ends_its_start_with_a_bookmark(t):
    where = fill(t, 2)
    with t.api.watch(where, sendInitialEvents="true", allowWatchBookmarks="true", resourceVersionMatch="NotOlderThan") as w:
        same([next(w)[0], next(w)[0]], ["ADDED", "ADDED"])
        mark = w.until("BOOKMARK")
        same(mark["metadata"]["annotations"], {"k8s.io/initial-events-end": "true"})
        t.api.ok("DELETE", where + "/s000")
        w.until("DELETED", "s000")
    same(t.api.get(where, watch="true", sendInitialEvents="true").code, 422)


def test_a_watch_ends_in_time(t):
    with t.api.watch(t.path("secrets"), timeoutSeconds=1) as w:
        same([e for e in w], [])


def test_watch_as_table(t):
    where = fill(t, 1)
    table = t.api.get(where, headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}, watch="true", timeoutSeconds=1)
    event = json.loads(table.body.splitlines()[0])
    same((event["type"], event["object"]["kind"], event["object"]["rows"][0]["cells"][0]), ("ADDED", "Table", "s000"))


def test_gzip_and_partial_metadata(t):
    import gzip
    where = fill(t, 40)
    packed = t.api.get(where, headers={"Accept-Encoding": "gzip"})
    body = gzip.decompress(packed.body) if packed.headers.get("Content-Encoding") == "gzip" else packed.body
    same(len(json.loads(body)["items"]), 40)
    partial = t.api.get(where, headers={"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}).json
    same((partial["kind"], partial["items"][0]["kind"], set(partial["items"][0])),
         ("PartialObjectMetadataList", "PartialObjectMetadata", {"kind", "apiVersion", "metadata"}))


def test_kubectl_watches(t):
    import subprocess
    t.ns
    p = subprocess.Popen(["kubectl", "--kubeconfig", t.server.kubeconfig().path, "-n", t.ns, "get", "secrets", "-w", "--no-headers"],
                         stdout=subprocess.PIPE, text=True)
    t.after(p.stdout.close)
    t.after(p.wait)
    t.after(p.kill)
    fill(t, 1)
    assert wait_for("a line of kubectl", p.stdout.readline).startswith("s000")
