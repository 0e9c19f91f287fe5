import { request } from 'node:https';
import test from 'ava';
import { createAccess } from '../../../agent/server/access.ts';
import { certifiedAccess } from '../../../agent/server/authorization.ts';
import { createAgentServer } from '../../../agent/server/server.ts';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import type { Container } from '../../../src/kube/types.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createHeartbeats } from '../../../src/runtime/heartbeat.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { serverDefaults } from '../../fakes/server-defaults.ts';
import { noStatistics } from '../../fakes/statistics.ts';
import { createTestAgent, eventually, type TestAgent } from '../../support/agent.ts';
import { type PrivateDockerd, startDockerd, whyNoDockerd } from '../../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../../support/images.ts';

const obstacle = whyNoDockerd();
const real = obstacle ? test.serial.skip : test.serial;
let engine: PrivateDockerd;
let node: TestAgent;

if (obstacle) test(`skipped: ${obstacle}`, (t) => t.pass());
else {
  test.before(async () => {
    engine = await startDockerd();
    await loadTestImages(engine.socketPath);
    node = await createTestAgent({ docker: engine.docker, network: createFakePodNetwork() });
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

function manifest(name: string, container: Partial<Container>, spec: object = {}) {
  const app = { name: 'app', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', ...container };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { dnsPolicy: 'Default', terminationGracePeriodSeconds: 1, ...spec, containers: [app] },
  };
}
const script = (text: string) => ['sh', '-c', `trap "exit 0" TERM; ${text}; while :; do sleep 0.05; done`];
const statusOf = (pod: string) => node.pod(pod)?.status?.containerStatuses?.[0];
const readyOf = (pod: string) => node.pod(pod)?.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
const eventsOf = (pod: string) => node.events.filter((event) => event.pod === `${pod}-node-1`);
const inApp = (pod: string, command: string) =>
  engine.docker.execInContainer(statusOf(pod)!.containerID!.replace('docker://', ''), ['sh', '-c', command]);

async function removed(pod: string) {
  await node.unapply(pod);
  await eventually(`${pod} is gone`, () => !node.pod(pod));
}

real('exec probes: readiness follows a file, the failed liveness restarts the container', async (t) => {
  await node.apply(
    manifest('probed', {
      command: script('touch /tmp/live'),
      readinessProbe: { exec: { command: ['cat', '/tmp/ready'] }, periodSeconds: 1, failureThreshold: 1 },
      livenessProbe: { exec: { command: ['cat', '/tmp/live'] }, periodSeconds: 1, failureThreshold: 2 },
    }),
  );
  await eventually('it runs', () => statusOf('probed')?.state?.running);
  t.is(readyOf('probed'), 'False');
  await inApp('probed', 'touch /tmp/ready');
  await eventually('it is ready', () => readyOf('probed') === 'True');
  await inApp('probed', 'rm /tmp/ready');
  await eventually('it is unready', () => readyOf('probed') === 'False');
  await inApp('probed', 'rm /tmp/live');
  await eventually('it is restarted', () => statusOf('probed')?.restartCount === 1);
  const messages = eventsOf('probed').map(({ reason, message }) => `${reason}: ${message}`);
  t.true(messages.some((one) => /^Unhealthy: Liveness probe failed: cat: can't open '\/tmp\/live'/.test(one)));
  t.true(messages.includes('Killing: Container app failed liveness probe, will be restarted'));
  await removed('probed');
});

real('startup probe: not started and not ready until it passes; a timeout is a failure', async (t) => {
  await node.apply(
    manifest('starting', {
      command: script('true'),
      startupProbe: { exec: { command: ['cat', '/tmp/up'] }, periodSeconds: 1, failureThreshold: 60 },
      readinessProbe: {
        exec: { command: ['sh', '-c', '[ -e /tmp/slow ] && sleep 30; true'] },
        periodSeconds: 1,
        failureThreshold: 1,
      },
    }),
  );
  await eventually('it runs', () => statusOf('starting')?.state?.running);
  t.is(statusOf('starting')?.started, false);
  await inApp('starting', 'touch /tmp/up');
  await eventually('it is ready', () => statusOf('starting')?.started && readyOf('starting') === 'True');
  await inApp('starting', 'touch /tmp/slow');
  await eventually('it is unready', () => readyOf('starting') === 'False');
  t.true(
    eventsOf('starting').some(({ message }) => /Readiness probe failed: command ".*" timed out after 1s/.test(message)),
  );
  await removed('starting');
});

real('limits: pod and container cgroups carry them, CPU is held back, all goes with the pod', async (t) => {
  const cgroups = await openCgroups();
  await node.apply(
    manifest('limited', {
      command: script('while :; do :; done & true'),
      resources: { requests: { cpu: '100m', memory: '16Mi' }, limits: { cpu: '200m', memory: '32Mi' } },
    }),
  );
  await eventually('it runs', () => statusOf('limited')?.state?.running);
  const pod = node.pod('limited')!;
  t.is(pod.status?.qosClass, 'Burstable');
  const path = `${node.cgroupRoot}/kubepods/burstable/pod${pod.metadata.uid}`;
  const [memory, stat] = cgroups.version === 1 ? ['memory.limit_in_bytes', 'cpu.stat'] : ['memory.max', 'cpu.stat'];
  t.is(await cgroups.read(path, 'memory', memory), String(32 << 20));
  const [container] = (await cgroups.children(path)).slice(-1);
  t.truthy(container);
  await eventually('it is throttled', async () => {
    const text = (await cgroups.read(path, 'cpu', stat)) ?? '';
    return Number(/nr_throttled (\d+)/.exec(text)?.[1]) > 0;
  });
  await removed('limited');
  await eventually(
    'its cgroup is gone',
    async () => (await cgroups.children(path)).length === 0 && !(await cgroups.exists(path)),
  );
});

real('logs over HTTPS: text of both streams, tail, times, follow, previous', async (t) => {
  const validity = { days: 1, nowMs: Date.now() };
  const ca = await createCertificateAuthority({ commonName: 'ca', ...validity });
  const serving = await issueCertificate(ca, {
    commonName: 'n',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    ...validity,
  });
  const client = await issueCertificate(ca, {
    commonName: 'kube-apiserver-kubelet-client',
    usages: ['client'],
    ...validity,
  });
  const server = createAgentServer(
    { address: '127.0.0.1', port: 0, healthzBindAddress: '127.0.0.1', ...serving, clientCaPem: ca.certPem },
    {
      pods: node.agent.directory,
      docker: engine.docker,
      heartbeats: createHeartbeats(systemClock),
      registry: new Registry(),
      probeRegistry: new Registry(),
      statistics: noStatistics,
      configuration: () => ({}),
      ...serverDefaults,
      refuseAccess: createAccess({ authorize: certifiedAccess }, { log: silentLogger }),
      clock: systemClock,
      log: silentLogger,
    },
  );
  const { port } = await server.listen();
  const logs = (query: string, onText?: (text: string) => void) =>
    new Promise<string>((resolve, reject) => {
      const path = `/containerLogs/default/talk-node-1/app?${query}`;
      const call = request(
        { host: '127.0.0.1', port, path, ca: ca.certPem, cert: client.certPem, key: client.keyPem, agent: false },
        (response) => {
          let text = '';
          response.on('data', (chunk) => {
            text += chunk;
            onText?.(text);
          });
          response.on('end', () => resolve(text));
        },
      );
      call.on('error', reject);
      call.end();
    });
  try {
    await node.apply(
      manifest('talk', {
        command: script(
          'echo out; sleep 0.1; echo err >&2; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo more; exit 3',
        ),
      }),
    );
    await eventually(
      'it has spoken',
      async () => statusOf('talk')?.state?.running && (await logs('')) === 'out\nerr\n',
    );
    t.is(await logs('tailLines=1'), 'err\n');
    t.is(await logs('tailLines=0'), '');
    t.is(await logs('stream=Stderr'), 'err\n');
    t.regex(await logs('timestamps=true'), /^\d{4}-\d\d-\d\dT[\d:.]+Z out\n\d{4}-\d\d-\d\dT[\d:.]+Z err\n$/);
    t.is(await logs(`sinceTime=${new Date(Date.now() + 60_000).toISOString()}`), '');
    let woken = false;
    const followed = logs('follow=true', (text) => {
      if (woken || text !== 'out\nerr\n') return;
      woken = true;
      void inApp('talk', 'touch /tmp/go');
    });
    t.is(await followed, 'out\nerr\nmore\n', 'the stream ends with the container');
    await eventually('it runs again', () => statusOf('talk')?.restartCount === 1 && statusOf('talk')?.state?.running);
    t.is(await logs('previous=true'), 'out\nerr\nmore\n');
  } finally {
    await server.close();
    await removed('talk');
  }
});
