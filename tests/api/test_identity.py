"""Who one is and what one may: anonymous, service accounts, RBAC, tokens, impersonation, reviews, node join secrets."""
import base64
import json

from tests.api.manifests import POD
from tests.harness.case import same
from tests.harness.client import Client
from tests.harness.server import wait_for


def client_of(t, **identity):
    c = t.server.client(**identity)
    t.after(c.close)
    return c


def account(t, name="sa", **spec):
    if name != "default":
        t.api.ok("POST", t.path("serviceaccounts"), {"metadata": {"name": name}})
    made = t.api.ok("POST", t.path(f"serviceaccounts/{name}/token"), {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
    return made["status"]["token"]


def claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_anonymous_gets_health_and_version_only(t):
    c = client_of(t, anonymous=True)
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        same(c.get(path).code, 200, path)
    for path in ("/api", "/apis", "/api/v1/namespaces", "/openapi/v2", "/metrics", "/nothing"):
        a = c.get(path)
        assert a.code in (401, 403), (path, a.code)
    assert 'User "system:anonymous"' in c.get("/api/v1/pods").json["message"]


def test_a_wrong_token_is_unauthorized(t):
    a = client_of(t, token="rubbish").get("/api/v1/pods")
    same((a.code, a.json["reason"]), (401, "Unauthorized"))
    token = account(t)
    a = client_of(t, token=token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")).get("/api/v1/pods")
    same(a.code, 401, "a token with another signature")


def test_a_service_account_may_what_its_roles_say(t):
    c = client_of(t, token=account(t))
    me = c.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]
    same(me["username"], f"system:serviceaccount:{t.ns}:sa")
    assert {"system:serviceaccounts", f"system:serviceaccounts:{t.ns}", "system:authenticated"} <= set(me["groups"]), me
    denied = c.get(t.path("pods"))
    same(denied.code, 403)
    same(denied.json["message"], f'pods is forbidden: User "system:serviceaccount:{t.ns}:sa" cannot list resource "pods" in API group "" in the '
                                 f'namespace "{t.ns}"')
    rbac = t.path("rbac.authorization.k8s.io/v1/")
    t.api.ok("POST", rbac + "roles", {"metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get"]}]})
    t.api.ok("POST", rbac + "rolebindings", {"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
                                             "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": t.ns}]})
    wait_for("the binding counts", lambda: c.get(t.path("pods")).code == 200)
    same(c.get(t.path("configmaps/mine")).code, 404)
    same(c.get(t.path("configmaps/other")).code, 403)
    same(c.get("/api/v1/namespaces/default/pods").code, 403)
    t.api.ok("DELETE", rbac + "rolebindings/b")
    wait_for("the binding is gone", lambda: c.get(t.path("pods")).code == 403)


def test_nobody_grants_more_than_he_has(t):
    rbac = t.path("rbac.authorization.k8s.io/v1/")
    c = client_of(t, token=account(t))
    t.api.ok("POST", rbac + "rolebindings", {"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                                                                                    "name": "admin"},
                                             "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": t.ns}]})
    role = {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
    wait_for("an admin makes a role", lambda: c.post(rbac + "roles", role).code == 201)
    role = {"metadata": {"name": "s"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    a = c.post(rbac + "roles", role)
    assert a.code == 403 and "attempting to grant RBAC permissions not currently held" in a.text, a.text


def test_tokens_are_bound(t):
    t.api.ok("POST", t.path("pods"), {"metadata": {"name": "p"}, "spec": dict(POD, nodeSelector={"no": "node"})})
    pod = t.api.ok("GET", t.path("pods/p"))
    token = account(t, "default", expirationSeconds=900, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]})
    c = claims(token)
    same((c["sub"], c["exp"] - c["iat"], c["kubernetes.io"]["pod"]["name"]), (f"system:serviceaccount:{t.ns}:default", 900, "p"))
    user = client_of(t, token=token)
    extra = user.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]["extra"]
    same(extra["authentication.kubernetes.io/pod-name"], ["p"])
    t.api.ok("DELETE", t.path("pods/p"), gracePeriodSeconds=0)
    wait_for("the pod is gone, so is its token", lambda: user.get("/version").code == 401)


def test_audiences_and_token_review(t):
    token = account(t, audiences=["elsewhere"])
    same(client_of(t, token=token).get("/version").code, 401)
    review = lambda **spec: t.api.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": dict(spec, token=token)})["status"]
    assert not review().get("authenticated")
    same(review(audiences=["elsewhere"])["user"]["username"], f"system:serviceaccount:{t.ns}:sa")


def test_impersonation(t):
    who = {"Impersonate-User": "jane", "Impersonate-Group": "devs"}
    me = t.api.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers=who)["status"]["userInfo"]
    same((me["username"], me["groups"]), ("jane", ["devs", "system:authenticated"]))
    same(t.api.get("/api/v1/pods", headers=who).code, 403)
    a = client_of(t, token=account(t)).get("/api/v1/pods", headers=who)
    assert a.code == 403 and "impersonate" in a.text, a.text


def test_can_i(t):
    assert t.kubectl("auth", "can-i", "delete", "nodes").out.startswith("yes")
    out = t.kubectl("auth", "can-i", "delete", "nodes", "--as", f"system:serviceaccount:{t.ns}:default", code=1).out
    assert out.startswith("no"), out
    assert "*.*" in t.kubectl("auth", "can-i", "--list").out


def test_cluster_roles_from_the_start(t):
    roles = {r["metadata"]["name"] for r in t.api.ok("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]}
    assert {"cluster-admin", "admin", "edit", "view", "system:node", "system:kube-scheduler", "system:discovery"} <= roles
    view = t.api.ok("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/edit")
    assert any("pods" in r.get("resources", []) for r in view["rules"]), "aggregated roles are filled"


def test_open_id_of_service_accounts(t):
    doc = t.api.ok("GET", "/.well-known/openid-configuration")
    keys = t.api.ok("GET", "/openid/v1/jwks")["keys"]
    assert doc["issuer"] == claims(account(t))["iss"] and keys[0]["kty"] == "EC"


def test_the_kubeconfig_is_for_root_alone(t):
    import os
    same(os.stat(t.server.kubeconfig().path).st_mode & 0o777, 0o600)
    data = t.server.dir + "/data/server"
    for secret in ("token", "cred/passwd", "tls/server-ca.key", "tls/service.key"):
        path = os.path.join(data, secret)
        if os.path.exists(path):
            same(os.stat(path).st_mode & 0o077, 0, secret)
    assert isinstance(t.api, Client)
