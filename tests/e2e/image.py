"""Container images from Debian's packages, without any container tool: as docker archive, OCI layout, or pushed to a registry.

python3 -m tests.e2e.image busybox|nginx docker|oci OUT.tar NAME:TAG
"""
import gzip
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

from tests.harness.server import ROOT

EPOCH = 1700000000
OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker"


def program(name):
    """A program on PATH or in the packages scripts/test unpacked."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return found or next(str(p) for p in pathlib.Path(ROOT, "build/debs").rglob(name) if os.access(p, os.X_OK) and p.is_file())


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """A tar of what was added; the same calls give the same bytes."""

    def __init__(self):
        self.raw, self.made = io.BytesIO(), set()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=tarfile.PAX_FORMAT)

    def _add(self, name, mode, data=None, **more):
        name = name.strip("/")
        parent = os.path.dirname(name)
        if parent and parent not in self.made:
            self.folder(parent)
        ti = tarfile.TarInfo(name)
        ti.mode, ti.mtime, ti.size = mode, EPOCH, len(data or b"")
        for k, v in more.items():
            setattr(ti, k, v)
        self.tar.addfile(ti, io.BytesIO(data or b""))
        self.made.add(name)
        return self

    def folder(self, name, mode=0o755, uid=0):
        return self._add(name, mode, type=tarfile.DIRTYPE, uid=uid, gid=uid)

    def file(self, name, data, mode=0o644, uid=0):
        return self._add(name, mode, data.encode() if isinstance(data, str) else data, uid=uid, gid=uid)

    def link(self, name, to):
        return self._add(name, 0o777, type=tarfile.SYMTYPE, linkname=to)

    def copy(self, path, name=None):
        return self.file(name or path, pathlib.Path(path).read_bytes(), 0o755)

    def whiteout(self, name):
        d, b = os.path.split(name.strip("/"))
        return self.file(f"{d}/.wh.{b}", "")

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


class Image:
    def __init__(self, layers, **config):
        """config: Entrypoint, Cmd, Env, User, WorkingDir, ExposedPorts, StopSignal."""
        self.layers = [layer.bytes() for layer in layers]
        self.packed = [gzip.compress(layer, 1, mtime=0) for layer in self.layers]
        self.config = json.dumps({
            "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z",
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **config},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]}}).encode()

    def manifest(self, oci=True):
        kind = OCI + ".manifest.v1+json" if oci else DOCKER + ".distribution.manifest.v2+json"
        layer = OCI + ".layer.v1.tar+gzip" if oci else DOCKER + ".image.rootfs.diff.tar.gzip"
        config = OCI + ".config.v1+json" if oci else DOCKER + ".container.image.v1+json"
        blob = lambda t, data: {"mediaType": t, "digest": digest(data), "size": len(data)}
        return kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "config": blob(config, self.config),
                                 "layers": [blob(layer, p) for p in self.packed]}).encode()

    def _write(self, out, files):
        with tarfile.open(out, "w") as t:
            for name, data in files.items():
                ti = tarfile.TarInfo(name)
                ti.size, ti.mtime = len(data), EPOCH
                t.addfile(ti, io.BytesIO(data))

    def docker_archive(self, out, *tags):
        names = [digest(layer)[7:] + ".tar" for layer in self.layers]
        config = digest(self.config)[7:] + ".json"
        self._write(out, {**dict(zip(names, self.layers)), config: self.config,
                          "manifest.json": json.dumps([{"Config": config, "RepoTags": list(tags), "Layers": names}]).encode()})

    def oci_layout(self, out, tag):
        kind, manifest = self.manifest()
        blobs = {"blobs/sha256/" + digest(b)[7:]: b for b in [self.config, manifest, *self.packed]}
        index = {"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": digest(manifest), "size": len(manifest),
                                                    "annotations": {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag}}]}
        self._write(out, {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **blobs})

    def push(self, registry, name, tag, oci=True, index=False):
        """registry: "host:port" over plain HTTP. index: behind a multi-platform index whose other entry does not exist."""
        c = http.client.HTTPConnection(registry, timeout=20)
        ask = lambda *a, **k: (c.request(*a, **k), c.getresponse())[1]

        def put(path, data, kind):
            r = ask("PUT", path, data, {"Content-Type": kind})
            if r.status not in (201, 202):
                raise RuntimeError(f"PUT {path}: {r.status} {r.read()}")
            r.read()
        for blob in [self.config, *self.packed]:
            r = ask("POST", f"/v2/{name}/blobs/uploads/")
            r.read()
            where = r.headers["Location"].split(registry, 1)[-1]
            put(where + ("&" if "?" in where else "?") + "digest=" + digest(blob), blob, "application/octet-stream")
        kind, manifest = self.manifest(oci)
        put(f"/v2/{name}/manifests/" + (digest(manifest) if index else tag), manifest, kind)
        if index:
            kind = OCI + ".index.v1+json"
            put(f"/v2/{name}/manifests/{tag}", json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [
                {"mediaType": OCI + ".manifest.v1+json", "digest": digest(manifest), "size": len(manifest),
                 "platform": {"os": "linux", "architecture": "amd64"}}]}).encode(), kind)
        c.close()
        return digest(manifest)


def base_layer():
    busybox = program("busybox")
    layer = Layer().folder("tmp", 0o1777).copy(busybox, "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            layer.link("bin/" + applet, "busybox")
    return layer.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww:x:1000:1000::/:/bin/sh\n").file("etc/group", "root:x:0:\nwww:x:1000:\n")


def busybox():
    return Image([base_layer()], Cmd=["sh"])


def nginx(page="hello\n"):
    """A web server with its libraries: a dynamic program, two layers, a file taken away again by the second."""
    path = program("nginx")
    layer = base_layer().copy(path, "usr/sbin/nginx").file("usr/share/gone", "the second layer removes this")
    for word in subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.split():
        if word.startswith("/"):
            layer.copy(word)
    for d in ("var/log/nginx", "var/lib/nginx", "run"):
        layer.folder(d)
    top = Layer().whiteout("usr/share/gone").file("srv/index.html", page).file("etc/nginx.conf", """
user root; daemon off; worker_processes 1; pid /run/nginx.pid; error_log stderr;
events { worker_connections 64; }
http { access_log /dev/stdout; server { listen 80; root /srv; location = /env { return 200 "$hostname\\n"; } } }
""")
    return Image([layer, top], Entrypoint=["nginx", "-c", "/etc/nginx.conf"], ExposedPorts={"80/tcp": {}}, StopSignal="SIGQUIT")


def main(which, form, out, tag):
    image = {"busybox": busybox, "nginx": nginx}[which]()
    image.docker_archive(out, tag) if form == "docker" else image.oci_layout(out, tag)


if __name__ == "__main__":
    main(*sys.argv[1:])
