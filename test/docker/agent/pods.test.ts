import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const run = promisify(execFile);
const network = createFakePodNetwork();
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    node = await createTestAgent({ docker: engine.docker, network });
    node.start();
  });
  test.after.always(async () => {
    try {
      await node?.remove();
    } finally {
      await engine?.stop();
    }
  });
}

interface TestContainer {
  name: string;
  [field: string]: unknown;
}

/** Ends at once when told to. */
const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

function manifest(name: string, spec: { containers: TestContainer[]; [field: string]: unknown }) {
  const image = { image: BUSYBOX_IMAGE, imagePullPolicy: 'Never' };
  const withImage = (list: unknown) => (list as TestContainer[] | undefined)?.map((one) => ({ ...image, ...one }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 5,
      ...spec,
      ...(spec.initContainers ? { initContainers: withImage(spec.initContainers) } : {}),
      containers: withImage(spec.containers),
    },
  };
}

const containerOf = (pod: string, name: string) => node.runtime(pod)?.containers.find((one) => one.name === name);
const phaseOf = (pod: string) => node.pod(pod)?.status?.phase;
const statusOf = (pod: string, container: string) =>
  node.pod(pod)?.status?.containerStatuses?.find(({ name }) => name === container);
const eventsOf = (pod: string) => node.events.filter((event) => event.pod === `${pod}-node-1`);

async function logOf(id: string): Promise<string> {
  let text = '';
  for await (const { data } of engine.docker.containerLogs(id, {})) text += data.toString();
  return text;
}

async function exec(pod: string, container: string, script: string): Promise<string> {
  const { output } = await engine.docker.execInContainer(containerOf(pod, container)!.id, ['sh', '-c', script]);
  return output.toString().trim();
}

async function removed(pod: string): Promise<void> {
  await node.unapply(pod);
  await eventually(`${pod} is gone`, () => !node.pod(pod));
}

real('a static pod: pause and containers share network, IPC and host name; files of the pod are there', async (t) => {
  await node.apply(
    manifest('shared', {
      volumes: [{ name: 'scratch', emptyDir: {} }],
      containers: [
        {
          name: 'one',
          command: POLITE,
          env: [
            { name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
            { name: 'GREETING', value: 'hello $(POD_IP)' },
          ],
          volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        },
        { name: 'two', command: POLITE, volumeMounts: [{ name: 'scratch', mountPath: '/scratch', readOnly: true }] },
      ],
    }),
  );
  await eventually('running', () => phaseOf('shared') === 'Running');
  const namespaces = async (container: string) =>
    exec('shared', container, 'readlink /proc/self/ns/net; readlink /proc/self/ns/ipc');
  t.is(await namespaces('one'), await namespaces('two'));
  const [sandbox] = node.runtime('shared')!.sandboxes;
  const { pid } = await engine.docker.inspectContainer(sandbox!.id);
  const { stdout } = await run('readlink', [`/proc/${pid}/ns/net`, `/proc/${pid}/ns/ipc`]);
  t.is(await namespaces('one'), stdout.trim());
  t.is(await exec('shared', 'one', 'hostname'), 'shared-node-1');
  const ip = node.pod('shared')!.status!.podIP!;
  t.true((await exec('shared', 'two', 'cat /etc/hosts')).endsWith(`${ip}\tshared-node-1`));
  t.is(await exec('shared', 'one', 'echo $GREETING'), `hello ${ip}`);
  await exec('shared', 'one', 'echo written > /scratch/file');
  t.is(
    await exec('shared', 'two', 'cat /scratch/file; echo x 2>/dev/null > /scratch/file || echo refused'),
    'written\nrefused',
  );
  const { uid } = node.pod('shared')!.metadata;
  const log = join(node.podLogsDir, `default_shared-node-1_${uid}`, 'one', '0.log');
  await t.notThrowsAsync(readFile(log, 'utf8'));
  await removed('shared');
  t.deepEqual(await engine.docker.listContainers({}), []);
  t.is(network.attachments.size, 0);
});

real('init containers run one after another, before the rest', async (t) => {
  const note = (word: string) => ['sh', '-c', `echo ${word} >> /shared/order`];
  const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
  await node.apply(
    manifest('inits', {
      volumes: [{ name: 'shared', emptyDir: { medium: 'Memory' } }],
      initContainers: [
        { name: 'first', command: note('first'), volumeMounts },
        { name: 'side', command: POLITE, restartPolicy: 'Always' },
        { name: 'second', command: note('second'), volumeMounts },
      ],
      containers: [{ name: 'main', command: ['sh', '-c', 'cat /shared/order; exec sleep 1000'], volumeMounts }],
    }),
  );
  await eventually('running', () => phaseOf('inits') === 'Running');
  await eventually('log', async () => (await logOf(containerOf('inits', 'main')!.id)) === 'first\nsecond\n');
  t.is(containerOf('inits', 'side')!.state, 'running');
  await removed('inits');
  t.pass();
});

real(
  'a crashing container: restarted at once, then after the back-off, with its last words in the status',
  async (t) => {
    const command = ['sh', '-c', 'echo "last words" > /dev/termination-log; exit 3'];
    await node.apply(manifest('crasher', { containers: [{ name: 'app', command }] }));
    await eventually('in back-off', () => statusOf('crasher', 'app')?.state?.waiting?.reason === 'CrashLoopBackOff');
    const status = statusOf('crasher', 'app')!;
    t.is(status.restartCount, 1);
    t.like(status.lastState?.terminated, { exitCode: 3, reason: 'Error', message: 'last words\n' });
    t.regex(
      status.state!.waiting!.message!,
      /^back-off 10s restarting failed container=app pod=crasher-node-1_default\(/,
    );
    t.true(eventsOf('crasher').some(({ reason, type }) => reason === 'BackOff' && type === 'Warning'));
    const second = containerOf('crasher', 'app')!;
    await eventually('second restart', () => (containerOf('crasher', 'app')?.restartCount ?? 0) >= 2);
    const third = containerOf('crasher', 'app')!;
    const waitedMs = third.createdAtMs - second.finishedAtMs!;
    // The next wait would be twenty seconds.
    t.true(waitedMs >= 9_900 && waitedMs < 19_000, `waited ${waitedMs} ms`);
    await removed('crasher');
  },
);

real('a job: Succeeded, its log stays until the pod is removed', async (t) => {
  await node.apply(
    manifest('job', { restartPolicy: 'Never', containers: [{ name: 'app', command: ['sh', '-c', 'echo done'] }] }),
  );
  await eventually('over', () => phaseOf('job') === 'Succeeded');
  t.is(await logOf(containerOf('job', 'app')!.id), 'done\n');
  await eventually('sandbox gone', () => node.runtime('job')!.sandboxes.length === 0);
  await removed('job');
});

real('graceful deletion: preStop, then SIGTERM, all within the grace', async (t) => {
  const trap = 'trap "echo term; exit 0" TERM; echo ready; while :; do sleep 0.05; done';
  await node.apply(
    manifest('graceful', {
      terminationGracePeriodSeconds: 10,
      containers: [
        {
          name: 'app',
          command: ['sh', '-c', trap],
          lifecycle: { preStop: { exec: { command: ['sh', '-c', 'echo prestop > /proc/1/fd/1; sleep 1'] } } },
        },
      ],
    }),
  );
  await eventually('ready', async () => {
    const id = containerOf('graceful', 'app')?.id;
    return id && (await logOf(id)).includes('ready');
  });
  const { id } = containerOf('graceful', 'app')!;
  const chunks: string[] = [];
  const following = (async () => {
    for await (const { data } of engine.docker.containerLogs(id, { follow: true })) chunks.push(data.toString());
  })();
  const startedMs = Date.now();
  await removed('graceful');
  const tookMs = Date.now() - startedMs;
  await following;
  t.is(chunks.join(''), 'ready\nprestop\nterm\n');
  t.true(tookMs > 1000, `took ${tookMs} ms`);
  t.true(
    eventsOf('graceful').some(({ reason, message }) => reason === 'Killing' && message === 'Stopping container app'),
  );
});

real('a memory limit bites: OOMKilled', async (t) => {
  await node.apply(
    manifest('hungry', {
      restartPolicy: 'Never',
      containers: [
        {
          name: 'app',
          command: ['sh', '-c', 'x=a; while :; do x=$x$x; done'],
          resources: { limits: { memory: '16Mi', cpu: '500m' } },
        },
        {
          name: 'child',
          command: ['sh', '-c', 'head -c 64m /dev/zero | tail -n 1 >/dev/null; sleep 1; exit 5'],
          resources: { limits: { memory: '16Mi', cpu: '500m' } },
        },
      ],
    }),
  );
  await eventually('over', () => phaseOf('hungry') === 'Failed');
  t.like(statusOf('hungry', 'app')!.state!.terminated, { exitCode: 137, reason: 'OOMKilled' });
  // It was not the first process: on v1 that one goes on, on v2 (unless singleProcessOOMKill) they end together.
  const child = statusOf('hungry', 'child')!.state!.terminated!;
  t.is(child.reason, 'OOMKilled');
  t.true(child.exitCode === 5 || child.exitCode === 137, `exit code ${child.exitCode}`);
  await removed('hungry');
});

real('a missing image: ErrImageNeverPull; the other container runs all the same', async (t) => {
  await node.apply(
    manifest('partial', {
      containers: [
        { name: 'bad', image: 'berth/absent:1' },
        { name: 'good', command: POLITE },
      ],
    }),
  );
  await eventually('good runs', () => statusOf('partial', 'good')?.state?.running);
  t.is(statusOf('partial', 'bad')!.state!.waiting!.reason, 'ErrImageNeverPull');
  t.is(phaseOf('partial'), 'Pending');
  await removed('partial');
});

real('after a restart of the agent the running containers are adopted, and strangers are ended', async (t) => {
  await node.apply(manifest('keeper', { containers: [{ name: 'app', command: POLITE }] }));
  await node.apply(manifest('goner', { containers: [{ name: 'app', command: POLITE }] }));
  await eventually('both run', () => phaseOf('keeper') === 'Running' && phaseOf('goner') === 'Running');
  const before = containerOf('keeper', 'app')!;
  const ip = node.pod('keeper')!.status!.podIP;
  await node.stop();
  await node.unapply('goner');
  const base = join(node.manifests, '..');
  node = await createTestAgent({ docker: engine.docker, network, base });
  node.start();
  await eventually('running again', () => phaseOf('keeper') === 'Running');
  t.is(containerOf('keeper', 'app')!.id, before.id);
  t.is(containerOf('keeper', 'app')!.startedAtMs, (await engine.docker.inspectContainer(before.id)).startedAtMs);
  t.is(node.pod('keeper')!.status!.podIP, ip);
  await eventually('the orphan is gone', async () => (await engine.docker.listContainers({})).length === 2);
  t.false(eventsOf('keeper').some(({ reason }) => reason === 'Created' || reason === 'Killing'));
  await removed('keeper');
});

real('a lost sandbox is replaced with all its containers', async (t) => {
  await node.apply(manifest('phoenix', { containers: [{ name: 'app', command: POLITE }] }));
  await eventually('running', () => phaseOf('phoenix') === 'Running');
  const [sandbox] = node.runtime('phoenix')!.sandboxes;
  await engine.docker.killContainer(sandbox!.id, 'SIGKILL');
  const next = await eventually('a new sandbox', () => {
    const [newest] = node.runtime('phoenix')?.sandboxes ?? [];
    return newest?.attempt === 1 && newest.state === 'running' && newest;
  });
  await eventually('the container runs in it', () => {
    const app = containerOf('phoenix', 'app');
    return app?.state === 'running' && app.sandboxId === next.id && app.restartCount === 1;
  });
  t.true(eventsOf('phoenix').some(({ reason }) => reason === 'SandboxChanged'));
  await removed('phoenix');
});

real('a changed manifest: the old pod ends before the new one starts', async (t) => {
  const version = (text: string) =>
    manifest('changing', { containers: [{ name: 'app', command: POLITE, env: [{ name: 'V', value: text }] }] });
  await node.apply(version('1'));
  await eventually('running', () => phaseOf('changing') === 'Running');
  const { uid } = node.pod('changing')!.metadata;
  await node.apply(version('2'));
  await eventually('the new one runs', () => {
    const pod = node.pod('changing');
    return pod && pod.metadata.uid !== uid && pod.status?.phase === 'Running';
  });
  t.is(await exec('changing', 'app', 'echo $V'), '2');
  t.is((await engine.docker.listContainers({})).length, 2);
  await removed('changing');
});

real('a host-network pod: the host’s namespaces, hosts file and name', async (t) => {
  await node.apply(manifest('hosted', { hostNetwork: true, containers: [{ name: 'app', command: POLITE }] }));
  await eventually('running', () => phaseOf('hosted') === 'Running');
  const { stdout } = await run('readlink', ['/proc/self/ns/net', '/proc/self/ns/uts']);
  t.is(await exec('hosted', 'app', 'readlink /proc/self/ns/net; readlink /proc/self/ns/uts'), stdout.trim());
  t.true((await exec('hosted', 'app', 'head -1 /etc/hosts')).endsWith('(host network).'));
  t.is(network.attachments.size, 0);
  t.is(node.pod('hosted')!.status!.podIP, '192.0.2.1');
  await removed('hosted');
});

real('volumes in memory are there, hold data, and are unmounted at the end', async (t) => {
  const downwardAPI = { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] };
  await node.apply(
    manifest('memory', {
      volumes: [
        { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        { name: 'about', downwardAPI },
      ],
      containers: [
        {
          name: 'app',
          command: POLITE,
          volumeMounts: [
            { name: 'ram', mountPath: '/ram' },
            { name: 'about', mountPath: '/about' },
            { name: 'about', mountPath: '/just-the-name', subPath: 'name' },
          ],
        },
      ],
    }),
  );
  await eventually('running', () => phaseOf('memory') === 'Running');
  t.is(await exec('memory', 'app', 'cat /about/name /just-the-name'), 'memory-node-1memory-node-1');
  t.is(await exec('memory', 'app', 'df -k /ram | tail -1 | { read _ size _; echo $size; }'), '1024');
  t.is(
    await exec('memory', 'app', 'echo x 2>&1 > /about/name || true'),
    "sh: can't create /about/name: Read-only file system",
  );
  const { uid } = node.pod('memory')!.metadata;
  t.true((await readFile('/proc/self/mounts', 'utf8')).includes(uid));
  await removed('memory');
  t.false((await readFile('/proc/self/mounts', 'utf8')).includes(uid));
});

real('a shared process namespace, a user of its own, a read-only root, a limit on privileges', async (t) => {
  await node.apply(
    manifest('secured', {
      shareProcessNamespace: true,
      securityContext: { runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000] },
      volumes: [{ name: 'scratch', emptyDir: {} }],
      containers: [
        {
          name: 'app',
          command: POLITE,
          securityContext: {
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
            allowPrivilegeEscalation: false,
          },
          volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        },
      ],
    }),
  );
  await eventually('running', () => phaseOf('secured') === 'Running');
  t.is(await exec('secured', 'app', 'cat /proc/1/comm'), 'pause');
  t.is(await exec('secured', 'app', 'id -u; id -g; id -G'), '1000\n2000\n2000 3000 4000');
  t.is(await exec('secured', 'app', 'touch /x 2>/dev/null || echo refused'), 'refused');
  t.is(await exec('secured', 'app', 'touch /scratch/x && stat -c %g /scratch/x'), '3000');
  t.is(
    await exec('secured', 'app', 'grep -E "CapEff|NoNewPrivs" /proc/self/status | tr -d "\\n\\t"'),
    'CapEff:0000000000000000NoNewPrivs:1',
  );
  await removed('secured');
});

real('the log is the last word when nothing else is; a failed postStart hook ends the container', async (t) => {
  await node.apply(
    manifest('words', {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'logger',
          terminationMessagePolicy: 'FallbackToLogsOnError',
          command: ['sh', '-c', 'echo it broke; exit 1'],
        },
        {
          name: 'hooked',
          command: POLITE,
          lifecycle: { postStart: { exec: { command: ['sh', '-c', 'echo no; exit 4'] } } },
        },
      ],
    }),
  );
  await eventually('over', () => phaseOf('words') === 'Failed');
  t.is(statusOf('words', 'logger')!.state!.terminated!.message, 'it broke\n');
  const hook = eventsOf('words').find(({ reason }) => reason === 'FailedPostStartHook')!;
  t.regex(hook.message, /exited with 4: no/);
  await removed('words');
});

real('a start that the runtime refuses: its words, then the back-off', async (t) => {
  await node.apply(manifest('refused', { containers: [{ name: 'app', command: ['/no/such/program'] }] }));
  await eventually('waiting', () => statusOf('refused', 'app')?.state?.waiting?.reason === 'CrashLoopBackOff');
  t.like(statusOf('refused', 'app')!.lastState!.terminated, { reason: 'ContainerCannotRun', exitCode: 127 });
  t.regex(statusOf('refused', 'app')!.lastState!.terminated!.message!, /no such file/);
  await removed('refused');
});

real('a restart of the Engine, containers living on: nothing is restarted, deaths are still noticed', async (t) => {
  await node.apply(manifest('survivor', { containers: [{ name: 'app', command: POLITE }] }));
  await eventually('running', () => phaseOf('survivor') === 'Running');
  const { id } = containerOf('survivor', 'app')!;
  await engine.restart();
  await eventually('the stream is back', async () => {
    await engine.docker.killContainer(id, 'SIGKILL').catch(() => undefined);
    return containerOf('survivor', 'app')!.id !== id;
  });
  await eventually('running again', () => containerOf('survivor', 'app')!.state === 'running');
  t.is(containerOf('survivor', 'app')!.restartCount, 1);
  t.is(node.runtime('survivor')!.sandboxes[0]!.attempt, 0);
  await removed('survivor');
});

real('thirty pods at once: all run, all go, nothing is left', async (t) => {
  const names = Array.from({ length: 30 }, (_, index) => `many-${index}`);
  const startedMs = Date.now();
  await Promise.all(
    names.map((name) => node.apply(manifest(name, { containers: [{ name: 'app', command: POLITE }] }))),
  );
  await eventually('all run', () => names.every((name) => phaseOf(name) === 'Running'));
  t.log(`all running after ${Date.now() - startedMs} ms`);
  await Promise.all(names.map((name) => node.unapply(name)));
  await eventually('all gone', () => names.every((name) => !node.pod(name)));
  t.deepEqual(await engine.docker.listContainers({}), []);
  t.is(network.attachments.size, 0);
});
