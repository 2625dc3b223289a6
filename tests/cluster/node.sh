#!/usr/bin/env bash
# A node of the test cluster: containerd, kubelet and kube-proxy, in namespaces that `cargo xtask cluster` has made for it.
#
# Mounts, network and processes are its own, so that all of it is gone when the first process of it is, and nothing of the machine is
# changed: what a kubelet would set for the whole kernel it finds set. Only the cgroups are the machine's, below one of its own.
# The directory of the run is the working directory; what differs from run to run is in the environment, which `node.rs` gives.
set -euo pipefail

say() { printf 'node: %s\n' "$*" >&2; }

# The link to the machine is laid from there, now that there is a network to lay it to.
echo "namespaces are there"
read -r _

say "mounts"
# Other engines, systemd, the lock of iptables, names of networks: a node has none of the machine's.
for directory in /run /var/log /var/lib/cni /var/lib/kubelet; do
    mkdir -p "$directory"
    mount -t tmpfs tmpfs "$directory"
done
mkdir tunables
while read -r name value; do
    printf '%s\n' "$value" >"tunables/${name##*/}"
    mount --bind "tunables/${name##*/}" "/proc/sys/$name"
done <<'EOF'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF

say "cgroups"
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || say "no $controller for groups"
    done
    mkdir "/sys/fs/cgroup/$NODE_CGROUP"
else
    for hierarchy in /sys/fs/cgroup/*/; do
        mkdir -p "$hierarchy$NODE_CGROUP"
    done
fi

say "network"
ip link set lo up
ip address add "$NODE_ADDRESS/30" dev uplink
ip link set uplink up
ip route add default via "$NODE_GATEWAY"
echo 1 >/proc/sys/net/ipv4/ip_forward

say "the image that pods begin with"
mkdir -p pause/layer
cp "$NODE_PROGRAMS/pause" pause/layer/
tar -C pause/layer -cf pause/layer.tar pause
sum=$(sha256sum pause/layer.tar | cut -d ' ' -f 1)
case $(uname -m) in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac
cat >pause/config.json <<EOF
{"architecture": "$architecture", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]}}
EOF
cat >pause/manifest.json <<EOF
[{"Config": "config.json", "RepoTags": ["$NODE_PAUSE"], "Layers": ["layer.tar"]}]
EOF
tar -C pause -cf pause.tar manifest.json config.json layer.tar

say "containerd"
containerd --config containerd.toml >containerd.log 2>&1 &
for _ in $(seq 300); do
    ctr --address "$PWD/containerd.sock" version >/dev/null 2>&1 && break
    sleep 0.1
done
ctr --address "$PWD/containerd.sock" --namespace k8s.io images import pause.tar >/dev/null

say "kubelet and kube-proxy"
"$NODE_PROGRAMS/kubelet" --config kubelet.json --kubeconfig node.kubeconfig --root-dir "$PWD/kubelet" \
    --cert-dir "$PWD/kubelet-certificates" --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESS" >kubelet.log 2>&1 &
# It leaves the connection tracking of the machine as it is.
"$NODE_PROGRAMS/kube-proxy" --kubeconfig proxy.kubeconfig --hostname-override "$NODE_NAME" --proxy-mode iptables \
    --conntrack-max-per-core 0 --conntrack-min 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0 \
    >kube-proxy.log 2>&1 &
status=0
wait -n || status=$?
say "one of them ended with $status"
exit 1
