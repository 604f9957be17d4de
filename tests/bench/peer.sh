#!/bin/bash
# The reference: upstream etcd and kube-apiserver, built from Go modules into build/peer (minutes the first time), run on loopback.
#   peer.sh build            peer.sh up DIR PORT  -> prints kubeconfig and pids        peer.sh down DIR
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd); P=$here/build/peer; V=1.37.2; ETCD=v3.6.16
export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0

build_etcd() {
  [ -x "$P/bin/etcd" ] && return
  mkdir -p "$P/etcd"; cd "$P/etcd"
  printf 'module peer\n\ngo 1.26\n' > go.mod
  printf 'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n' > main.go
  go get "go.etcd.io/etcd/server/v3@$ETCD"; go mod tidy; go build -ldflags '-s -w' -o "$P/bin/etcd" .
}

build_apiserver() {
  [ -x "$P/bin/kube-apiserver" ] && return
  dir=$(cd "$P" && GOFLAGS='' go mod download -json "k8s.io/kubernetes@v$V" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  rm -rf "$P/src"; cp -r "$dir" "$P/src"; chmod -R u+w "$P/src"; rm -rf "$P/src/vendor" "$P/src/go.work" "$P/src/go.work.sum"
  # the staging modules are published on their own
  sed -i -E "s#(k8s\.io/[a-z-]+) => \./staging/src/k8s\.io/[a-z-]+#\1 => \1 v0.${V#1.}#" "$P/src/go.mod"
  cd "$P/src"; go build -trimpath -ldflags '-s -w' -o "$P/bin/kube-apiserver" ./cmd/kube-apiserver
}

case ${1:-} in
build) mkdir -p "$P/bin"; build_etcd >&2; build_apiserver >&2 ;;
up)
  R=$2; PORT=$3; mkdir -p "$R"; cd "$R"
  openssl genrsa -out sa.key 2048 2>/dev/null
  echo 'reference,admin,1,system:masters' > tokens.csv
  setsid "$P/bin/etcd" --data-dir etcd --listen-client-urls "http://127.0.0.1:$((PORT + 1))" --advertise-client-urls "http://127.0.0.1:$((PORT + 1))" \
    --listen-peer-urls "http://127.0.0.1:$((PORT + 2))" --initial-advertise-peer-urls "http://127.0.0.1:$((PORT + 2))" \
    --initial-cluster "default=http://127.0.0.1:$((PORT + 2))" > etcd.log 2>&1 &
  echo $! > pids
  setsid "$P/bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$((PORT + 1))" --secure-port="$PORT" --bind-address=127.0.0.1 --cert-dir=certs \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
    --token-auth-file=tokens.csv --authorization-mode=Node,RBAC --service-cluster-ip-range=10.43.0.0/16 --allow-privileged \
    --enable-admission-plugins=NodeRestriction --endpoint-reconciler-type=none --advertise-address=127.0.0.1 > kube-apiserver.log 2>&1 &
  echo $! >> pids
  cat > kubeconfig <<K
apiVersion: v1
kind: Config
clusters: [{name: peer, cluster: {server: "https://127.0.0.1:$PORT", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: reference}}]
contexts: [{name: peer, context: {cluster: peer, user: admin}}]
current-context: peer
K
  for _ in $(seq 240); do
    curl -sk -m 2 -H 'Authorization: Bearer reference' "https://127.0.0.1:$PORT/readyz" 2>/dev/null | grep -q '^ok$' && exit 0; sleep .25
  done
  echo "the reference did not become ready: see $R/kube-apiserver.log" >&2; exit 1 ;;
down)
  [ -f "$2/pids" ] || exit 0
  kill $(cat "$2/pids") 2>/dev/null || true
  for p in $(cat "$2/pids"); do for _ in $(seq 50); do kill -0 "$p" 2>/dev/null || break; sleep .1; done; kill -9 "$p" 2>/dev/null || true; done ;;
*) echo "usage: peer.sh build | up DIR PORT | down DIR" >&2; exit 2 ;;
esac
