"""The API over HTTPS with nothing but the standard library, so that tests see status lines, headers and bytes."""
import http.client
import json
import os
import ssl
import tempfile
import urllib.parse

JSON, MERGE, STRATEGIC = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


class Answer:
    def __init__(self, response, body):
        self.code, self.headers, self.body = response.status, response.headers, body

    @property
    def text(self):
        return self.body.decode(errors="replace")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def reason(self):
        return self.json.get("reason")


class Client:
    """identity: nothing (admin certificate), token="…", or anonymous=True."""

    def __init__(self, kubeconfig, token=None, anonymous=False, timeout=30):
        url = urllib.parse.urlsplit(kubeconfig.url)
        self.host, self.port, self.token, self.timeout = url.hostname, url.port, token, timeout
        self.connection = None
        self.tls = ssl.create_default_context(cadata=kubeconfig.ca.decode()) if kubeconfig.ca else ssl._create_unverified_context()
        if not token and not anonymous and kubeconfig.token:
            self.token = kubeconfig.token
        elif not token and not anonymous:
            self._load(kubeconfig.cert + b"\n" + kubeconfig.key)

    def _load(self, pem):
        fd, path = tempfile.mkstemp()
        try:
            os.write(fd, pem)
            self.tls.load_cert_chain(path)
        finally:
            os.close(fd)
            os.unlink(path)

    def connect(self, timeout=None):
        return http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout or self.timeout)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _headers(self, headers):
        h = {"Accept": JSON, **(headers or {})}
        if self.token:
            h["Authorization"] = "Bearer " + self.token
        return h

    def do(self, method, path, body=None, type=None, headers=None, **query):
        type = type or (MERGE if method == "PATCH" else JSON)
        if query:
            path += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body, separators=(",", ":"))
        h = self._headers(headers)
        if body is not None:
            h["Content-Type"] = type
        kept = self.connection is not None
        if not kept:
            self.connection = self.connect()
        try:
            self.connection.request(method, path, body, h)
            response = self.connection.getresponse()
            return Answer(response, response.read())
        except Exception as e:
            self.close()
            if kept and method == "GET" and isinstance(e, ConnectionError):
                return self.do(method, path, headers=headers)  # the server was started anew
            raise

    def get(self, path, **kw):
        return self.do("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.do("POST", path, body, **kw)

    def put(self, path, body, **kw):
        return self.do("PUT", path, body, **kw)

    def patch(self, path, body, type=MERGE, **kw):
        return self.do("PATCH", path, body, type, **kw)

    def delete(self, path, body=None, **kw):
        return self.do("DELETE", path, body, **kw)

    def ok(self, method, path, body=None, type=None, code=None, **kw):
        """The parsed answer; raises unless it has the code (any 2xx)."""
        a = self.do(method, path, body, type, **kw)
        if a.code != code if code else a.code // 100 != 2:
            raise AssertionError(f"{method} {path}: {a.code} {a.text[:2000]}")
        return a.json

    def watch(self, path, timeout=10, **query):
        return Watch(self, path, timeout, query)


class Watch:
    """Events as they come: for type, object in client.watch(path): … Ends when the server ends it."""

    def __init__(self, client, path, timeout, query):
        self.connection = client.connect(timeout)
        query = {"watch": "true", **query}
        self.connection.request("GET", path + ("&" if "?" in path else "?") + urllib.parse.urlencode(query), headers=client._headers(None))
        self.response = self.connection.getresponse()
        self.code = self.response.status

    def __iter__(self):
        return self

    def __next__(self):
        line = self.response.readline()
        if not line:
            raise StopIteration
        event = json.loads(line)
        return event["type"], event["object"]

    def until(self, type, name=None):
        seen = []
        for kind, obj in self:
            seen.append((kind, obj.get("metadata", {}).get("name")))
            if kind == type and name in (None, seen[-1][1]):
                return obj
        raise AssertionError(f"the watch ended without {type} {name}: {seen}")

    def close(self):
        self.response.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
