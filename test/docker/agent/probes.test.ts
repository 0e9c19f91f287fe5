/** Probes, status and static pods on a real Engine: what somebody who does not believe it would try. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import test from 'ava';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const network = createFakePodNetwork();
const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;
/** What the manifest URL answers. */
let served: (response: ServerResponse) => void = (response) => response.end('');
const manifests = createServer((_, response) => served(response));

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    await new Promise<void>((resolve) => manifests.listen(0, '127.0.0.1', resolve));
    const { port } = manifests.address() as AddressInfo;
    node = await createTestAgent({
      docker: engine.docker,
      network,
      options: { staticPodUrl: `http://127.0.0.1:${port}/`, httpCheckMs: 200 },
    });
    node.start();
  });
  test.after.always(async () => {
    manifests.close();
    try {
      // A container that is just going may be listed and gone.
      await node?.stop();
      await node?.remove();
    } finally {
      await engine?.stop();
    }
  });
}

const POLITE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];
const script = (text: string) => ['sh', '-c', text];

interface TestContainer {
  name: string;
  [field: string]: unknown;
}

/** A pod in the host's network: probes reach it, whatever the pod network of this test is. */
function pod(name: string, spec: { containers: TestContainer[]; [field: string]: unknown }) {
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
      hostNetwork: true,
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 5,
      ...spec,
      ...(spec.initContainers ? { initContainers: complete(spec.initContainers) } : {}),
      containers: complete(spec.containers),
    },
  };
}

const statusOf = (name: string, container: string) => {
  const { containerStatuses = [], initContainerStatuses = [] } = node.pod(name)?.status ?? {};
  return [...containerStatuses, ...initContainerStatuses].find((one) => one.name === container);
};
const isReady = (name: string) =>
  node.pod(name)?.status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
const eventsOf = (name: string, reason?: string) =>
  node.events.filter((event) => event.pod === `${name}-node-1` && (!reason || event.reason === reason));
const idOf = (name: string, container: string) =>
  node.runtime(name)!.containers.find((one) => one.name === container)!.id;
async function exec(name: string, container: string, text: string): Promise<string> {
  const { output } = await engine.docker.execInContainer(idOf(name, container), script(text));
  return output.toString().trim();
}

real('HTTP by a named port: ready, then not, then ready again, with the words of upstream', async (t) => {
  await node.apply(
    pod('web', {
      containers: [
        {
          name: 'app',
          command: script('mkdir /www; echo fine >/www/healthz; exec httpd -f -p 127.0.0.1:18081 -h /www'),
          ports: [{ name: 'http', containerPort: 18081 }],
          readinessProbe: { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1, failureThreshold: 2 },
        },
      ],
    }),
  );
  await eventually('ready', () => isReady('web'));
  t.deepEqual(eventsOf('web', 'Unhealthy'), [], 'the moments before it listened are told to nobody');
  await exec('web', 'app', 'rm /www/healthz');
  await eventually('unready', () => !isReady('web'));
  t.like(statusOf('web', 'app'), { ready: false, started: true, restartCount: 0 });
  t.is(eventsOf('web', 'Unhealthy')[0]?.message, 'Readiness probe failed: HTTP probe failed with statuscode: 404');
  t.like(
    node.pod('web')?.status?.conditions?.find(({ type }) => type === 'Ready'),
    {
      reason: 'ContainersNotReady',
      message: 'containers with unready status: [app]',
    },
  );
  await exec('web', 'app', 'echo fine >/www/healthz');
  await eventually('ready again', () => isReady('web'));
});

real('liveness: killed within the grace of the probe, not of the pod, and started again', async (t) => {
  await node.apply(
    pod('stuck', {
      terminationGracePeriodSeconds: 60,
      containers: [
        {
          name: 'app',
          // Deaf to SIGTERM; the second run finds the mark of the first.
          command: script(
            'trap "" TERM; [ -e /shared/mark ] || touch /shared/sick; touch /shared/mark; while :; do sleep 0.05; done',
          ),
          volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
          livenessProbe: {
            exec: { command: script('if [ -e /shared/sick ]; then rm /shared/sick; echo sick; exit 1; fi') },
            periodSeconds: 1,
            failureThreshold: 1,
            terminationGracePeriodSeconds: 1,
          },
        },
      ],
      volumes: [{ name: 'shared', emptyDir: {} }],
    }),
  );
  await eventually('the second run', () => (statusOf('stuck', 'app')?.restartCount ?? 0) === 1 && isReady('stuck'));
  const [killing] = eventsOf('stuck', 'Killing');
  t.is(killing?.message, 'Container app failed liveness probe, will be restarted');
  t.is(eventsOf('stuck', 'Unhealthy')[0]?.message, 'Liveness probe failed: sick\n');
  const { lastState } = statusOf('stuck', 'app')!;
  t.is(lastState?.terminated?.exitCode, 137);
  const started = eventsOf('stuck', 'Started').at(-1)!;
  t.true(started.atMs - killing!.atMs < 50_000, `${started.atMs - killing!.atMs} ms, far from the pod's 60 s`);
  await node.unapply('stuck');
});

real('startup comes before all else; its failure ends the container', async (t) => {
  await node.apply(
    pod('slow', {
      containers: [
        {
          name: 'app',
          startupProbe: { exec: { command: script('[ -e /tmp/up ]') }, periodSeconds: 1, failureThreshold: 60 },
          livenessProbe: { exec: { command: ['false'] }, periodSeconds: 1, failureThreshold: 1000 },
          readinessProbe: { exec: { command: ['true'] } },
        },
        {
          name: 'never',
          startupProbe: { exec: { command: ['false'] }, periodSeconds: 1, failureThreshold: 1 },
        },
      ],
    }),
  );
  await eventually('the failing one is restarted', () => (statusOf('slow', 'never')?.restartCount ?? 0) > 0);
  t.true(
    eventsOf('slow', 'Killing').some(
      ({ message }) => message === 'Container never failed startup probe, will be restarted',
    ),
  );
  t.like(statusOf('slow', 'app'), { started: false, ready: false });
  t.false(eventsOf('slow', 'Unhealthy').some(({ message }) => message.startsWith('Liveness')));
  await exec('slow', 'app', 'touch /tmp/up');
  await eventually('started and ready', () => statusOf('slow', 'app')?.ready);
  await eventually('liveness looks now', () =>
    eventsOf('slow', 'Unhealthy').some(({ message }) => message.startsWith('Liveness probe failed')),
  );
  await node.unapply('slow');
});

real('a sidecar: its startup probe holds back the rest, its liveness restarts it alone', async (t) => {
  await node.apply(
    pod('sided', {
      initContainers: [
        {
          name: 'side',
          restartPolicy: 'Always',
          startupProbe: { exec: { command: script('[ -e /tmp/up ]') }, periodSeconds: 1, failureThreshold: 100 },
          livenessProbe: { exec: { command: script('[ ! -e /tmp/sick ]') }, periodSeconds: 1, failureThreshold: 1 },
          readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 },
        },
      ],
      containers: [{ name: 'app' }],
    }),
  );
  await eventually('the sidecar runs', () => statusOf('sided', 'side')?.state?.running);
  t.like(statusOf('sided', 'side'), { started: false });
  t.is(statusOf('sided', 'app')?.state?.waiting?.reason, 'PodInitializing');
  await exec('sided', 'side', 'touch /tmp/up');
  await eventually('all ready', () => isReady('sided'));
  const app = idOf('sided', 'app');
  await exec('sided', 'side', 'touch /tmp/sick');
  await eventually('restarted', () => statusOf('sided', 'side')?.restartCount === 1);
  await eventually('it runs again', () => statusOf('sided', 'side')?.state?.running);
  await exec('sided', 'side', 'touch /tmp/up');
  await eventually('all ready again', () => isReady('sided'));
  t.is(idOf('sided', 'app'), app);
  await node.unapply('sided');
});

real('an exec probe that takes too long fails, and leaves no process behind', async (t) => {
  await node.apply(
    pod('lengthy', {
      containers: [
        {
          name: 'app',
          readinessProbe: {
            exec: { command: ['sleep', '987'] },
            periodSeconds: 2,
            timeoutSeconds: 1,
            failureThreshold: 1,
          },
        },
      ],
    }),
  );
  await eventually('told', () => eventsOf('lengthy', 'Unhealthy').length >= 2);
  t.is(eventsOf('lengthy', 'Unhealthy')[0]?.message, 'Readiness probe failed: command "sleep 987" timed out after 1s');
  await eventually('three are over', () => eventsOf('lengthy', 'Unhealthy').length >= 3);
  const count = Number(await exec('lengthy', 'app', 'ps | grep -c "[s]leep 987" || true'));
  t.true(count <= 1, `${count} processes: only the probe that runs now`);
  await node.unapply('lengthy');
});

real(
  'readiness is told while a pass is busy: another container is held up in its hook, or the pod ends slowly',
  async (t) => {
    await node.apply(
      pod('busy', {
        terminationGracePeriodSeconds: 300,
        containers: [
          {
            name: 'quick',
            readinessProbe: { exec: { command: script('[ -e /tmp/ready ]') }, periodSeconds: 1, failureThreshold: 1 },
            lifecycle: {
              preStop: { exec: { command: script('rm /tmp/ready; while [ ! -e /tmp/end ]; do sleep 0.1; done') } },
            },
          },
          {
            name: 'tardy',
            command: script('trap "exit 0" TERM; while [ ! -e /tmp/die ]; do sleep 0.05; done'),
            lifecycle: { postStart: { exec: { command: script('while [ ! -e /tmp/go ]; do sleep 0.1; done') } } },
          },
        ],
      }),
    );
    const tardy = () => node.runtime('busy')?.containers.find(({ name }) => name === 'tardy');
    const endHook = () => engine.docker.execInContainer(tardy()!.id, ['touch', '/tmp/go']);
    await eventually('its hook runs', () => tardy()?.state === 'running');
    await endHook();
    await eventually('they run', () => statusOf('busy', 'tardy')?.ready);
    await exec('busy', 'quick', 'touch /tmp/ready');
    await eventually('all ready', () => isReady('busy'));
    await exec('busy', 'tardy', 'touch /tmp/die');
    await eventually('the second run is held up in its hook', () => {
      const newest = tardy();
      return newest?.restartCount === 1 && newest.isStarting && newest.state === 'running';
    });
    await exec('busy', 'quick', 'rm /tmp/ready');
    await eventually('unready', () => statusOf('busy', 'quick')?.ready === false);
    t.truthy(statusOf('busy', 'tardy')?.state?.waiting, 'what its hook holds up is not shown as running');
    await endHook();
    await exec('busy', 'quick', 'touch /tmp/ready');
    await eventually('all ready again', () => isReady('busy'));
    await node.unapply('busy');
    await eventually('unready while it drains', () => node.pod('busy') && !isReady('busy'));
    t.truthy(statusOf('busy', 'quick')?.state?.running);
    await exec('busy', 'quick', 'touch /tmp/end');
    await eventually('gone', () => !node.pod('busy'));
  },
);

real('somebody removes a running container: an end without an exit code, and a new run', async (t) => {
  await node.apply(pod('robbed', { containers: [{ name: 'app' }] }));
  await eventually('ready', () => isReady('robbed'));
  const first = idOf('robbed', 'app');
  await engine.docker.removeContainer(first, { force: true });
  await eventually('a second run', () => isReady('robbed') && idOf('robbed', 'app') !== first);
  const status = statusOf('robbed', 'app')!;
  t.is(status.restartCount, 1);
  t.is(status.lastState?.terminated?.exitCode, 137);
  t.true(['ContainerStatusUnknown', 'Error'].includes(status.lastState?.terminated?.reason ?? ''));
  await node.unapply('robbed');
});

real('status says what a container was given: resources, mounts, its user', async (t) => {
  await node.apply(
    pod('told', {
      securityContext: { supplementalGroups: [2000], runAsUser: 1000, runAsGroup: 1001 },
      containers: [
        {
          name: 'app',
          resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } },
          volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true }],
        },
      ],
      volumes: [{ name: 'v', emptyDir: {} }],
    }),
  );
  await eventually('ready', () => isReady('told'));
  const { user, ...status } = statusOf('told', 'app')!;
  t.like(status, {
    resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '32Mi' } },
    allocatedResources: { cpu: '10m', memory: '16Mi' },
  });
  t.deepEqual(status.volumeMounts, [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'Disabled' }]);
  t.like(user?.linux, { uid: 1000, gid: 1001 });
  t.true(user?.linux?.supplementalGroups?.includes(2000));
  const qos = node.pod('told')?.status?.qosClass;
  t.is(qos, 'Burstable');
  await node.unapply('told');
});

real('pods from a URL: they run, survive its failures, and go when it says so', async (t) => {
  const answer = (...items: object[]) => JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items });
  served = (response) => response.end(answer(pod('far', { containers: [{ name: 'app' }] })));
  await eventually('it runs', () => isReady('far'));
  t.is(node.pod('far')?.metadata.annotations?.['kubernetes.io/config.source'], 'http');
  const first = idOf('far', 'app');
  served = (response) => response.writeHead(503).end();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  served = (response) => response.end(answer(pod('far', { containers: [{ name: 'app', imgae: 'x' }] })));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  t.is(idOf('far', 'app'), first);
  served = (response) =>
    response.end(answer(pod('far', { containers: [{ name: 'app', env: [{ name: 'A', value: 'b' }] }] })));
  await eventually('the new version', () => isReady('far') && idOf('far', 'app') !== first);
  served = (response) => response.end(answer());
  await eventually('it goes', () => !node.pod('far'));
});

real('a manifest that changes while no agent runs: its old pod ends before the new one begins', async (t) => {
  // Two at once could not both have the port; the first is slow to let go of it.
  const text = (greeting: string) =>
    `mkdir -p /www; echo ${greeting} >/www/index.html; httpd -p 127.0.0.1:18082 -h /www || exit 1; trap "sleep 1; exit 0" TERM; while :; do sleep 0.05; done`;
  const readinessProbe = { httpGet: { host: '127.0.0.1', port: 18082 }, periodSeconds: 1 };
  const version = (greeting: string) =>
    pod('moved', { containers: [{ name: 'app', command: script(text(greeting)), readinessProbe }] });
  await node.apply(version('one'));
  await eventually('ready', () => isReady('moved'));
  const first = idOf('moved', 'app');
  await node.stop();
  await node.apply(version('two'));
  const next = await createTestAgent({ docker: engine.docker, network, base: dirname(node.rootDir) });
  next.start();
  try {
    const found = await eventually('the new version is ready', () => {
      const shown = next.pod('moved')?.status;
      return shown?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && shown;
    });
    const [app] = found.containerStatuses!;
    t.not(app!.containerID, `docker://${first}`);
    t.is(app!.restartCount, 0, 'the port was free when it began');
    await t.throwsAsync(engine.docker.inspectContainer(first), undefined, 'nothing is left of the old one');
  } finally {
    await next.stop();
  }
});
