/** Where the guest finds the checkout. */
export const CHECKOUT_IN_GUEST = '/opt/berth';
/** The guest's only interface is a dummy one: nothing that it sends can leave it. */
export const GUEST_ADDRESS = '192.0.2.10';

const COMMANDS = `#!/bin/sh
# Takes commands from the second serial line, one in base64 a line, and answers with exit code, stdout and stderr.
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/null
stty raw -echo
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo READY
while IFS= read -r line; do
  id=\${line%% *} rest=\${line#* } seconds=\${rest%% *}
  printf %s "\${rest#* }" | base64 -d >/run/command
  timeout "$seconds" sh /run/command >/run/command.out 2>/run/command.err </dev/null
  code=$?
  printf 'ANSWER %s %s %s %s\\n' "$id" "$code" "$(base64 -w0 /run/command.out)" "$(base64 -w0 /run/command.err)"
done
`;

const COMMANDS_UNIT = `[Unit]
Description=Commands from the test
After=local-fs.target
[Service]
ExecStart=/usr/local/sbin/guest-commands
# A command may bring up daemons' helpers of its own; ending the shell is enough.
KillMode=process
[Install]
WantedBy=multi-user.target
`;

const NETWORK_UNIT = `[Unit]
Description=A network that leads nowhere
Before=network.target network-online.target docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add eth0 type dummy
ExecStart=ip address add ${GUEST_ADDRESS}/24 dev eth0
ExecStart=ip link set eth0 up
ExecStart=ip route add default via 192.0.2.1
[Install]
WantedBy=multi-user.target
`;

/** What the guest's root has beside its packages: path → text. Programs are those below sbin. */
export const rootFiles: Readonly<Record<string, string>> = {
  '/etc/hostname': 'guest\n',
  '/etc/hosts': '127.0.0.1 localhost\n127.0.1.1 guest\n',
  '/etc/resolv.conf': 'nameserver 192.0.2.1\n',
  '/etc/fstab': `/dev/vda / ext4 defaults 0 0\n/dev/vdb ${CHECKOUT_IN_GUEST} ext4 defaults,nofail 0 0\n`,
  '/etc/docker/daemon.json': '{ "exec-opts": ["native.cgroupdriver=systemd"] }\n',
  '/etc/systemd/system/guest-commands.service': COMMANDS_UNIT,
  '/etc/systemd/system/guest-network.service': NETWORK_UNIT,
  '/usr/local/sbin/guest-commands': COMMANDS,
};

export const ROOT_UNITS: readonly string[] = ['guest-commands.service', 'guest-network.service'];

export const ROOT_PACKAGES: readonly string[] = [
  'systemd-sysv',
  'dbus',
  'udev',
  'kmod',
  'iproute2',
  'iptables',
  'nftables',
  'conntrack',
  'docker.io',
  // Debian's kernel has AppArmor on: Docker starts no container without its tools, which are a mere recommendation of docker.io.
  'apparmor',
  'catatonit',
  'busybox-static',
  'procps',
  'util-linux',
];

/** In this order: what a virtio disk needs that Debian's kernel has as modules. */
export const DISK_MODULES: readonly string[] = [
  'drivers/virtio/virtio_ring.ko',
  'drivers/virtio/virtio.ko',
  'drivers/virtio/virtio_pci_legacy_dev.ko',
  'drivers/virtio/virtio_pci_modern_dev.ko',
  'drivers/virtio/virtio_pci.ko',
  'drivers/block/virtio_blk.ko',
];

/** The first program of the initial RAM disk: mounts the root and hands over to systemd. */
export const INIT = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in ${DISK_MODULES.map((path) => path.replace(/^.*\//, '')).join(' ')}; do /bin/busybox insmod /modules/$module; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.05; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
`;
