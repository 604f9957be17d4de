"""The smallest useful object of every resource: group/version/resource → object without kind, version and name.

Resources that are only asked (reviews) or have no objects of their own carry what a POST sends. Words in capitals are filled in: NS, CSR (PEM in base64), DER (in base64), CERTIFICATE.
"""
import base64
import functools
import json
import subprocess
import tempfile

POD = {"containers": [{"name": "c", "image": "example.com/c:1"}]}
LABELS = {"app": "x"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
SELECTOR = {"matchLabels": LABELS}
HOOK = {"name": "h.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore", "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]}
UID = "01234567-89ab-cdef-0123-456789abcdef"

OBJECTS = {
    "/v1/configmaps": {"data": {"k": "v"}},
    "/v1/endpoints": {"subsets": [{"addresses": [{"ip": "10.9.8.7"}], "ports": [{"port": 80}]}]},
    "/v1/events": {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "NS"}, "reason": "Tried", "message": "m", "type": "Normal"},
    "/v1/limitranges": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "4"}}]}},
    "/v1/namespaces": {},
    "/v1/nodes": {"spec": {"unschedulable": True}},
    "/v1/persistentvolumeclaims": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}},
    "/v1/persistentvolumes": {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nothing"}}},
    "/v1/pods": {"spec": dict(POD, nodeSelector={"no": "node"})},
    "/v1/podtemplates": {"template": TEMPLATE},
    "/v1/replicationcontrollers": {"spec": {"replicas": 0, "selector": LABELS, "template": TEMPLATE}},
    "/v1/resourcequotas": {"spec": {"hard": {"services": "9"}}},
    "/v1/secrets": {"stringData": {"k": "v"}},
    "/v1/serviceaccounts": {},
    "/v1/services": {"spec": {"selector": LABELS, "ports": [{"port": 80}]}},
    "admissionregistration.k8s.io/v1/mutatingadmissionpolicies": {"spec": {
        "matchConstraints": {"resourceRules": [{k: HOOK["rules"][0][k] for k in HOOK["rules"][0]}]}, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}},
    "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings": {"spec": {"policyName": "nothing"}},
    "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": {"webhooks": [HOOK]},
    "admissionregistration.k8s.io/v1/validatingadmissionpolicies": {"spec": {
        "matchConstraints": {"resourceRules": HOOK["rules"]}, "validations": [{"expression": "true"}]}},
    "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings": {"spec": {"policyName": "nothing", "validationActions": ["Deny"]}},
    "admissionregistration.k8s.io/v1/validatingwebhookconfigurations": {"webhooks": [HOOK]},
    "apiextensions.k8s.io/v1/customresourcedefinitions": {"spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]}},
    "apiregistration.k8s.io/v1/apiservices": {"spec": {"group": "nothing.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                                                       "service": {"name": "nothing", "namespace": "default"}, "insecureSkipTLSVerify": True}},
    "apps/v1/controllerrevisions": {"revision": 1, "data": {"a": 1}},
    "apps/v1/daemonsets": {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    "apps/v1/deployments": {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
    "apps/v1/replicasets": {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
    "apps/v1/statefulsets": {"spec": {"replicas": 0, "selector": SELECTOR, "serviceName": "s", "template": TEMPLATE}},
    "autoscaling/v1/horizontalpodautoscalers": {"spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}},
    "autoscaling/v2/horizontalpodautoscalers": {"spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}},
    "batch/v1/cronjobs": {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": {"spec": dict(POD, restartPolicy="Never")}}}}},
    "batch/v1/jobs": {"spec": {"suspend": True, "template": {"spec": dict(POD, restartPolicy="Never")}}},
    "certificates.k8s.io/v1/certificatesigningrequests": {"spec": {"signerName": "example.com/nothing", "usages": ["client auth"], "request": "CSR"}},
    "certificates.k8s.io/v1/clustertrustbundles": {"spec": {"trustBundle": "CERTIFICATE"}},
    "certificates.k8s.io/v1/podcertificaterequests": {"spec": {
        "signerName": "example.com/nothing", "podName": "p", "podUID": UID, "serviceAccountName": "s", "serviceAccountUID": UID, "nodeName": "n",
        "nodeUID": UID, "stubPKCS10Request": "DER"}},
    "coordination.k8s.io/v1/leases": {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 9}},
    "discovery.k8s.io/v1/endpointslices": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.9.8.7"]}], "ports": [{"port": 80}]},
    "events.k8s.io/v1/events": {"regarding": {"kind": "Pod", "name": "p", "namespace": "NS"}, "reason": "Tried", "note": "m", "type": "Normal", "action": "Try",
                                "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "example.com/c", "reportingInstance": "i"},
    "flowcontrol.apiserver.k8s.io/v1/flowschemas": {"spec": {"priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 9999}},
    "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": {"spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}},
    "networking.k8s.io/v1/ingressclasses": {"spec": {"controller": "example.com/c"}},
    "networking.k8s.io/v1/ingresses": {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
    "networking.k8s.io/v1/ipaddresses": {"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}},
    "networking.k8s.io/v1/networkpolicies": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
    "networking.k8s.io/v1/servicecidrs": {"spec": {"cidrs": ["10.77.0.0/24"]}},
    "node.k8s.io/v1/runtimeclasses": {"handler": "runc"},
    "policy/v1/poddisruptionbudgets": {"spec": {"minAvailable": 1, "selector": SELECTOR}},
    "rbac.authorization.k8s.io/v1/clusterrolebindings": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                                                         "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody"}]},
    "rbac.authorization.k8s.io/v1/clusterroles": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    "rbac.authorization.k8s.io/v1/rolebindings": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                                                  "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "NS"}]},
    "rbac.authorization.k8s.io/v1/roles": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    "resource.k8s.io/v1/deviceclasses": {"spec": {}},
    "resource.k8s.io/v1/devicetaintrules": {"spec": {"taint": {"key": "example.com/k", "effect": "NoSchedule"}}},
    "resource.k8s.io/v1/resourceclaims": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d"}}]}}},
    "resource.k8s.io/v1/resourceclaimtemplates": {"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d"}}]}}}},
    "resource.k8s.io/v1/resourceslices": {"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}},
    "scheduling.k8s.io/v1/priorityclasses": {"value": 7},
    "storage.k8s.io/v1/csidrivers": {"spec": {"attachRequired": False}},
    "storage.k8s.io/v1/csinodes": {"spec": {"drivers": []}},
    "storage.k8s.io/v1/csistoragecapacities": {"storageClassName": "s"},
    "storage.k8s.io/v1/storageclasses": {"provisioner": "example.com/p"},
    "storage.k8s.io/v1/volumeattachments": {"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
    "storagemigration.k8s.io/v1/storageversionmigrations": {"spec": {"resource": {"group": "apps", "resource": "deployments"}}},
    "storage.k8s.io/v1/volumeattributesclasses": {"driverName": "d.example.com", "parameters": {"k": "v"}},
}

REVIEWS = {
    "authentication.k8s.io/v1/selfsubjectreviews": {},
    "authentication.k8s.io/v1/tokenreviews": {"spec": {"token": "nothing"}},
    "authorization.k8s.io/v1/localsubjectaccessreviews": {"spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "NS"}}},
    "authorization.k8s.io/v1/selfsubjectaccessreviews": {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "authorization.k8s.io/v1/selfsubjectrulesreviews": {"spec": {"namespace": "NS"}},
    "authorization.k8s.io/v1/subjectaccessreviews": {"spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
}
OTHERS = {"/v1/bindings", "/v1/componentstatuses"}

NAMES = {"apiextensions.k8s.io/v1/customresourcedefinitions": "widgets.example.com", "apiregistration.k8s.io/v1/apiservices": "v1.nothing.example.com",
         "networking.k8s.io/v1/ipaddresses": "10.43.200.7"}


@functools.cache
def certificates():
    """A certificate request and a CA certificate as openssl writes them."""
    with tempfile.TemporaryDirectory() as d:
        openssl = lambda *a: subprocess.run(("openssl",) + a, check=True, capture_output=True, cwd=d).stdout
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key", "-subj", "/CN=someone")
        return {"CSR": base64.b64encode(openssl(*new)).decode(), "DER": base64.b64encode(openssl(*new, "-outform", "DER")).decode(),
                "CERTIFICATE": openssl(*new, "-x509", "-days", "9", "-addext", "basicConstraints=critical,CA:TRUE").decode()}


def manifest(resource, namespace):
    """A fresh copy of the resource's object; None for a resource that has none."""
    if resource not in OBJECTS and resource not in REVIEWS:
        return None
    text = json.dumps(OBJECTS.get(resource, REVIEWS.get(resource)))
    for word, value in dict(certificates(), NS=namespace).items():
        text = text.replace(f'"{word}"', json.dumps(value))
    return json.loads(text)
