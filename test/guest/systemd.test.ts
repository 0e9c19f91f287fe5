/** `berth up` where systemd is PID 1, beside a distribution's Docker with the systemd cgroup driver, on cgroup v2. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { PAUSE_IMAGE } from '../../cli/images/catalog.ts';
import { KUBECONFIG, kubectlOrWhyNot } from '../support/cluster-host.ts';
import { makeCheckoutDisk } from '../support/guest/checkout.ts';
import { bootGuest, type Guest, whyNoGuest } from '../support/guest/guest.ts';
import { findGuestImage } from '../support/guest/image.ts';
import { CHECKOUT_IN_GUEST } from '../support/guest/root-files.ts';
import { BUSYBOX, httpServer, pod, script } from '../support/manifests.ts';

/** The emulated processor is some twenty times slower than a real one. */
const SLOW_SECONDS = 240;
const POD_SLICES = '/sys/fs/cgroup/kubepods.slice';
const KUBECTL = `${CHECKOUT_IN_GUEST}/.toolchain/kubectl/usr/bin/kubectl --kubeconfig ${KUBECONFIG}`;

const kubectl = await kubectlOrWhyNot();
const found = await findGuestImage({ build: process.env['BERTH_TEST_FULL'] === '1' && !whyNoGuest() });
const missing =
  whyNoGuest() ?? ('missing' in found ? found.missing : undefined) ?? ('skip' in kubectl ? kubectl.skip : undefined);
/** Each step stands on the one before it. */
const step = missing ? test.skip : test.serial;
const name = (what: string) => (missing ? `${what} (${missing})` : what);

let work: string;
let guest: Guest;
/** Container ids by pod name, of the app containers. */
let containers: string;

test.before(async () => {
  if (missing || 'missing' in found || 'skip' in kubectl) return;
  work = mkdtempSync(join(tmpdir(), 'berth-systemd-'));
  guest = await bootGuest(found, await makeCheckoutDisk(work, kubectl.program, [PAUSE_IMAGE, BUSYBOX]));
});
test.after.always(async () => {
  await guest?.close();
  if (work) rmSync(work, { recursive: true, force: true });
});

const appContainers = () =>
  guest.sh(
    `docker ps --no-trunc --filter name=k8s_main_ --format '{{.Label "io.kubernetes.pod.name"}} {{.ID}}' | sort`,
  );
const untilRunning = (count: number) =>
  guest.sh(
    `until [ "$(docker ps -q --filter name=k8s_main_ | wc -l)" = ${count} ]; do sleep 1; done; ${KUBECTL} wait --for=condition=Ready pod --all --timeout=120s`,
    SLOW_SECONDS,
  );
const unit = async () =>
  Object.fromEntries(
    (
      await guest.sh(
        'systemctl show berth.service -p Type,ActiveState,SubState,UnitFileState,StatusErrno,Result,NRestarts',
      )
    )
      .split('\n')
      .map((line) => line.split('=')),
  );
const identities = () =>
  guest.sh(`${KUBECTL} get nodes,pods -o jsonpath='{range .items[*]}{.metadata.name} {.metadata.uid}{"\\n"}{end}'`);

step(name("Docker has systemd's cgroup driver on cgroup v2"), async (t) => {
  t.is(await guest.sh('ps -o comm= 1'), 'systemd');
  await guest.sh('systemctl start docker.service', SLOW_SECONDS);
  t.is(await guest.sh(`docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}'`), 'systemd 2');
});

step(name('up installs the unit, systemd sees it ready, the Engine is the host’s'), async (t) => {
  const { code, stdout, stderr } = await guest.try(`${CHECKOUT_IN_GUEST}/berth up`, SLOW_SECONDS);
  t.is(code, 0, stdout + stderr);
  t.like(await unit(), {
    Type: 'notify',
    ActiveState: 'active',
    SubState: 'running',
    UnitFileState: 'enabled',
    NRestarts: '0',
  });
  t.is((await guest.try('systemctl status berth.service')).code, 0);
  t.is(await guest.sh("stat -c '%a %U:%G' /etc/systemd/system/berth.service"), '600 root:root', 'CIS 4.1.1, 4.1.2');
  t.regex(await guest.sh(`${CHECKOUT_IN_GUEST}/berth status`), /docker \(host\)/);
});

step(name('pods run in slices of systemd, their limits are in the files of cgroup v2'), async (t) => {
  await guest.sh(`docker load -q -i ${CHECKOUT_IN_GUEST}/.toolchain/images/berth_busybox*.tar`, SLOW_SECONDS);
  const idle = script('exec sleep 1000000');
  const items = [
    pod('plain', httpServer()),
    pod('burstable', {
      ...idle,
      resources: { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '250m', memory: '64Mi' } },
    }),
    pod('guaranteed', { ...idle, resources: { limits: { cpu: '130m', memory: '48Mi' } } }),
  ];
  await guest.sh(`cat >/root/pods.json <<'END'\n${JSON.stringify({ apiVersion: 'v1', kind: 'List', items })}\nEND`);
  await guest.sh(`${KUBECTL} create -f /root/pods.json`, SLOW_SECONDS);
  await untilRunning(3);
  containers = await appContainers();

  const idOf = (pod: string) => new RegExp(`^${pod} (\\w+)$`, 'm').exec(containers)?.[1];
  const uidOf = async (pod: string) =>
    (await guest.sh(`${KUBECTL} get pod ${pod} -o jsonpath='{.metadata.uid}'`)).replaceAll('-', '_');
  const files = (slice: string) => guest.sh(`cd ${POD_SLICES}/${slice} && cat cpu.max memory.max cpu.weight`);
  const burstable = `kubepods-burstable.slice/kubepods-burstable-pod${await uidOf('burstable')}.slice`;
  const guaranteed = `kubepods-pod${await uidOf('guaranteed')}.slice`;
  t.is(await files(burstable), '25000 100000\n67108864\n4');
  t.is(await files(`${burstable}/docker-${idOf('burstable')}.scope`), '25000 100000\n67108864\n4');
  t.is(await files(guaranteed), '13000 100000\n50331648\n5');
  t.is(await files(`${guaranteed}/docker-${idOf('guaranteed')}.scope`), '13000 100000\n50331648\n5');
  const plain = `kubepods-besteffort.slice/kubepods-besteffort-pod${await uidOf('plain')}.slice`;
  t.is(await files(`${plain}/docker-${idOf('plain')}.scope`), 'max 100000\nmax\n1');
  const alone = `${burstable}/docker-${idOf('burstable')}.scope`;
  t.is(await guest.sh(`cd ${POD_SLICES}/${alone} && cat memory.swap.max memory.oom.group`), '0\n1');
  t.is(await guest.sh(`cd ${POD_SLICES}/${burstable} && cat memory.swap.max`), '0');
  t.regex(
    await guest.sh('systemctl list-units --no-legend "kubepods*.slice"'),
    /kubepods-burstable\.slice +loaded active active/,
  );
});

step(name('a reload of systemd leaves the limits'), async (t) => {
  const all = () =>
    guest.sh(`cd ${POD_SLICES} && grep -r . --include=cpu.max --include=memory.max --include=cpu.weight . | sort`);
  const before = await all();
  await guest.sh('systemctl daemon-reload', SLOW_SECONDS);
  t.is(await all(), before);
});

const fullOnly = process.env['BERTH_TEST_FULL'] === '1' ? step : test.skip;
fullOnly(name('a container with a CPU of its own, on cgroup v2 with systemd (--full)'), async (t) => {
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    cpuManagerPolicy: 'static',
    reservedSystemCPUs: '0',
  };
  const amounts = { limits: { cpu: '1', memory: '32Mi' } };
  const own = JSON.stringify(pod('own', { ...script('exec sleep 1000000'), resources: amounts }));
  await guest.sh(`echo '${JSON.stringify(config)}' >/root/static.json && systemctl stop berth.service`, SLOW_SECONDS);
  await guest.sh(`${CHECKOUT_IN_GUEST}/berth up --kubelet-config /root/static.json`, SLOW_SECONDS);
  await guest.sh(`echo '${own}' | ${KUBECTL} create -f -`, SLOW_SECONDS);
  await untilRunning(4);
  const cpusetOf = (id: string) => guest.sh(`cat $(find ${POD_SLICES} -name docker-${id}.scope)/cpuset.cpus`);
  const idIn = (list: string, pod: string) => new RegExp(`^${pod} (\\w+)$`, 'm').exec(list)![1]!;
  const all = await appContainers();
  t.is(await cpusetOf(idIn(all, 'own')), '1');
  t.is(await guest.sh(`cat $(find ${POD_SLICES} -name docker-${idIn(all, 'own')}.scope)/cpu.max`), 'max 100000');
  for (const other of ['plain', 'burstable', 'guaranteed']) t.is(await cpusetOf(idIn(all, other)), '0', other);
  // Units of systemd keep what the Engine told them.
  await guest.sh('systemctl daemon-reload', SLOW_SECONDS);
  t.is(await cpusetOf(idIn(all, 'plain')), '0');
  await guest.sh(`${KUBECTL} delete pod own --grace-period=1`, SLOW_SECONDS);
  await guest.sh(
    `until [ "$(cat $(find ${POD_SLICES} -name docker-${idIn(all, 'plain')}.scope)/cpuset.cpus)" = 0-1 ]; do sleep 1; done`,
    SLOW_SECONDS,
  );
  t.is(await cpusetOf(idIn(all, 'guaranteed')), '0-1');
  // Back to no policy, as an operator does it.
  await guest.sh('systemctl stop berth.service && rm /var/lib/berth/kubelet/cpu_manager_state', SLOW_SECONDS);
  await guest.sh(`echo '${JSON.stringify({ ...config, cpuManagerPolicy: 'none' })}' >/root/static.json`);
  await guest.sh(`${CHECKOUT_IN_GUEST}/berth up --kubelet-config /root/static.json`, SLOW_SECONDS);
  await untilRunning(3);
  t.is(await appContainers(), containers);
});

step(name('stop leaves pods running, start takes them over'), async (t) => {
  await guest.sh('systemctl stop berth.service', SLOW_SECONDS);
  t.like(await unit(), { ActiveState: 'inactive', Result: 'success' });
  t.is(await appContainers(), containers);
  await guest.sh('systemctl start berth.service', SLOW_SECONDS);
  t.like(await unit(), { ActiveState: 'active', SubState: 'running' });
  await untilRunning(3);
  t.is(await appContainers(), containers);
});

step(name('a reboot brings everything back: the same objects, pods running again'), async (t) => {
  const before = await identities();
  const boot = await guest.sh('cat /proc/sys/kernel/random/boot_id');
  await guest.reboot();
  t.not(await guest.sh('cat /proc/sys/kernel/random/boot_id'), boot);
  await guest.sh('until systemctl -q is-active berth.service; do sleep 1; done', SLOW_SECONDS);
  await untilRunning(3);
  t.is(await identities(), before);
  t.not(await appContainers(), containers);
  t.is(await guest.sh('find /sys/fs/cgroup/kubepods.slice -name "docker-*.scope" | wc -l'), '6');
});

step(name('a shutdown of the machine waits for the pods: logind, asked by systemctl'), async (t) => {
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    shutdownGracePeriod: '90s',
    shutdownGracePeriodCriticalPods: '30s',
  };
  await guest.sh(`echo '${JSON.stringify(config)}' >/root/kubelet.json && systemctl stop berth.service`, SLOW_SECONDS);
  await guest.sh(`${CHECKOUT_IN_GUEST}/berth up --kubelet-config /root/kubelet.json`, SLOW_SECONDS);
  await guest.sh('until systemd-inhibit --list --no-legend | grep -q ^berth; do sleep 1; done', SLOW_SECONDS);
  t.regex(await guest.sh('systemd-inhibit --list --no-legend'), /^berth .* shutdown .* delay$/m);
  const property = 'org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager InhibitDelayMaxUSec';
  t.is(await guest.sh(`busctl get-property ${property}`), 't 90000000');
  const boot = await guest.sh('cat /proc/sys/kernel/random/boot_id');
  await guest.reboot();
  t.not(await guest.sh('cat /proc/sys/kernel/random/boot_id'), boot);
  await guest.sh('until systemctl -q is-active berth.service; do sleep 1; done', SLOW_SECONDS);
  const ends = '{range .items[*]}{.metadata.name} {.status.phase} {.status.reason}{"\\n"}{end}';
  t.is(
    await guest.sh(`${KUBECTL} get pods -o jsonpath='${ends}' | sort`, SLOW_SECONDS),
    'burstable Failed Terminated\nguaranteed Failed Terminated\nplain Failed Terminated',
  );
  const state = JSON.parse(await guest.sh('cat /var/lib/berth/kubelet/graceful_node_shutdown_state'));
  t.true(Date.parse(state.endTime) > Date.parse(state.startTime));
});

step(name('down removes the unit, the pods and their slices; Docker stays'), async (t) => {
  await guest.sh(`${CHECKOUT_IN_GUEST}/berth down --purge`, SLOW_SECONDS);
  t.is((await guest.try('systemctl cat berth.service')).code, 1);
  t.is(await guest.sh('ls /etc/systemd/system/berth* /etc/systemd/system/*/berth* 2>/dev/null || true'), '');
  t.is(await guest.sh('docker ps -aq'), '');
  t.is(
    await guest.sh('ls -d /sys/fs/cgroup/kubepods* 2>/dev/null; systemctl list-units --all --no-legend "kubepods*"'),
    '',
  );
  t.is(await guest.sh('ls -d /var/lib/berth /run/berth 2>/dev/null || true'), '');
  t.is(await guest.sh('ls /etc/systemd/logind.conf.d 2>/dev/null || true'), '');
  t.is(await guest.sh('systemctl is-active docker.service'), 'active');
});
