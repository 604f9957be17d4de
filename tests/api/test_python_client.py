"""The official Python client, as programs use it."""
from tests.api.manifests import POD
from tests.harness.case import same
from tests.harness.server import wait_for


def clients(t):
    from kubernetes import client, config
    api = config.new_client_from_config(t.server.kubeconfig().path)
    t.after(api.close)
    return client, client.CoreV1Api(api), client.AppsV1Api(api), api


def test_objects(t):
    client, core, _, _ = clients(t)
    made = core.create_namespaced_config_map(t.ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"k": "v"}))
    same(made.data, {"k": "v"})
    made.data["k"] = "w"
    same(core.replace_namespaced_config_map("a", t.ns, made).data["k"], "w")
    same(core.patch_namespaced_config_map("a", t.ns, {"data": {"l": "1"}}).data, {"k": "w", "l": "1"})
    assert "a" in [m.metadata.name for m in core.list_namespaced_config_map(t.ns).items]
    done = core.delete_namespaced_config_map("a", t.ns)  # a Status; newer clients leave it as a dict
    same(done["status"] if isinstance(done, dict) else done.status, "Success")
    try:
        core.read_namespaced_config_map("a", t.ns)
        raise AssertionError("read what was deleted")
    except client.ApiException as e:
        same((e.status, "NotFound" in e.body), (404, True))


def test_deployment(t):
    client, core, apps, _ = clients(t)
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels={"a": "b"}), template=client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}), spec=client.V1PodSpec(node_selector={"no": "node"}, containers=[
            client.V1Container(name="c", image="example.com/c")])))
    apps.create_namespaced_deployment(t.ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
    wait_for("two pods", lambda: len(core.list_namespaced_pod(t.ns, label_selector="a=b").items) == 2)
    same(apps.patch_namespaced_deployment_scale("d", t.ns, {"spec": {"replicas": 0}}).spec.replicas, None)
    wait_for("no pods", lambda: not core.list_namespaced_pod(t.ns).items)


def test_watch(t):
    from kubernetes import watch
    _, core, _, _ = clients(t)
    core.create_namespaced_pod(t.ns, {"metadata": {"name": "p"}, "spec": dict(POD, nodeSelector={"no": "node"})})
    seen, w = [], watch.Watch()
    for event in w.stream(core.list_namespaced_pod, t.ns, timeout_seconds=20):
        seen.append(event["type"])
        if event["type"] == "ADDED":
            core.delete_namespaced_pod("p", t.ns, grace_period_seconds=0)
        if event["type"] == "DELETED":
            w.stop()
    same((seen[0], seen[-1]), ("ADDED", "DELETED"))


def test_dynamic_and_apply(t):
    from kubernetes import dynamic, utils
    _, _, _, api = clients(t)
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d", "namespace": t.ns}, "data": {"k": "v"}}
    same(maps.server_side_apply(body, name="d", namespace=t.ns, field_manager="py").data.k, "v")
    utils.create_from_dict(api, dict(body, metadata={"name": "e", "namespace": t.ns}))
    same({m.metadata.name for m in maps.get(namespace=t.ns).items} - {"kube-root-ca.crt"}, {"d", "e"})
