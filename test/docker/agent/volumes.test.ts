import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import pino from 'pino';
import { mountFileSystem, readMounts, supportsRecursiveReadOnly, unmount } from '../../../src/linux/mounts.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { buildImage } from '../../support/image-build.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const network = createFakePodNetwork();
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;
const logged: string[] = [];
/** Of the host: for hostPath volumes. */
let host: string;

const DATA_IMAGE = 'berth/data:test';

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    await buildImage(engine.socketPath, DATA_IMAGE, BUSYBOX_IMAGE, [
      { 'data/one': 'first', 'data/two': 'covered' },
      { 'data/two': 'second', 'data/run': '#!/bin/sh\necho ran\n' },
    ]);
    const log = pino({ level: 'warn' }, { write: (line: string) => logged.push(line) });
    node = await createTestAgent({ docker: engine.docker, network, log });
    host = join(node.rootDir, '../host');
    await mkdir(host, { recursive: true });
    // As the root of a machine with systemd is: else nothing could be propagated.
    mountFileSystem({ source: host, target: host, flags: ['bind'] });
    mountFileSystem({ source: 'none', target: host, flags: ['shared'] });
    node.start();
  });
  test.after.always(async () => {
    try {
      if (host) unmount(host, { lazy: true });
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
  const complete = (list: unknown) =>
    (list as TestContainer[] | undefined)?.map((one) => ({
      image: BUSYBOX_IMAGE,
      imagePullPolicy: 'Never',
      command: POLITE,
      ...one,
    }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 5,
      ...spec,
      ...(spec.initContainers ? { initContainers: complete(spec.initContainers) } : {}),
      containers: complete(spec.containers),
    },
  };
}

const containerOf = (pod: string, name: string) => node.runtime(pod)?.containers.find((one) => one.name === name);
const statusOf = (pod: string, container: string) =>
  node.pod(pod)?.status?.containerStatuses?.find(({ name }) => name === container);
const waitingOf = (pod: string, container: string) => statusOf(pod, container)?.state?.waiting;
const messagesOf = (pod: string, reason: string) =>
  node.events.filter((event) => event.pod === `${pod}-node-1` && event.reason === reason).map(({ message }) => message);
const isRunning = (pod: string, container = 'app') => containerOf(pod, container)?.state === 'running';

async function exec(pod: string, container: string, script: string): Promise<string> {
  const { output } = await engine.docker.execInContainer(containerOf(pod, container)!.id, ['sh', '-c', script]);
  return output.toString().trim();
}

/** Removes the pod; afterwards nothing of it is mounted or stands. */
async function removed(pod: string): Promise<void> {
  const uid = node.pod(pod)!.metadata.uid;
  await node.unapply(pod);
  await eventually(`${pod} is gone`, () => !node.pod(pod));
  const left = readMounts().filter(({ target }) => target.includes(uid));
  if (left.length > 0) throw new Error(`still mounted: ${left.map(({ target }) => target).join(', ')}`);
  if ((await readdir(join(node.rootDir, 'pods'))).includes(uid)) throw new Error(`the directory of ${pod} stands`);
}

real('subPath and subPathExpr on writable volumes: made for any user, kept over runs, gone with the pod', async (t) => {
  await node.apply(
    manifest('subpath', {
      securityContext: { runAsUser: 1000, runAsGroup: 1000 },
      volumes: [
        { name: 'scratch', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '3Mi' } },
      ],
      initContainers: [
        {
          name: 'init',
          command: ['sh', '-c', 'echo from init > /all/file'],
          volumeMounts: [{ name: 'scratch', mountPath: '/all' }],
        },
      ],
      containers: [
        {
          name: 'app',
          env: [{ name: 'WHO', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }],
          command: ['sh', '-c', 'echo run >> /logs/runs; [ $(wc -l < /logs/runs) -gt 1 ] || exit 1; exec sleep 1000'],
          volumeMounts: [
            { name: 'scratch', mountPath: '/logs', subPathExpr: 'logs/$(WHO)' },
            { name: 'scratch', mountPath: '/etc/file', subPath: 'file' },
            { name: 'memory', mountPath: '/memory', subPath: 'deep/er' },
          ],
        },
        { name: 'other', volumeMounts: [{ name: 'scratch', mountPath: '/all' }] },
      ],
    }),
  );
  await eventually('its second run', () => isRunning('subpath') && containerOf('subpath', 'app')?.restartCount === 1);
  t.is(await exec('subpath', 'app', 'cat /logs/runs /etc/file'), 'run\nrun\nfrom init');
  t.is(await exec('subpath', 'other', 'cat /all/logs/default/runs; echo changed > /all/file'), 'run\nrun');
  t.is(
    await exec(
      'subpath',
      'app',
      'cat /etc/file; echo x > /memory/x; df -m /memory | tail -1 | tr -s " " | cut -d" " -f2',
    ),
    'changed\n3',
  );
  await removed('subpath');
});

real('CVE-2017-1002101: a link that the pod puts in the way keeps the container out, until it is gone', async (t) => {
  await writeFile(join(host, 'secret'), 'of the host');
  await node.apply(
    manifest('escape', {
      volumes: [{ name: 'scratch', emptyDir: {} }],
      initContainers: [
        {
          name: 'trap',
          command: ['sh', '-c', 'ln -s / /v/link'],
          volumeMounts: [{ name: 'scratch', mountPath: '/v' }],
        },
      ],
      containers: [
        { name: 'victim', volumeMounts: [{ name: 'scratch', mountPath: '/host', subPath: 'link' }] },
        { name: 'fixer', volumeMounts: [{ name: 'scratch', mountPath: '/v' }] },
      ],
    }),
  );
  await eventually('refused', () => waitingOf('escape', 'victim')?.reason === 'CreateContainerConfigError');
  const message = 'failed to create subPath directory for volumeMount "scratch" of container "victim"';
  t.is(waitingOf('escape', 'victim')?.message, message);
  t.true(messagesOf('escape', 'Failed').includes(`Error: ${message}`));
  t.is(containerOf('escape', 'victim'), undefined);
  await eventually('the fixer runs', () => isRunning('escape', 'fixer'));
  await exec('escape', 'fixer', 'rm /v/link; mkdir /v/link; echo inside > /v/link/x');
  await eventually('the victim runs', () => isRunning('escape', 'victim'));
  t.is(await exec('escape', 'victim', 'cat /host/x'), 'inside');
  t.is(containerOf('escape', 'victim')?.restartCount, 0);
  await removed('escape');
});

real('a hostPath of the wrong type: FailedMount, no container; when it is right the pod runs', async (t) => {
  const path = join(host, 'wanted');
  await node.apply(
    manifest('wrong', {
      volumes: [{ name: 'v', hostPath: { path, type: 'File' } }],
      containers: [{ name: 'app', volumeMounts: [{ name: 'v', mountPath: '/wanted' }] }],
    }),
  );
  await eventually('told', () => messagesOf('wrong', 'FailedMount').length > 0);
  t.is(
    messagesOf('wrong', 'FailedMount')[0],
    `MountVolume.SetUp failed for volume "v" : hostPath type check failed: ${path} is not a file`,
  );
  t.deepEqual(node.runtime('wrong')?.containers, []);
  t.is(waitingOf('wrong', 'app')?.reason, 'ContainerCreating');
  await writeFile(path, 'here');
  await eventually('running', () => isRunning('wrong'));
  t.is(await exec('wrong', 'app', 'cat /wanted'), 'here');
  await removed('wrong');
  t.is(await readFile(path, 'utf8'), 'here');
});

const recursive = supportsRecursiveReadOnly() ? real : test.serial.skip;

recursive('read-only and recursive read-only differ in the mounts below, and the status tells', async (t) => {
  const top = join(host, 'tree');
  await mkdir(join(top, 'below'), { recursive: true });
  mountFileSystem({ source: 'tmpfs', target: join(top, 'below'), type: 'tmpfs' });
  const mount = (mountPath: string, more: object) => ({ name: 'v', mountPath, ...more });
  await node.apply(
    manifest('recursive', {
      volumes: [{ name: 'v', hostPath: { path: top } }],
      containers: [
        {
          name: 'app',
          volumeMounts: [
            mount('/plain', {}),
            mount('/ro', { readOnly: true }),
            mount('/rro', { readOnly: true, recursiveReadOnly: 'Enabled' }),
            mount('/sub', { readOnly: true, recursiveReadOnly: 'IfPossible', subPath: 'below' }),
          ],
        },
      ],
    }),
  );
  await eventually('running', () => isRunning('recursive'));
  const tries = ['/plain', '/plain/below', '/ro', '/ro/below', '/rro', '/rro/below', '/sub'];
  const script = tries.map((at) => `touch ${at}/x 2>/dev/null && echo -n "${at} "`).join('; ');
  t.is(await exec('recursive', 'app', script), '/plain /plain/below /ro/below');
  t.deepEqual(statusOf('recursive', 'app')?.volumeMounts, [
    { name: 'v', mountPath: '/plain' },
    { name: 'v', mountPath: '/ro', readOnly: true, recursiveReadOnly: 'Disabled' },
    { name: 'v', mountPath: '/rro', readOnly: true, recursiveReadOnly: 'Enabled' },
    { name: 'v', mountPath: '/sub', readOnly: true, recursiveReadOnly: 'Enabled' },
  ]);
  await removed('recursive');
  t.true(
    readMounts().some(({ target }) => target === join(top, 'below')),
    'what is the host’s stays mounted',
  );
  unmount(join(top, 'below'));
});

real('mount propagation: None, HostToContainer, Bidirectional', async (t) => {
  await mkdir(join(host, 'made'), { recursive: true });
  await mkdir(join(host, 'later'), { recursive: true });
  const volumeMounts = (mountPropagation?: string) => [
    { name: 'v', mountPath: '/v', ...(mountPropagation && { mountPropagation }) },
  ];
  await node.apply(
    manifest('propagation', {
      volumes: [{ name: 'v', hostPath: { path: host } }],
      containers: [
        { name: 'none', volumeMounts: volumeMounts() },
        { name: 'slave', volumeMounts: volumeMounts('HostToContainer') },
        // Not privileged, as an API server would insist: this host may not have the capabilities for that.
        {
          name: 'both',
          volumeMounts: volumeMounts('Bidirectional'),
          securityContext: { capabilities: { add: ['SYS_ADMIN'] } },
        },
      ],
    }),
  );
  await eventually('running', () => ['none', 'slave', 'both'].every((name) => isRunning('propagation', name)));
  mountFileSystem({ source: 'tmpfs', target: join(host, 'later'), type: 'tmpfs' });
  await writeFile(join(host, 'later/x'), '');
  await exec('propagation', 'both', 'mount -t tmpfs tmpfs /v/made && touch /v/made/y');
  const look = (name: string) => exec('propagation', name, 'ls /v/later /v/made | tr "\\n" " "');
  t.is(await look('none'), '/v/later:  /v/made:');
  t.is(await look('slave'), '/v/later: x  /v/made: y');
  t.deepEqual(await readdir(join(host, 'made')), ['y']);
  await removed('propagation');
  for (const name of ['later', 'made']) unmount(join(host, name));
});

const imagePod = (name: string, reference: string) =>
  manifest(name, {
    volumes: [{ name: 'files', image: { reference, pullPolicy: 'Never' } }],
    containers: [
      {
        name: 'app',
        volumeMounts: [
          { name: 'files', mountPath: '/files' },
          { name: 'files', mountPath: '/part', subPath: 'data' },
        ],
      },
      { name: 'other' },
    ],
  });

const IMAGE_LOOK = [
  'cat /files/data/one /part/two',
  '/part/run 2>/dev/null || echo -n " no exec"',
  'touch /part/x 2>/dev/null || echo -n " read-only"',
  'ls /files | tr "\\n" " "',
].join('; ');

for (const unpacked of [false, true])
  real(`an image as a volume${unpacked ? ', where the Engine does not show its layers' : ''}`, async (t) => {
    const { inspectImage } = engine.docker;
    if (unpacked)
      engine.docker.inspectImage = async (name, signal) => ({
        ...(await inspectImage(name, signal)),
        layerDirectories: undefined,
      });
    try {
      await node.apply(imagePod('image', DATA_IMAGE));
      await eventually('running', () => isRunning('image'));
      t.regex(
        await exec('image', 'app', IMAGE_LOOK),
        /^firstsecond no exec read-onlybin data dev etc proc root sys tmp var/,
      );
      const guards = async () => (await engine.docker.listContainers({ labels: ['berth.image-volume'] })).length;
      t.is(await guards(), unpacked ? 0 : 1);
      await removed('image');
      t.is(await guards(), 0);
    } finally {
      engine.docker.inspectImage = inspectImage;
    }
  });

real('an image volume of one layer; one that is missing holds back only who mounts it', async (t) => {
  await node.apply(imagePod('single', BUSYBOX_IMAGE));
  await eventually('the other runs', () => isRunning('single', 'other'));
  t.is(await exec('single', 'other', 'echo here'), 'here');
  // It has no /data, and nothing can be made in an image.
  await eventually('refused', () => waitingOf('single', 'app')?.reason === 'CreateContainerConfigError');
  await removed('single');

  await node.apply(imagePod('missing', 'berth/none:1'));
  await eventually('the other runs', () => isRunning('missing', 'other'));
  await eventually('refused', () => waitingOf('missing', 'app')?.reason === 'ErrImageNeverPull');
  await buildImage(engine.socketPath, 'berth/none:1', BUSYBOX_IMAGE, [{ 'data/one': '1', 'data/two': '2' }]);
  await eventually('running', () => isRunning('missing'));
  t.is(await exec('missing', 'app', 'cat /part/two'), '2');
  await removed('missing');
});

real('fileKeyRef: what an init container wrote; wrong files are told without a crash loop', async (t) => {
  const from = (key: string, optional = false) => ({
    name: key,
    valueFrom: { fileKeyRef: { volumeName: 'config', path: 'app.env', key, optional } },
  });
  await node.apply(
    manifest('envfile', {
      volumes: [{ name: 'config', emptyDir: {} }],
      initContainers: [
        {
          name: 'write',
          command: ['sh', '-c', `printf "ADDRESS='10.0.0.1'\\n" > /c/app.env`],
          volumeMounts: [{ name: 'config', mountPath: '/c' }],
        },
      ],
      containers: [
        { name: 'app', env: [from('ADDRESS'), from('NONE', true)] },
        { name: 'lacking', env: [from('NONE')] },
      ],
    }),
  );
  await eventually('running', () => isRunning('envfile'));
  t.is(await exec('envfile', 'app', 'echo $ADDRESS; env | grep -c NONE'), '10.0.0.1\n0');
  await eventually('told', () => waitingOf('envfile', 'lacking')?.reason === 'CreateContainerConfigError');
  t.regex(
    waitingOf('envfile', 'lacking')!.message!,
    /^environment variable key "NONE" not found in file ".*app\.env"$/,
  );
  await removed('envfile');
});

real(
  'another life of the agent finds what is mounted: nothing restarts, and all of it goes with the pod',
  async (t) => {
    await node.apply(
      manifest('survivor', {
        volumes: [
          { name: 'memory', emptyDir: { medium: 'Memory' } },
          { name: 'files', image: { reference: DATA_IMAGE, pullPolicy: 'Never' } },
        ],
        containers: [
          {
            name: 'app',
            volumeMounts: [
              { name: 'memory', mountPath: '/m', subPath: 'sub' },
              { name: 'files', mountPath: '/files' },
            ],
          },
        ],
      }),
    );
    await eventually('running', () => isRunning('survivor'));
    await exec('survivor', 'app', 'echo kept > /m/x');
    const { id } = containerOf('survivor', 'app')!;
    const mounts = readMounts().filter(({ target }) => target.startsWith(node.rootDir)).length;
    t.is(mounts, 3);
    await node.stop();
    node.start();
    await eventually('seen again', () => isRunning('survivor'));
    t.is(containerOf('survivor', 'app')!.id, id);
    await engine.docker.killContainer(id, 'KILL');
    await eventually('its next run', () => isRunning('survivor') && containerOf('survivor', 'app')?.id !== id);
    t.is(await exec('survivor', 'app', 'cat /m/x /files/data/one'), 'kept\nfirst');
    t.is(readMounts().filter(({ target }) => target.startsWith(node.rootDir)).length, mounts);
    await removed('survivor');
  },
);

real(
  'R7: a pod that left while no agent ran, with a foreign mount in its volume: kept, told once, gone when that is',
  async (t) => {
    const precious = join(host, 'precious');
    await mkdir(precious);
    await writeFile(join(precious, 'data'), 'years of work');
    await node.apply(
      manifest('orphan', {
        volumes: [
          { name: 'scratch', emptyDir: {} },
          { name: 'memory', emptyDir: { medium: 'Memory' } },
        ],
        containers: [
          {
            name: 'app',
            volumeMounts: [
              { name: 'scratch', mountPath: '/s' },
              { name: 'memory', mountPath: '/m', subPath: 'sub' },
            ],
          },
        ],
      }),
    );
    await eventually('running', () => isRunning('orphan'));
    const { uid } = node.pod('orphan')!.metadata;
    await node.stop();
    await node.unapply('orphan');
    const foreign = join(node.rootDir, 'pods', uid, 'volumes/kubernetes.io~empty-dir/scratch/mnt');
    await mkdir(foreign);
    mountFileSystem({ source: precious, target: foreign, flags: ['bind'] });
    logged.length = 0;
    node.start();
    const told = () => logged.filter((line) => line.includes('pod directory kept'));
    await eventually('told', () => told().length > 0);
    t.deepEqual(
      readMounts()
        .map(({ target }) => target)
        .filter((target) => target.includes(uid)),
      [foreign],
      'what is ours is unmounted',
    );
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    t.is(told().length, 1);
    t.true(told()[0]!.includes(foreign));
    t.is(await readFile(join(foreign, 'data'), 'utf8'), 'years of work');
    unmount(foreign);
    await eventually('the directory is gone', async () => !(await readdir(join(node.rootDir, 'pods'))).includes(uid));
    t.is(await readFile(join(precious, 'data'), 'utf8'), 'years of work');
  },
);
