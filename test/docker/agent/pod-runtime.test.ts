import { execFile } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { createPodRuntime, NETNS_VARIABLE } from '../../../agent/sandbox/pod-runtime.ts';
import { choosePodRuntime, installPodRuntime } from '../../../cli/engine/pod-runtime.ts';
import { netnsId } from '../../../src/linux/netns.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages, PAUSE_IMAGE } from '../../support/images.ts';

const CLI = join(import.meta.dirname, '../../../cli/main.ts');
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
const flags: string[] = [];
const warnings: string[] = [];
/** Where each attach was asked to work, as it was at that moment. */
const attached: { name: string; path: string; netns: string | undefined }[] = [];
const fake = createFakePodNetwork();
const network: typeof fake = {
  ...fake,
  attach(attachment, signal) {
    attached.push({ name: attachment.name, path: attachment.netnsPath, netns: netnsId(attachment.netnsPath) });
    return fake.attach(attachment, signal);
  },
};
let folder: string;
let script: string;
let engine: PrivateDockerd;
let node: TestAgent;

const log = {
  ...silentLogger,
  warn: (...args: unknown[]) => void warnings.push(args.map((arg) => JSON.stringify(arg)).join(' ')),
  info() {},
  debug() {},
} as unknown as Logger;

async function startAgent(): Promise<void> {
  const name = choosePodRuntime('auto', await engine.docker.info());
  const podRuntime = name ? createPodRuntime(name, { docker: engine.docker, log }) : undefined;
  const docker = podRuntime?.docker ?? engine.docker;
  node = await createTestAgent({ docker, network, ...(podRuntime && { podRuntime }) });
  node.start();
}

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async (t) => {
    folder = await mkdtemp('/tmp/berth-pod-runtime-');
    script = `${folder}/berth-runtime`;
    t.is(installPodRuntime(script), undefined);
    flags.push('--add-runtime', `berth=${script}`);
    engine = await startDockerd({ flags });
    await loadTestImages(engine.socketPath);
    await startAgent();
  });
  test.after.always(async () => {
    try {
      await node?.remove();
    } finally {
      await engine?.stop();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

function manifest(name: string, spec: object = {}, containers: object[] = [{ name: 'app' }]) {
  const common = { image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: ['sleep', '1000'] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 0,
      containers: containers.map((container) => ({ ...common, ...container })),
      ...spec,
    },
  };
}

async function start(name: string, spec: object = {}, containers: object[] = [{ name: 'app' }]): Promise<void> {
  await node.apply(manifest(name, spec, containers));
  await eventually(`${name} is ready`, () => isReady(name));
}

const isReady = (pod: string) =>
  node.pod(pod)?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;

async function gone(name: string): Promise<void> {
  await node.unapply(name);
  await eventually(`${name} is gone`, () => !node.pod(name));
}

const pidOf = async (id: string) => (await engine.docker.inspectContainer(id)).pid!;
const sandboxOf = (pod: string) => node.runtime(pod)!.sandboxes[0]!.id;
const containerOf = (pod: string, name: string) => node.runtime(pod)!.containers.find((one) => one.name === name)!.id;
const namespaceOf = async (id: string, kind: 'net' | 'uts') => readlinkSync(`/proc/${await pidOf(id)}/ns/${kind}`);
const attachmentOf = (pod: string) => attached.filter(({ name }) => name === `${pod}-node-1`);
const exec = async (id: string, ...command: string[]) =>
  (await engine.docker.execInContainer(id, command)).output.toString().trim();

/** Descriptors of ours that hold a network namespace. */
function heldNetns(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('net:');
    } catch {
      return false;
    }
  }).length;
}

real(
  'a pause joins the network namespace that was wired before it ran; the containers share its host name',
  async (t) => {
    const before = heldNetns();
    await start('joined', { hostname: 'first' }, [
      { name: 'app', securityContext: { capabilities: { add: ['SYS_ADMIN'] } } },
      { name: 'side' },
    ]);
    const pause = sandboxOf('joined');
    const [attachment, more] = attachmentOf('joined');
    t.is(more, undefined, 'attached once');
    t.is(attachment!.path.split('/fd/')[0], `/proc/${process.pid}`);
    t.is(netnsId(`/proc/${await pidOf(pause)}/ns/net`), attachment!.netns, 'the very namespace that attach saw');
    for (const name of ['app', 'side']) {
      t.is(await namespaceOf(containerOf('joined', name), 'net'), await namespaceOf(pause, 'net'));
      t.is(await namespaceOf(containerOf('joined', name), 'uts'), await namespaceOf(pause, 'uts'));
    }
    t.is(await exec(containerOf('joined', 'side'), 'hostname'), 'first');
    await exec(containerOf('joined', 'app'), 'hostname', 'second');
    t.is(await exec(containerOf('joined', 'side'), 'hostname'), 'second', 'one UTS namespace');
    t.is(heldNetns(), before, 'the pods hold their namespaces themselves');
    t.is(await exec(containerOf('joined', 'app'), 'env').then((env) => env.includes(NETNS_VARIABLE)), false);
    await gone('joined');
  },
);

real("a pod with the host's network is in the host's namespaces, as without the runtime", async (t) => {
  await start('host', { hostNetwork: true });
  t.is(await namespaceOf(sandboxOf('host'), 'net'), readlinkSync('/proc/self/ns/net'));
  t.is(await namespaceOf(containerOf('host', 'app'), 'net'), readlinkSync('/proc/self/ns/net'));
  t.is(await namespaceOf(containerOf('host', 'app'), 'uts'), readlinkSync('/proc/self/ns/uts'));
  t.deepEqual(attachmentOf('host'), []);
  await gone('host');
});

real("containers that are not Berth's may use the runtime and are made as ever", async (t) => {
  const { id } = await engine.docker.createContainer('other', {
    Image: PAUSE_IMAGE,
    Env: ['NOTE="BERTH_NETNS=/proc/1/fd/3","network"'],
    HostConfig: { NetworkMode: 'none', Runtime: 'berth' },
  });
  await engine.docker.startContainer(id);
  t.not(await namespaceOf(id, 'net'), readlinkSync('/proc/self/ns/net'));
  const held = readdirSync(join(dirname(engine.socketPath), 'exec/netns')).map((key) =>
    netnsId(join(dirname(engine.socketPath), 'exec/netns', key)),
  );
  t.true(held.includes(netnsId(`/proc/${await pidOf(id)}/ns/net`)), 'the hook ran: the Engine holds the namespace');
  await engine.docker.removeContainer(id, { force: true });
});

real('dockerd restarts: pods stay, containers join them, and they end', async (t) => {
  await start('stays');
  const pause = sandboxOf('stays');
  const app = containerOf('stays', 'app');
  await engine.restart();
  t.is((await engine.docker.inspectContainer(pause)).state, 'running');
  await engine.docker.killContainer(app, 'KILL');
  await eventually('the app was started again', () => {
    const newest = node.runtime('stays')?.containers.find(({ name }) => name === 'app');
    return newest?.state === 'running' && newest.id !== app;
  });
  t.is(sandboxOf('stays'), pause, 'in the same sandbox');
  t.is(await namespaceOf(containerOf('stays', 'app'), 'uts'), await namespaceOf(pause, 'uts'));
  await gone('stays');
});

real('the script is gone: no pod starts, and says why; when it is back they do', async (t) => {
  await rename(script, `${script}.away`);
  await node.apply(manifest('late'));
  const event = await eventually('an event', () =>
    node.events.find(({ pod, reason }) => pod === 'late-node-1' && reason === 'FailedCreatePodSandBox'),
  );
  t.regex(event.message, /berth-runtime/);
  await rename(`${script}.away`, script);
  await eventually('late is ready', () => isReady('late'));
  await gone('late');
});

real(
  "a runtime that joins nothing: the pod is connected where it really is, never in the host's network",
  async (t) => {
    warnings.length = 0;
    await writeFile(script, '#!/bin/sh\nexec runc "$@"\n');
    await start('elsewhere');
    const [first, second, more] = attachmentOf('elsewhere');
    t.is(more, undefined);
    const actual = netnsId(`/proc/${await pidOf(sandboxOf('elsewhere'))}/ns/net`);
    t.not(actual, netnsId('/proc/self/ns/net'));
    t.not(first!.netns, actual);
    t.is(second!.netns, actual);
    t.is(fake.attachments.size, 1);
    t.true(warnings.some((text) => text.includes('does not join prepared network namespaces')));
    await start('next');
    t.is(attachmentOf('next').length, 1, 'none is prepared any more');
    t.regex(attachmentOf('next')[0]!.path, /^\/proc\/\d+\/ns\/net$/);
    await gone('elsewhere');
    await gone('next');
    t.is(fake.attachments.size, 0);
  },
);

real('dockerd restarts without the runtime: its pods live and end, new ones start without it', async (t) => {
  t.is(installPodRuntime(script), undefined);
  await node.remove();
  await startAgent();
  await start('before');
  flags.length = 0;
  await engine.restart();
  warnings.length = 0;
  await start('after');
  t.true(warnings.some((text) => text.includes('refused the runtime berth')));
  t.not(await namespaceOf(sandboxOf('after'), 'net'), readlinkSync('/proc/self/ns/net'));
  t.is((await engine.docker.inspectContainer(sandboxOf('before'))).state, 'running');
  await gone('before');
  await gone('after');
});

real(
  "an Engine of one's own: registered as berth engine-runtime says, without a restart; berth doctor sees it",
  async (t) => {
    const config = `${folder}/daemon.json`;
    await writeFile(config, '{}');
    flags.push('--config-file', config);
    await engine.restart();
    const doctor = async () => {
      const args = [CLI, 'doctor', '-o', 'json', '--root-dir', folder, '--docker-endpoint', engine.endpoint];
      const { stdout } = await promisify(execFile)(process.execPath, args).catch((error) => error);
      const { findings } = JSON.parse(stdout) as { findings: { check: string; state: string; detail: string }[] };
      return findings.find(({ check }) => check === 'pod runtime');
    };
    t.is((await doctor())?.state, 'warning');
    const { stdout } = await promisify(execFile)(process.execPath, [CLI, 'engine-runtime']);
    await writeFile(script, stdout, { mode: 0o755 });
    await writeFile(config, JSON.stringify({ runtimes: { berth: { path: script } } }));
    process.kill(engine.pid, 'SIGHUP');
    await eventually('the Engine has it', async () => (await engine.docker.info()).runtimes.includes('berth'));
    t.is((await doctor())?.detail, 'berth (--pod-runtime auto)');
    await node.remove();
    await startAgent();
    await start('own');
    t.is(attachmentOf('own')[0]!.path.split('/fd/')[0], `/proc/${process.pid}`);
    await gone('own');
  },
);
