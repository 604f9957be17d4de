# packages.sh - Debian packages, sourced by scripts/run and scripts/test. Installs only what is missing.

BUILD_PACKAGES="gcc make pkg-config python3 libc6-dev libsqlite3-dev libuv1-dev libmbedtls-dev libjansson-dev zlib1g-dev
    libarchive-dev libnghttp2-dev libyaml-dev libzstd-dev libpcre2-dev"
RUN_PACKAGES="runc iproute2 ca-certificates"
TEST_PACKAGES="python3-venv curl nftables openssl"

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] || apt-get -q update
    apt_updated=yes
}

# need PACKAGE...: what is not installed yet comes from apt.
need() {
    missing=
    for p in "$@"; do installed "$p" || missing="$missing $p"; done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || { echo "missing packages (install them as root):$missing" >&2; exit 1; }
    echo "installing:$missing"
    apt_update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
}

# need_kubectl: any kubectl on PATH is good; Debian's otherwise.
need_kubectl() { command -v kubectl >/dev/null || need kubernetes-client; }

# unpack PROGRAM PACKAGE: a program tests use comes from PATH, or from a Debian package unpacked below build/debs,
# so that no service is started on this machine.
unpack() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null && return 0
    [ -z "$(find build/debs -name "$1" -type f -perm -100 2>/dev/null)" ] || return 0
    mkdir -p build/debs
    apt_update
    (cd build/debs && apt-get -q download "$2" && dpkg -x "$2"_*.deb . && rm -f "$2"_*.deb)
}
