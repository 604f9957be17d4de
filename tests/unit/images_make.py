#!/usr/bin/env python3
"""mkimage - container images from folders and Debian packages, as archives or pushed to a registry. Needs nothing but Python.

  mkimage.py --busybox --name 127.0.0.1:5000/busybox:1 --push http://127.0.0.1:5000
  mkimage.py --debian nginx-light --name web:1 --cmd 'nginx -g "daemon off;"' --archive docker -o web.tar
  mkimage.py --root DIR --root DIR2 --name demo:1 --archive oci --compress zstd -o demo.tar     (one layer a folder)
"""
import argparse, gzip, hashlib, io, json, os, shlex, shutil, subprocess, sys, tarfile, tempfile, urllib.error, urllib.request

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


def tar_of(root, owner_root=True, mtime=None):
    """The folder as an uncompressed layer, names in order, so that the same folder gives the same digest (with mtime also a new copy of it)."""
    out = io.BytesIO()

    def normal(info):
        if owner_root:
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
        info.mtime = int(info.mtime) if mtime is None else mtime
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


def base_root(root):
    for name in ("bin", "etc", "root", "usr", "usr/bin", "var", "var/log", "var/run", "run", "proc", "sys", "dev"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    os.makedirs(os.path.join(root, "tmp"), exist_ok=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    put_file(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\n"
             "nobody:x:65534:65534::/:/bin/false\n")
    put_file(root, "etc/group", "root:x:0:\ndaemon:x:1:\nadm:x:4:www-data\nwww-data:x:33:\nnogroup:x:65534:\n")


def busybox_root(root):
    base_root(root)
    binary = shutil.which("busybox") or sys.exit("mkimage: busybox (busybox-static) is needed")
    shutil.copy(binary, os.path.join(root, "bin/busybox"))
    for applet in subprocess.run([binary, "--list"], stdout=subprocess.PIPE, check=True, text=True).stdout.split():
        link = os.path.join(root, "bin", applet)
        if not os.path.lexists(link):
            os.symlink("busybox", link)


def libraries(binary):
    got = subprocess.run(["ldd", binary], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [word for line in got.stdout.splitlines() for word in line.split() if word.startswith("/")]


def copy_in(root, path):
    """A host file at its own place, links as links with what they lead to."""
    to = os.path.join(root, path.lstrip("/"))
    if os.path.lexists(to):
        return
    os.makedirs(os.path.dirname(to), exist_ok=True)
    if os.path.islink(path):
        target = os.path.realpath(path)
        os.symlink(os.readlink(path), to)
        copy_in(root, os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) if os.path.exists(target) else target)
    elif os.path.isfile(path):
        shutil.copy2(path, to)


def debian_root(root, packages):
    """What the installed packages own, and the libraries their programs and modules need."""
    busybox_root(root)
    for package in packages:
        files = subprocess.run(["dpkg", "-L", package], stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")
        for path in files:
            if path.startswith(("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/lib/systemd", "/etc/init.d")) or not path:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                os.makedirs(os.path.join(root, path.lstrip("/")), exist_ok=True)
                continue
            copy_in(root, path)
            if os.access(path, os.X_OK) or ".so" in path:
                for lib in libraries(path):
                    copy_in(root, lib)


def nginx_config(root, port):
    for name in ("var/lib/nginx/body", "var/log/nginx", "run", "var/www/html"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    put_file(root, "etc/nginx/nginx.conf", "pid /run/nginx.pid;\nworker_processes 1;\nerror_log /dev/stderr;\nevents { worker_connections 256; }\n"
             "http {\n  access_log /dev/stdout;\n  server {\n    listen %d;\n    root /var/www/html;\n    location / { index index.html; }\n  }\n}\n" % port)
    put_file(root, "var/www/html/index.html", "<h1>rancherd test web server</h1>\n")


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
                                  "history": [{"created_by": "mkimage"} for _ in layers]}).encode()
        self.blobs[digest(self.config)] = self.config
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": {
            "mediaType": OCI + "config.v1+json", "digest": digest(self.config), "size": len(self.config)}, "layers": self.layers}).encode()
        self.arch = arch

    def entry(self):
        return {"mediaType": OCI + "manifest.v1+json", "digest": digest(self.manifest), "size": len(self.manifest),
                "platform": {"os": "linux", "architecture": self.arch}}


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def write_oci(image, name, to):
    entry = dict(image.entry(), annotations={"io.containerd.image.name": name})
    with tarfile.open(to, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        for key, data in dict(image.blobs, **{digest(image.manifest): image.manifest}).items():
            add(tar, "blobs/" + key.replace(":", "/"), data)


def write_docker(image, name, to):
    with tarfile.open(to, "w") as tar:
        config = digest(image.config)[7:] + ".json"
        paths = [layer["digest"][7:] + "/layer.tar" for layer in image.layers]
        add(tar, config, image.config)
        for layer, path in zip(image.layers, paths):
            add(tar, path, image.blobs[layer["digest"]])
        add(tar, "manifest.json", json.dumps([{"Config": config, "RepoTags": [name], "Layers": paths}]).encode())


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


def split_name(name):
    repository, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "latest")
    first, _, rest = repository.partition("/")
    return (rest if rest and ("." in first or ":" in first or first == "localhost") else repository), tag


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--name", required=True, help="repository:tag, with or without a registry in front")
    p.add_argument("--root", action="append", default=[], help="a folder that becomes a layer; may come again")
    p.add_argument("--busybox", action="store_true", help="first layer: busybox-static with links for its applets")
    p.add_argument("--debian", nargs="+", default=[], help="first layer: busybox and these installed packages")
    p.add_argument("--nginx-port", type=int, help="with nginx in --debian: a configuration for this port")
    p.add_argument("--file", action="append", default=[], metavar="PATH=TEXT", help="a further layer of small files")
    p.add_argument("--entrypoint", default="", help="shell words")
    p.add_argument("--cmd", default="", help="shell words")
    p.add_argument("--env", action="append", default=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    p.add_argument("--user", default="")
    p.add_argument("--workdir", default="")
    p.add_argument("--arch", default={"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine))
    p.add_argument("--also-arch", action="append", default=[], help="an index with the same image for these too")
    p.add_argument("--compress", choices=TYPES, default="gzip")
    p.add_argument("--archive", choices=("docker", "oci"), help="write -o")
    p.add_argument("-o", "--output")
    p.add_argument("--push", metavar="URL", help="registry to push to")
    return p.parse_args()


def build_layers(a, scratch):
    layers = []
    if a.debian or a.busybox:
        if a.debian:
            debian_root(scratch, a.debian)
        else:
            busybox_root(scratch)
        if a.nginx_port:
            nginx_config(scratch, a.nginx_port)
        layers.append(tar_of(scratch, mtime=0))
    layers += [tar_of(root) for root in a.root]
    if a.file:
        with tempfile.TemporaryDirectory() as more:
            for item in a.file:
                path, _, text = item.partition("=")
                put_file(more, path, text)
            layers.append(tar_of(more, mtime=0))
    return layers


def main():
    a = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        layers = build_layers(a, scratch)
    config = {"Env": a.env, "User": a.user, "WorkingDir": a.workdir}
    if a.entrypoint:
        config["Entrypoint"] = shlex.split(a.entrypoint)
    if a.cmd:
        config["Cmd"] = shlex.split(a.cmd)
    image = Image(layers, config, a.compress, a.arch)
    if a.archive:
        (write_oci if a.archive == "oci" else write_docker)(image, a.name, a.output or sys.exit("mkimage: --archive needs -o"))
    if a.push:
        repository, tag = split_name(a.name)
        others = [Image(layers, config, a.compress, arch) for arch in a.also_arch]
        print(push([image] + others, a.push, repository, tag))


if __name__ == "__main__":
    main()
