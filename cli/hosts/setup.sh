#!/bin/sh
# Runs as the first process of a new host: builds its root, then becomes its init.
# Called by host.ts under `unshare --mount --net --uts --ipc --pid --fork`, with
#   $1 the host's folder (on a real disk)   $2 its name   $3 the checkout   then the init's command;
#   BERTH_HOST_KEPT: further folders that are on the host's disk, blanks between;
#   BERTH_HOST_CGROUP: on cgroup v2 the cgroup.procs file of what is to be the host's root.
#
#   folder/rw     tmpfs: what the host writes (overlay upper)      folder/root  the host's /
#   folder/disk   real disk: what overlayfs cannot carry (an Engine's data root) or a tmpfs should not (/tmp)
set -eu
folder=$1 name=$2 checkout=$3
shift 3
root=$folder/root

mount --make-rprivate /
mkdir -p "$folder/rw" "$root"
mount -t tmpfs -o mode=755,size=2g berth-host "$folder/rw"
mkdir "$folder/rw/upper" "$folder/rw/work"
mount -t overlay berth-host -o "lowerdir=/,upperdir=$folder/rw/upper,workdir=$folder/rw/work" "$root"

mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root/run/lock"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t sysfs sysfs "$root/sys"
# What an operator's machine keeps there is none of the host's business.
rm -rf "$root/etc/cni" "$root/etc/berth" "$root/var/lib/cni" "$root/var/log/pods" "$root/var/log/containers"
for place in var/lib/berth var/lib/docker tmp var/tmp ${BERTH_HOST_KEPT:-}; do
  mkdir -p "$folder/disk/$place" "$root/$place"
  case $place in *tmp) chmod 1777 "$folder/disk/$place" ;; esac
  mount --bind "$folder/disk/$place" "$root/$place"
done
# A checkout on a file system of its own is not in the overlay's lower layer, and one in /tmp is hidden by now.
if [ "$(stat -c %d "$checkout")" != "$(stat -c %d /)" ] || [ ! -e "$root$checkout/berth" ]; then
  mkdir -p "$root$checkout"
  mount --bind "$checkout" "$root$checkout"
fi

# This process already sits in the host's branch of every hierarchy: a new cgroup namespace makes that branch the root. On cgroup v2
# it sits in a child of the branch, and goes up for the moment.
[ -z "${BERTH_HOST_CGROUP:-}" ] || echo 0 >"$BERTH_HOST_CGROUP"
# The mounts must be made inside it, so the rest runs in a child shell.
export root name
exec unshare --cgroup -- sh -euc '
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mkdir -p "$root/sys/fs/cgroup/init" && echo 0 >"$root/sys/fs/cgroup/init/cgroup.procs"
  else
    mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
    while read -r id parent dev within at options rest; do
      case "$rest" in *" - cgroup "*|"- cgroup "*) ;; *) continue ;; esac
      case "$at" in /sys/fs/cgroup/*) ;; *) continue ;; esac
      controller=${at#/sys/fs/cgroup/}
      super=${rest##* }
      super=$(printf %s "$super" | tr , "\n" | grep -vE "^(rw|ro|xattr|clone_children|release_agent=.*)$" | paste -sd,)
      mkdir -p "$root/sys/fs/cgroup/$controller"
      mount -t cgroup -o "$super" cgroup "$root/sys/fs/cgroup/$controller"
    done </proc/self/mountinfo
  fi
  cd "$root"
  mkdir -p .old
  pivot_root . .old
  umount -l /.old
  rmdir /.old
  hostname "$name"
  printf "127.0.0.1 localhost %s\n" "$name" >/etc/hosts
  ip link set lo up
  cd /
  echo ready
  exec "$@"
' sh "$@"
