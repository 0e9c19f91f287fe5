#!/bin/sh
# The first process of a user-mode-linux guest: builds its root, runs one command there and powers the guest off.
# Called by the kernel, whose root is this machine's files (hostfs, read-only), with these in its environment:
#   UML_COMMAND  a shell script, where it is on this machine     UML_MODULES  the kernel's modules     UML_CHECKOUT  the checkout
# The command's output goes to the second console (/dev/tty1), which carries nothing else but `uml-booted` before and
# `uml-exit <code>` after it.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=/mnt

mount -t proc proc /proc
mount -t tmpfs -o size=75% guest $work
insmod "$UML_MODULES/kernel/fs/overlayfs/overlay.ko"
mkdir $work/upper $work/work $work/root
# What the guest writes stays in its memory: the machine's files are the lower layer.
mount -t overlay -o lowerdir=/,upperdir=$work/upper,workdir=$work/work guest $work/root
cd $work/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
for place in dev/shm run tmp var/tmp; do mount -t tmpfs -o mode=1777 guest $place; done
# Overlayfs cannot carry an Engine's data root.
mkdir -p var/lib/docker var/lib/berth "lib/modules/${UML_MODULES##*/}"
mount -t tmpfs -o mode=711 guest var/lib/docker
mount -t tmpfs -o mode=755 guest var/lib/berth
cp "$UML_COMMAND" run/command
# A checkout below /tmp is hidden by now.
if [ ! -e "./$UML_CHECKOUT/berth" ]; then
  mkdir -p $work/checkout-upper $work/checkout-work "./$UML_CHECKOUT"
  mount -t overlay -o "lowerdir=$UML_CHECKOUT,upperdir=$work/checkout-upper,workdir=$work/checkout-work" guest "./$UML_CHECKOUT"
fi
mount --bind "$UML_MODULES" "lib/modules/${UML_MODULES##*/}"
mount -t cgroup2 cgroup2 sys/fs/cgroup
# A cgroup with processes delegates nothing. Only this process moves: the kernel's own threads stay in the root, or the cpu
# controller is refused for the real-time ones among them.
mkdir sys/fs/cgroup/init
echo 1 >sys/fs/cgroup/init/cgroup.procs
echo '+cpu +memory +pids' >sys/fs/cgroup/cgroup.subtree_control
mkdir -p .old
pivot_root . .old
umount -l /.old
hostname uml
ip link set lo up
echo uml-booted >/dev/tty1
code=0
setsid sh -c 'exec sh /run/command </dev/null >/dev/tty1 2>&1' || code=$?
echo "uml-exit $code" >/dev/tty1
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
