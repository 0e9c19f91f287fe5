/** Pods on networks that the host's configuration says: Debian's plugins in ours' place, ours in theirs, and configurations that are wrong. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import type { CniPodNetwork } from '../../../cni/invoke/pod-sandbox.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const obstacle = whyNoDockerd() ?? (existsSync(reference) ? undefined : 'no containernetworking-plugins of Debian');
const real = obstacle ? test.serial.skip : test.serial;
const base = mkdtempSync(join(tmpdir(), 'berth-agent-cni-'));
const confDir = join(base, 'net.d');
const binDir = join(base, 'bin');
for (const folder of [confDir, binDir]) mkdirSync(folder);
let engine: PrivateDockerd;
let node: TestAgent;
let network: CniPodNetwork;
const stop = new AbortController();
let following: Promise<void>;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    network = createPodNetwork(
      {
        mode: 'directory',
        confDir,
        binDirs: [binDir],
        cacheDir: base,
        dataDir: join(base, 'networks'),
        podCidrs: () => ['10.244.1.0/24'],
      },
      { log: silentLogger, clock: systemClock },
    );
    following = network.run(stop.signal);
    node = await createTestAgent({ docker: engine.docker, network });
    node.start();
  });
  test.after.always(async () => {
    try {
      await node?.remove();
      stop.abort();
      await following;
      network?.close();
    } finally {
      await engine?.stop();
      rmSync(base, { recursive: true, force: true });
    }
  });
}

const ipamOf = (subnet: string) => ({ type: 'host-local', dataDir: join(base, 'networks'), ranges: [[{ subnet }]] });
const bridgeOf = (subnet: string, extra: object = {}) => ({
  type: 'bridge',
  bridge: 'br0',
  isDefaultGateway: true,
  ipam: ipamOf(subnet),
  ...extra,
});

/** Writes the directory's one configuration and waits until it is what pods get. */
async function configure(name: string, plugins: object[], extra: object = {}): Promise<void> {
  writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify({ cniVersion: '1.0.0', name, plugins, ...extra }));
  // The watch waits until the directory is quiet.
  await systemClock.sleep(400);
}

const manifest = (name: string, annotations: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, annotations },
  spec: {
    dnsPolicy: 'Default',
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        name: 'app',
        image: BUSYBOX_IMAGE,
        imagePullPolicy: 'Never',
        command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'],
      },
    ],
  },
});
const statusOf = (pod: string) => node.pod(pod)?.status;
const running = (pod: string) =>
  eventually(`${pod} runs`, () => statusOf(pod)?.containerStatuses?.[0]?.state?.running && statusOf(pod)?.podIP);
const eventOf = (pod: string, reason: string) =>
  node.events.findLast((event) => event.pod === `${pod}-node-1` && event.reason === reason)?.message;
const failure = (pod: string) => eventually(`${pod} fails`, () => eventOf(pod, 'FailedCreatePodSandBox'));
const leases = (name: string) =>
  existsSync(join(base, 'networks', name))
    ? readdirSync(join(base, 'networks', name)).filter((file) => /^\d+\./.test(file))
    : [];

async function removed(pod: string): Promise<void> {
  await node.unapply(pod);
  await eventually(`${pod} is gone`, () => !node.pod(pod));
}

real('no configuration: pods wait with NetworkNotReady; with one they start by themselves', async (t) => {
  await node.apply(manifest('first'));
  const said = await eventually('it is told', () => eventOf('first', 'NetworkNotReady'));
  t.regex(String(said), /network is not ready: cni config uninitialized: no usable network configuration in /);
  await configure('ours', [bridgeOf('10.9.0.0/24')]);
  t.is(await running('first'), '10.9.0.2');
});

real('Debian’s plugins in our place, with a pod of ours running: both reach each other, both go', async (t) => {
  for (const type of ['bridge', 'host-local']) await run('ln', ['-sf', join(reference, type), join(binDir, type)]);
  await node.apply(manifest('second'));
  t.is(await running('second'), '10.9.0.3');
  const app = node.runtime('second')!.containers[0]!.id;
  const { exitCode } = await engine.docker.execInContainer(app, ['ping', '-c1', '-W2', '10.9.0.2']);
  t.is(exitCode, 0);
  await removed('first');
  t.deepEqual(leases('ours'), ['10.9.0.3']);
  for (const type of ['bridge', 'host-local']) rmSync(join(binDir, type));
  await removed('second');
  t.deepEqual(leases('ours'), []);
});

real(
  'what is wrong is told with code and details in FailedCreatePodSandBox, nothing stays; the right one ends it',
  async (t) => {
    const cases: [name: string, plugins: object[], expected: RegExp][] = [
      [
        'overlapping',
        [
          bridgeOf('', {
            ipam: { ...ipamOf('10.8.0.0/24'), ranges: [[{ subnet: '10.8.0.0/24' }], [{ subnet: '10.8.0.0/25' }]] },
          }),
        ],
        /plugin type="bridge" failed \(add\): .*overlap.*\(CNI error 7\)/,
      ],
      [
        'gateway',
        [bridgeOf('10.7.0.0/24')],
        /plugin type="bridge" failed \(add\): "br0" already has an IP address different from 10\.7\.0\.1\/24.*\(CNI error \d+\)/,
      ],
      [
        'master',
        [{ type: 'macvlan', master: 'nowhere0', ipam: ipamOf('10.6.0.0/24') }],
        /plugin type="macvlan" failed \(add\): .*nowhere0/,
      ],
    ];
    for (const [name, plugins, expected] of cases) {
      await configure(name, plugins);
      await node.apply(manifest(name));
      t.regex(String(await failure(name)), expected, name);
      t.deepEqual(leases(name), [], name);
      // The one that is left gets the only address of the next network.
      if (name !== 'overlapping') await removed(name);
    }
    await configure('small', [bridgeOf('10.5.0.0/30', { bridge: 'br1' })]);
    t.is(await running('overlapping'), '10.5.0.2', 'the way out: another configuration');
    await node.apply(manifest('late'));
    t.regex(
      String(await failure('late')),
      /no IP addresses available in range set: 10\.5\.0\.1-10\.5\.0\.2.*\(CNI error 100\)/,
    );
    for (const pod of ['overlapping', 'late']) await removed(pod);
    t.deepEqual(leases('small'), []);
  },
);

real('a bandwidth that is none keeps the pod from starting, in kubelet’s words', async (t) => {
  await configure('ours', [bridgeOf('10.9.0.0/24', { capabilities: { bandwidth: true } })]);
  await node.apply(manifest('tiny', { 'kubernetes.io/ingress-bandwidth': '10' }));
  t.regex(
    String(await failure('tiny')),
    /failed to get pod bandwidth from annotations: .*unreasonably small \(< 1kbit\)/,
  );
  await removed('tiny');
});
