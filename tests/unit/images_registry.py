#!/usr/bin/env python3
"""A registry for tests of pulls: what it does depends on the first word of the repository. Prints its ports (two plain, one with TLS when a
certificate and its key are given) and the digest of its image, and ends with its input."""
import base64, http.server, json, os, socket, ssl, sys, tempfile, threading, urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import images_make


def layer(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            images_make.put_file(root, path, text)
        return images_make.tar_of(root)


import random
noise = random.Random(1)
big = "".join(noise.choice("0123456789abcdef") for _ in range(600000))
LAYERS = [layer({"a": "one", "big": big}), layer({"b": "two"}), layer({"c": "three"})]
CONFIG = {"Cmd": ["/a"], "Env": ["A=b"]}
IMAGES = {arch: images_make.Image(LAYERS, dict(CONFIG, User=arch), "gzip", arch) for arch in ("amd64", "arm64")}
INDEX = json.dumps({"schemaVersion": 2, "mediaType": images_make.OCI + "index.v1+json", "manifests": [i.entry() for i in IMAGES.values()]}).encode()
BLOBS = {key: data for image in IMAGES.values() for key, data in image.blobs.items()}
MANIFESTS = {images_make.digest(i.manifest): i.manifest for i in IMAGES.values()}
MANIFESTS[images_make.digest(INDEX)] = INDEX
counts, lock, ports, log = {}, threading.Lock(), [], []


def nth(key):
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        ok = form.get("refresh_token") == ["identity"] and form["scope"] == ["repository:token/x:pull"]
        self.answer(200 if ok else 401, b'{"access_token":"t2"}' if ok else b"")

    def allowed(self, kind, repository):
        got = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(b"user:secret").decode()
        if kind in ("auth", "token"):
            if got in ("Bearer t1", "Bearer t2"):
                return True
            self.answer(401, headers=[("WWW-Authenticate", 'Bearer realm="http://127.0.0.1:%d/token",service="test",scope="repository:%s:pull"'
                                       % (ports[0], repository))])
            return False
        if kind in ("basic", "redirect") and got != basic:
            self.answer(401, headers=[("WWW-Authenticate", 'Basic realm="test"')])
            return False
        return True

    def do_token(self, url):
        query = urllib.parse.parse_qs(url.query)
        ok = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:secret").decode()
        ok = ok and query["service"] == ["test"] and query["scope"] == ["repository:auth/x:pull"]
        self.answer(200 if ok else 401, b'{"token":"t1","expires_in":60}' if ok else b"")

    def send_blob(self, kind, data):
        start = 0
        ranged = self.headers.get("Range")
        if kind == "bad":
            data = bytes([data[0] ^ 1]) + data[1:]
        if ranged and kind == "cut":
            start = int(ranged[6:-1])
        if kind in ("cut", "norange") and len(data) > 100000 and nth(kind) <= 2:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:start + 100000])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.answer(206 if start else 200, data[start:])

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path == "/token":
            return self.do_token(url)
        if url.path == "/counts":
            return self.answer(200, json.dumps(counts).encode())
        if url.path.startswith("/store/"):
            key = url.path[7:]
            bad = "Authorization" in self.headers  # a credential for somebody else
            return self.answer(400 if bad else 200, b"" if bad else BLOBS[key])
        parts = url.path.split("/")  # "", v2, kind, x, manifests, object
        if len(parts) < 6:
            return self.answer(200)
        kind, repository, what, key = parts[2], "/".join(parts[2:-2]), parts[-2], parts[-1]
        nth("%s %s %s" % (self.command, kind, what))
        if kind == "hang":
            self.rfile.read(1)
            return
        if not self.allowed(kind, repository):
            return
        if kind == "missing" or (kind == "mirrored" and "ns=" not in url.query):
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        if kind == "denied":
            return self.answer(403)
        if kind == "broken" or (kind == "busy" and nth("busy") == 1):
            return self.answer(503)
        if what == "blobs":
            if kind == "redirect":
                return self.answer(307, headers=[("Location", "http://127.0.0.1:%d/store/%s" % (ports[1], key))])
            return self.send_blob(kind, BLOBS[key]) if key in BLOBS else self.answer(404)
        body = MANIFESTS.get(key, INDEX if not key.startswith("sha256") else None)
        if body is None:
            return self.answer(404)
        if kind == "swapped" and key.startswith("sha256"):
            body = body + b" "
        self.answer(200, body, [("Content-Type", json.loads(body)["mediaType"]), ("Docker-Content-Digest", images_make.digest(body))])


def main():
    for i in range(3 if len(sys.argv) > 2 else 2):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if i == 2:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[1], sys.argv[2])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        ports.append(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(*(ports + [0])[:3], images_make.digest(INDEX), flush=True)
    sys.stdin.read()


main()
