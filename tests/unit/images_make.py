#!/usr/bin/env python3
"""images_make - small images for the tests of pulls: images_make.py REPOSITORY COMPRESSION REGISTRY-URL pushes busybox for two architectures."""
import gzip, hashlib, io, json, os, shutil, subprocess, sys, tarfile, tempfile, urllib.error, urllib.request

OCI = "application/vnd.oci.image."
TYPES = {"none": OCI + "layer.v1.tar", "gzip": OCI + "layer.v1.tar+gzip", "zstd": OCI + "layer.v1.tar+zstd"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compress(data, how):
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def tar_of(root):
    """The folder as an uncompressed layer, names in order, so that the same folder gives the same digest."""
    out = io.BytesIO()

    def normal(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = "root"
        return info
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for base, dirs, files in os.walk(root):
            dirs.sort()
            for name in sorted(dirs + files):
                path = os.path.join(base, name)
                tar.add(path, arcname=os.path.relpath(path, root), recursive=False, filter=normal)
    return out.getvalue()


def put_file(root, path, text, mode=0o644):
    to = os.path.join(root, path.lstrip("/"))
    os.makedirs(os.path.dirname(to), exist_ok=True)
    with open(to, "w") as f:
        f.write(text)
    os.chmod(to, mode)


class Image:
    def __init__(self, layers, config, how, arch):
        self.blobs = {}
        self.layers = []
        diff_ids = []
        for tar in layers:
            diff_ids.append(digest(tar))
            blob = compress(tar, how)
            self.blobs[digest(blob)] = blob
            self.layers.append({"mediaType": TYPES[how], "digest": digest(blob), "size": len(blob)})
        self.config = json.dumps({"architecture": arch, "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
                                  "history": [{"created_by": "images_make"} for _ in layers]}).encode()
        self.blobs[digest(self.config)] = self.config
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": {
            "mediaType": OCI + "config.v1+json", "digest": digest(self.config), "size": len(self.config)}, "layers": self.layers}).encode()
        self.arch = arch

    def entry(self):
        return {"mediaType": OCI + "manifest.v1+json", "digest": digest(self.manifest), "size": len(self.manifest),
                "platform": {"os": "linux", "architecture": self.arch}}


def request(method, url, data=None, kind=None, token=None):
    headers = {"Content-Type": kind} if kind else {}
    if token:
        headers["Authorization"] = token
    return urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=headers))


def push_blob(base, data, token):
    try:
        request("HEAD", "%s/blobs/%s" % (base, digest(data)), token=token)
        return
    except urllib.error.HTTPError as e:
        if e.code != 404:
            raise
    where = request("POST", base + "/blobs/uploads/", b"", token=token).headers["Location"]
    request("PUT", where + ("&" if "?" in where else "?") + "digest=" + digest(data), data, "application/octet-stream", token)


def push(images, registry, repository, tag, token=None):
    """One image, or an index of several. Returns the digest the tag stands for."""
    base = "%s/v2/%s" % (registry.rstrip("/"), repository)
    for image in images:
        for data in image.blobs.values():
            push_blob(base, data, token)
        key = digest(image.manifest) if len(images) > 1 else tag
        request("PUT", "%s/manifests/%s" % (base, key), image.manifest, OCI + "manifest.v1+json", token)
    if len(images) == 1:
        return digest(images[0].manifest)
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [i.entry() for i in images]}).encode()
    request("PUT", "%s/manifests/%s" % (base, tag), index, OCI + "index.v1+json", token)
    return digest(index)


def busybox_root(root):
    os.makedirs(os.path.join(root, "bin"))
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    os.symlink("busybox", os.path.join(root, "bin/sh"))


def main():
    repository, how, registry = sys.argv[1:]
    layers = []
    for fill in (busybox_root, lambda root: put_file(root, "etc/motd", "hello")):
        with tempfile.TemporaryDirectory() as root:
            fill(root)
            layers.append(tar_of(root))
    push([Image(layers, {"Cmd": ["/bin/sh"]}, how, arch) for arch in ("amd64", "arm64")], registry, repository, "1")


if __name__ == "__main__":
    main()
