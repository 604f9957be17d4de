"""What a client sees first: versions, health, groups, OpenAPI."""
import json
import pathlib

from tests.harness.case import same
from tests.harness.server import ROOT

RESOURCES = [json.loads(line) for line in pathlib.Path(ROOT, "embed/facts/resources.jsonl").read_text().splitlines()]


def test_version(t):
    v = t.api.ok("GET", "/version")
    same((v["major"], v["minor"], v["gitVersion"]), ("1", "37", "v1.37.2+rancherd1"))
    assert "v1.37.2+rancherd1" in t.kubectl("version").out


def test_health(t):
    for path in ("/healthz", "/livez", "/readyz"):
        a = t.api.get(path)
        same((a.code, a.text), (200, "ok"), path)
        assert "check passed" in t.api.get(path + "?verbose").text, path


def test_every_resource_is_discovered(t):
    """Each row of the facts, through the legacy documents: name, kind, scope, verbs, short names, subresources."""
    assert len(RESOURCES) == 72, len(RESOURCES)
    for group_version in {(r["group"], r["version"]) for r in RESOURCES}:
        path = "/api/v1" if not group_version[0] else "/apis/%s/%s" % group_version
        served = {r["name"]: r for r in t.api.ok("GET", path)["resources"]}
        wanted = set()
        for r in (r for r in RESOURCES if (r["group"], r["version"]) == group_version):
            got = served[r["resource"]]
            wanted |= {r["resource"]} | {r["resource"] + "/" + s["name"] for s in r.get("subresources", [])}
            same((got["kind"], got["namespaced"], got["singularName"]), (r["kind"], r["namespaced"], r["singular"]), r["resource"])
            same(sorted(got["verbs"]), sorted(r["verbs"]), r["resource"])
            same(got.get("shortNames"), r.get("shortNames"), r["resource"])
        same(set(served), wanted, path)


def test_aggregated(t):
    wants = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    seen = set()
    for path in ("/api", "/apis"):
        a = t.api.get(path, headers={"Accept": wants})
        same(a.json["kind"], "APIGroupDiscoveryList")
        assert "as=APIGroupDiscoveryList" in a.headers["Content-Type"]
        for g in a.json["items"]:
            for v in g["versions"]:
                seen |= {(g["metadata"].get("name", ""), v["version"], r["resource"]) for r in v["resources"]}
    same(seen, {(r["group"], r["version"], r["resource"]) for r in RESOURCES})


def test_api_resources_and_versions(t):
    lines = t.kubectl("api-resources", "--no-headers").out.splitlines()
    same(len(lines), 71)  # autoscaling is there twice; kubectl shows the preferred version
    assert any(line.split()[:2] == ["deployments", "deploy"] for line in lines)
    assert "apps/v1" in t.kubectl("api-versions").out.split()


def test_openapi(t):
    v2 = t.api.ok("GET", "/openapi/v2")
    assert "io.k8s.api.apps.v1.Deployment" in v2["definitions"]
    for path, where in t.api.ok("GET", "/openapi/v3")["paths"].items():
        doc = t.api.ok("GET", where["serverRelativeURL"])
        same(doc["openapi"][:2], "3.", path)


def test_explain(t):
    out = t.kubectl("explain", "deployment.spec.strategy").out
    assert "rollingUpdate" in out and "FIELD" in out, out
    assert "containers" in t.kubectl("explain", "pods.spec", "--recursive").out


def test_unknown_paths(t):
    for path in ("/nothing", "/apis/nothing.example.com/v1", "/api/v1/nothing", "/api/v2"):
        same(t.api.get(path).code, 404, path)
    same(t.api.do("PUT", "/api/v1/namespaces", {}).code, 405)
