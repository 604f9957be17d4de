#!/bin/sh
# start.sh PROGRAM [server flags]: what `make run` does. Starts the server in the background, waits for its node, says what to type next.
set -eu
program=$1; shift
run=/run/rancherd-dev
log=/var/log/rancherd.log
kubeconfig=/etc/rancher/rancherd/rancherd.yaml

[ "$(id -u)" = 0 ] || { echo "rancherd runs as root" >&2; exit 1; }
mkdir -p "$run"
ours() { [ -s "$run/pid" ] && [ "$(readlink "/proc/$(cat "$run/pid")/exe" 2>/dev/null | sed 's/ (deleted)$//')" = "$run/rancherd" ]; }
if ours; then
    echo "stopping the server an earlier run started"
    kill "$(cat "$run/pid")"
    for _ in $(seq 150); do ours || break; sleep 0.1; done
    ! ours || { echo "process $(cat "$run/pid") does not end" >&2; exit 1; }
fi
if command -v systemctl >/dev/null && systemctl -q is-active rancherd rancherd-agent 2>/dev/null; then
    echo "the installed service is running: systemctl stop rancherd, or scripts/uninstall" >&2
    exit 1
fi

cp -f "$program" "$run/rancherd.new" && mv -f "$run/rancherd.new" "$run/rancherd"
: >"$log"
setsid "$run/rancherd" server "$@" </dev/null >>"$log" 2>&1 &
echo $! >"$run/pid"
began=$(date +%s)
node_ready() { KUBECONFIG=$kubeconfig kubectl get nodes --no-headers 2>/dev/null | grep -q ' Ready'; }
until grep -q 'server ready' "$log" && { [ "${NODE:-yes}" = no ] || node_ready; }; do
    ours || { echo "the server ended:" >&2; tail -n 20 "$log" >&2; exit 1; }
    [ $(($(date +%s) - began)) -lt 60 ] || { echo "no Ready node after 60 s:" >&2; tail -n 20 "$log" >&2; exit 1; }
    sleep 0.1
done
KUBECONFIG=$kubeconfig kubectl get nodes -o wide
cat <<EOT

rancherd server runs as process $(cat "$run/pid"), log in $log. Next:
  export KUBECONFIG=$kubeconfig
  kubectl get pods -A
Join another machine (from a copy of this program):
  rancherd agent --server https://$(hostname -I | cut -d' ' -f1):6443 --token \$(cat /var/lib/rancher/rancherd/server/token)
Stop the server (containers go on):  kill $(cat "$run/pid")
Stop containers too:                 scripts/killall
EOT
