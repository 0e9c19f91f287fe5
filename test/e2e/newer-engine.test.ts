/**
 * The newest Docker Engine that Debian has, told to refuse API versions before 1.44, as Engines from 29 on do: `up` uses it as it is. The
 * programs come from Debian sid into a cache; without it the stories are skipped by name.
 */
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { startDevicePlugin } from '../support/device-plugin.ts';
import { httpServer, pod, script } from '../support/manifests.ts';
import { findNewerEngine } from '../support/newer-engine.ts';

const kubectl = await kubectlOrWhyNot();
const engine = await findNewerEngine({ fetch: process.env['BERTH_TEST_FULL'] === '1' && !whyNoHost() });
const missing = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : 'missing' in engine ? engine.missing : undefined);
const OLDEST_API = '1.44';
const SOCKET = '/run/docker.sock';

let cluster: ClusterHost;

function story(title: string, tell: (t: ExecutionContext) => Promise<void>): void {
  if (missing) test.serial.skip(`${title} (${missing})`, (t) => t.pass());
  else test.serial(title, tell);
}

test.before(async () => {
  if (missing || !('folder' in engine)) return;
  cluster = await createClusterHost('newer');
  await cluster.sh(`cp -a '${engine.folder}'/usr/. /usr/`);
  const flags = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-masq=false', '--ip-forward=false'];
  const dockerd = cluster.host.spawn(['dockerd', ...flags, '--live-restore', '--log-level', 'warn'], {
    stdio: 'ignore',
    env: { ...process.env, DOCKER_MIN_API_VERSION: OLDEST_API },
  });
  const ended = once(dockerd, 'close').then(() => Promise.reject(new Error('dockerd ended')));
  await Promise.race([ended, until('Docker answers', async () => !!(await cluster.engine(SOCKET).version()))]);
  ended.catch(() => {});
  await cluster.berthOk('up');
  await cluster.loadImages(SOCKET);
});
test.after.always(() => cluster?.close());

story('the Engine refuses what older clients speak, and doctor finds nothing wrong with it', async (t) => {
  const refused = await cluster.sh(`curl -s --unix-socket ${SOCKET} http://docker/v1.41/version`);
  t.regex(refused, /client version 1\.41 is too old/);
  const { findings } = JSON.parse((await cluster.berthOk('doctor', '-o', 'json')).stdout) as {
    findings: { check: string; state: string; detail: string }[];
  };
  const found = findings.find(({ check }) => check === 'docker engine');
  t.is(found?.state, 'ok', JSON.stringify(findings));
  t.regex(found?.detail ?? '', /^(2[5-9]|[3-9]\d)\./);
});

story(
  'devices of plugins: a CDI device is left to the Engine, hooks and all; annotations reach the OCI runtime',
  async (t) => {
    const resource = 'vendor.example/cdi';
    const spec = {
      cdiVersion: '0.6.0',
      kind: resource,
      devices: [
        {
          name: 'zero',
          containerEdits: {
            env: ['CDI_DEVICE=zero'],
            deviceNodes: [{ path: '/dev/cdi-zero', hostPath: '/dev/zero' }],
            // Nothing but a runtime that writes the OCI specification can do this.
            hooks: [
              {
                hookName: 'createRuntime',
                path: '/bin/sh',
                args: ['sh', '-c', 'cat >/run/cdi-hook'],
                env: ['PATH=/bin'],
              },
            ],
          },
        },
      ],
    };
    await cluster.sh(`mkdir -p /etc/cdi; echo '${JSON.stringify(spec)}' >/etc/cdi/vendor.json`);
    const plugin = await startDevicePlugin(cluster.host.path('/var/lib/berth/kubelet/device-plugins'), {
      resource,
      devices: [{ id: 'a' }],
      response: { cdiDevices: [{ name: `${resource}=zero` }], annotations: { 'vendor.example/note': 'given' } },
    });
    t.teardown(() => plugin.stop());
    await plugin.register();
    await cluster.apply(pod('device', { ...script('exec sleep 1000000'), resources: { limits: { [resource]: '1' } } }));
    await cluster.kubectl('wait', '--for=condition=Ready', 'pod/device', '--timeout=60s');
    const { output } = await cluster.inPod(
      'device',
      `tr '\\0' '\\n' </proc/1/environ | grep CDI; head -c 3 /dev/cdi-zero | od -An -tx1`,
      SOCKET,
    );
    // The Engine's exec knows nothing of what CDI has added: the container's own process does.
    t.is(output, 'CDI_DEVICE=zero\n 00 00 00\n');
    const state = JSON.parse(await cluster.sh('cat /run/cdi-hook'));
    t.is(state.annotations['vendor.example/note'], 'given');
    await cluster.kubectl('delete', 'pod', 'device', '--timeout=60s');
  },
);

story('the demo answers; volumes, exec, logs, restarts and clean-up work', async (t) => {
  t.regex((await cluster.berthOk('demo')).stdout, /PONG/);
  await cluster.apply(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { a: 'one' } },
    pod(
      'whole',
      {
        ...httpServer(),
        resources: { limits: { cpu: '200m', memory: '32Mi' } },
        livenessProbe: { exec: { command: ['test', '!', '-e', '/tmp/sick'] }, periodSeconds: 1, failureThreshold: 1 },
        volumeMounts: [
          { name: 'settings', mountPath: '/settings', readOnly: true, recursiveReadOnly: 'Enabled' },
          { name: 'scratch', mountPath: '/scratch', subPath: 'a/b' },
        ],
      },
      {
        volumes: [
          { name: 'settings', configMap: { name: 'settings' } },
          { name: 'scratch', emptyDir: {} },
        ],
      },
    ),
    pod(
      'eater',
      { ...script('tail /dev/zero'), resources: { limits: { memory: '16Mi' } } },
      { restartPolicy: 'Never' },
    ),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/whole', '--timeout=60s');
  const look = await cluster.kubectl(
    'exec',
    'whole',
    '--',
    'sh',
    '-c',
    'cat /settings/a; echo >/scratch/x && echo " written"',
  );
  t.is(look, 'one written\n');
  await cluster.kubectl('exec', 'whole', '--', 'touch', '/tmp/sick');
  await until('it was restarted', async () => {
    const { status } = await cluster.get<{
      metadata: never;
      status: { containerStatuses: { restartCount: number }[] };
    }>('pod', 'whole');
    return status.containerStatuses[0]!.restartCount === 1;
  });
  await cluster.kubectl(
    'wait',
    '--for=jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled',
    'pod/eater',
    '--timeout=60s',
  );
  await cluster.kubectl('logs', 'whole', '--previous');
  await cluster.kubectl('delete', 'pod', 'whole', 'eater', '--timeout=60s');
  await cluster.berthOk('demo', '--remove');
  await cluster.berthOk('down');
  t.is((await cluster.engine(SOCKET).listContainers({ labels: ['io.kubernetes.pod.uid'] })).length, 0);
});
