/** Lives of pods, each told in its own pod; they run side by side on one host, as on a node. */
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import type { EndpointSlice, Event, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { httpServer, pod, script, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);

let cluster: ClusterHost;

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('pods');
  await cluster.berthOk('up');
  await cluster.loadImages();
  await cluster.sh('mkdir -p /srv/e2e');
});
test.after.always(() => cluster?.close());

/** A story about pods; all of them run at the same time. */
function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (canRun) test(title, async (t) => void (await tell(t)));
  else test.skip(title, (t) => t.pass());
}

story('containers of a pod share its address, host name and an emptyDir', async (t) => {
  await cluster.apply(
    pod(
      'shared',
      {},
      {
        containers: [
          {
            name: 'web',
            image: 'berth/busybox:1',
            ...script('hostname >/data/host; exec httpd -f -h /data'),
            volumeMounts: [{ name: 'data', mountPath: '/data' }],
          },
          {
            name: 'visitor',
            image: 'berth/busybox:1',
            ...script(
              'until wget -q -O - http://127.0.0.1/host; do sleep 0.2; done; hostname; cat /in/host; hostname -i; sleep 3600',
            ),
            volumeMounts: [{ name: 'data', mountPath: '/in', readOnly: true }],
          },
        ],
        volumes: [{ name: 'data', emptyDir: {} }],
      },
    ),
  );
  await ready('shared');
  const log = await until('four lines', async () => {
    const lines = (await cluster.kubectl('logs', 'shared', '-c', 'visitor')).trim().split('\n');
    return lines.length >= 4 && lines;
  });
  const { status } = await cluster.get<Pod>('pod', 'shared');
  t.deepEqual(log, ['shared', 'shared', 'shared', status?.podIP ?? '']);
});

story('ConfigMap and Secret come as files and as environment; the pod knows itself', async (t) => {
  await cluster.kubectl('create', 'configmap', 'settings', '--from-literal=colour=blue', '--from-literal=size=3');
  await cluster.kubectl('create', 'secret', 'generic', 'keys', '--from-literal=token=s3cret');
  await cluster.apply(
    pod(
      'configured',
      {
        ...script(
          'cat /config/colour /keys/token; echo " $COLOUR $TOKEN $size $NAME $NODE $(CPU) $0 $1"; stat -Lc %a /keys/token',
        ),
        args: ['from-args', '$(NAME)'],
        env: [
          { name: 'COLOUR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'colour' } } },
          { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'keys', key: 'token' } } },
          { name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
          { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
        ],
        envFrom: [{ configMapRef: { name: 'settings' } }],
        resources: { limits: { memory: '32Mi' } },
        volumeMounts: [
          { name: 'config', mountPath: '/config' },
          { name: 'keys', mountPath: '/keys' },
        ],
      },
      {
        restartPolicy: 'Never',
        volumes: [
          { name: 'config', configMap: { name: 'settings' } },
          { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
        ],
      },
    ),
  );
  await phase('configured', 'Succeeded');
  t.is(
    await cluster.kubectl('logs', 'configured'),
    'blues3cret blue s3cret 3 configured pods 32 from-args configured\n400\n',
  );
});

story('a container that keeps failing backs off, shown as CrashLoopBackOff with its last exit', async (t) => {
  await cluster.apply(pod('crashing', script('echo attempt; exit 7')));
  const found = await until('CrashLoopBackOff', async () => {
    const [status] = (await cluster.get<Pod>('pod', 'crashing')).status?.containerStatuses ?? [];
    return status?.state?.waiting?.reason === 'CrashLoopBackOff' && status;
  });
  t.like(found.lastState?.terminated, { exitCode: 7, reason: 'Error' });
  t.true(found.restartCount >= 1);
  t.regex(await cluster.kubectl('get', 'pod', 'crashing'), /CrashLoopBackOff/);
  t.is(await cluster.kubectl('logs', 'crashing', '--previous'), 'attempt\n');
  t.true(await until('a BackOff event', async () => (await reasons('crashing')).includes('BackOff')));
});

story('exit codes become phases: Succeeded, Failed, and OnFailure tries again', async (t) => {
  await cluster.apply(
    pod('succeeds', script('exit 0'), { restartPolicy: 'Never' }),
    pod('fails', script('exit 3'), { restartPolicy: 'Never' }),
    pod(
      'tries-again',
      {
        ...script('[ -e /data/tried ] || { touch /data/tried; exit 1; }'),
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
      {
        restartPolicy: 'OnFailure',
        volumes: [{ name: 'data', emptyDir: {} }],
      },
    ),
  );
  await phase('succeeds', 'Succeeded');
  await phase('fails', 'Failed');
  await phase('tries-again', 'Succeeded');
  const exit = async (name: string) => (await cluster.get<Pod>('pod', name)).status?.containerStatuses?.[0];
  t.like((await exit('succeeds'))?.state?.terminated, { exitCode: 0, reason: 'Completed' });
  t.like((await exit('fails'))?.state?.terminated, { exitCode: 3, reason: 'Error' });
  t.is((await exit('tries-again'))?.restartCount, 1);
});

story('a memory limit bites: OOMKilled', async (t) => {
  await cluster.apply(
    pod(
      'greedy',
      { ...script('tail /dev/zero'), resources: { limits: { memory: '32Mi' } } },
      { restartPolicy: 'Never' },
    ),
  );
  await phase('greedy', 'Failed');
  const { status } = await cluster.get<Pod>('pod', 'greedy');
  t.like(status?.containerStatuses?.[0]?.state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
});

story('a CPU limit bites, in the cgroups of container and pod', async (t) => {
  const busy = script(
    'yes >/dev/null & sleep 2; kill %1; for f in /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max; do [ ! -e $f ] || cut -d" " -f1 $f; done; cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu.stat 2>/dev/null | grep nr_throttled; sleep 3600',
  );
  await cluster.apply(pod('busy', { ...busy, resources: { limits: { cpu: '150m' }, requests: { cpu: '100m' } } }));
  const log = await until('its own measurement', async () => {
    const text = await cluster.kubectl('logs', 'busy');
    return text.includes('nr_throttled') && text;
  });
  t.regex(log, /^15000\nnr_throttled [1-9]/);
  const { metadata, status } = await cluster.get<Pod>('pod', 'busy');
  t.is(status?.qosClass, 'Burstable');
  const cgroup = `kubepods/burstable/pod${metadata.uid}`;
  const podQuota = await cluster.sh(
    `cd /sys/fs/cgroup; if [ -d cpu ]; then cat cpu/${cgroup}/cpu.cfs_quota_us; else cut -d" " -f1 ${cgroup}/cpu.max; fi`,
  );
  t.is(podQuota.trim(), '15000');
});

story('a failing liveness probe restarts the container', async (t) => {
  await cluster.apply(
    pod('stuck', {
      ...script('touch /tmp/alive; sleep 1; rm /tmp/alive; sleep 3600'),
      livenessProbe: { exec: { command: ['test', '-e', '/tmp/alive'] }, periodSeconds: 1, failureThreshold: 2 },
    }),
  );
  await until(
    'it was restarted',
    async () => ((await cluster.get<Pod>('pod', 'stuck')).status?.containerStatuses?.[0]?.restartCount ?? 0) > 0,
  );
  t.true(
    await until('events tell why', async () => {
      const all = await reasons('stuck');
      return ['Unhealthy', 'Killing'].every((reason) => all.includes(reason));
    }),
  );
});

story('readiness takes the endpoint out of the Service and brings it back', async (t) => {
  await cluster.sh('mkdir -p /srv/e2e/gate && touch /srv/e2e/gate/open');
  await cluster.apply(
    pod(
      'gated',
      {
        ...httpServer(),
        readinessProbe: { exec: { command: ['test', '-e', '/gate/open'] }, periodSeconds: 1, failureThreshold: 1 },
        volumeMounts: [{ name: 'gate', mountPath: '/gate' }],
      },
      { volumes: [{ name: 'gate', hostPath: { path: '/srv/e2e/gate', type: 'Directory' } }] },
      { labels: { app: 'gated' } },
    ),
    service('gated', { app: 'gated' }),
  );
  await ready('gated');
  const address = await cluster.kubectl('get', 'service', 'gated', '-o', 'jsonpath={.spec.clusterIP}');
  const ask = () => cluster.try(['curl', '-s', '--max-time', '3', `http://${address}/`]);
  const answers = async () => (await ask()).stdout === 'gated\n';
  const refused = async () => (await ask()).code === 7;
  const endpointReady = async () => {
    const slices = await cluster.list<EndpointSlice>('endpointslices', '-l', 'kubernetes.io/service-name=gated');
    return slices.flatMap(({ endpoints }) => endpoints ?? []).map(({ conditions }) => conditions?.ready);
  };
  t.true(await until('the Service answers', answers));
  await cluster.sh('rm /srv/e2e/gate/open');
  t.true(await until('connections are refused', refused));
  t.deepEqual(await endpointReady(), [false]);
  t.like(await cluster.get<Pod>('pod', 'gated'), { status: { phase: 'Running' } });
  await cluster.sh('touch /srv/e2e/gate/open');
  t.true(await until('the Service answers again', answers));
  t.deepEqual(await endpointReady(), [true]);
});

story('deletion is graceful: preStop, then SIGTERM; who ignores it gets SIGKILL', async (t) => {
  await cluster.sh('mkdir -p /srv/e2e/diary');
  const diary = { volumeMounts: [{ name: 'diary', mountPath: '/diary' }] };
  const volumes = [{ name: 'diary', hostPath: { path: '/srv/e2e/diary' } }];
  await cluster.apply(
    pod(
      'polite',
      {
        ...script("trap 'echo TERM >>/diary/polite; exit 0' TERM; touch /tmp/up; while :; do sleep 0.1; done"),
        lifecycle: { preStop: { exec: { command: ['sh', '-c', 'sleep 0.3; echo preStop >>/diary/polite'] } } },
        readinessProbe: { exec: { command: ['test', '-e', '/tmp/up'] }, periodSeconds: 1 },
        ...diary,
      },
      { volumes, terminationGracePeriodSeconds: 20 },
    ),
    pod(
      'deaf',
      {
        ...script("trap 'echo TERM >>/diary/deaf' TERM; touch /tmp/up; while :; do sleep 0.1; done"),
        readinessProbe: { exec: { command: ['test', '-e', '/tmp/up'] }, periodSeconds: 1 },
        ...diary,
      },
      { volumes, terminationGracePeriodSeconds: 1 },
    ),
  );
  await ready('polite');
  await ready('deaf');
  await cluster.kubectl('delete', 'pod', 'polite', 'deaf', '--timeout=15s');
  t.is(await cluster.sh('cat /srv/e2e/diary/polite'), 'preStop\nTERM\n');
  t.is(await cluster.sh('cat /srv/e2e/diary/deaf'), 'TERM\n');
  const left = [...(await cluster.containers()).keys()].filter((name) => /_(polite|deaf)_/.test(name));
  t.deepEqual(left, []);
});

story(
  'a manifest in the static pod directory runs with a mirror pod; deleting the mirror does not end it',
  async (t) => {
    const file = '/var/lib/berth/manifests/hello.yaml';
    const manifest = pod('hello', script('echo from a file; sleep 3600'));
    await cluster.sh(`echo '${JSON.stringify(manifest)}' >${file}`);
    const mirror = await until('the mirror pod runs', async () => {
      const found = await cluster.get<Pod>('pod', 'hello-pods');
      return found.status?.phase === 'Running' && found;
    });
    t.truthy(mirror.metadata.annotations?.['kubernetes.io/config.mirror']);
    t.is(mirror.metadata.annotations?.['kubernetes.io/config.source'], 'file');
    t.is(await cluster.kubectl('logs', 'hello-pods'), 'from a file\n');
    const container = () => mirrorContainer('hello-pods');
    const id = await container();
    await cluster.kubectl('delete', 'pod', 'hello-pods', '--timeout=20s');
    await until('there is a new mirror', async () => {
      const found = await cluster.get<Pod>('pod', 'hello-pods');
      return found.metadata.uid !== mirror.metadata.uid && found.status?.phase === 'Running';
    });
    t.is(await container(), id);
    await cluster.sh(`rm ${file}`);
    t.true(
      await until(
        'both are gone',
        async () =>
          (await cluster.tryKubectl(['get', 'pod', 'hello-pods'])).code !== 0 && (await container()) === undefined,
      ),
    );
  },
);

story('a hostNetwork pod has the address of the node and answers there', async (t) => {
  await cluster.apply(pod('on-host', httpServer(18080), { hostNetwork: true }));
  await ready('on-host');
  const { status } = await cluster.get<Pod>('pod', 'on-host');
  t.is(status?.podIP, cluster.address);
  t.is(status?.hostIP, cluster.address);
  t.is(await cluster.sh(`until curl -sf http://${cluster.address}:18080/; do sleep 0.1; done`), 'pods\n');
});

story('a hostPort leads from the node, also from loopback, into the pod', async (t) => {
  await cluster.apply(pod('ported', { ...httpServer(), ports: [{ containerPort: 80, hostPort: 18081 }] }));
  await ready('ported');
  t.is(
    await cluster.sh(`curl -sf --retry 20 --retry-delay 1 --retry-connrefused http://${cluster.address}:18081/`),
    'ported\n',
  );
  t.is(await cluster.sh('curl -sf http://127.0.0.1:18081/'), 'ported\n');
  const outside = await cluster.net.host.run(['true']);
  t.is(outside.code, 0);
});

story('containers share processes when the pod says so', async (t) => {
  await cluster.apply(
    pod(
      'family',
      {},
      {
        shareProcessNamespace: true,
        containers: [
          { name: 'sleeper', image: 'berth/busybox:1', command: ['sleep', '4242'] },
          {
            name: 'watcher',
            image: 'berth/busybox:1',
            ...script('until ps | grep "[s]leep 4242"; do sleep 0.2; done; sleep 3600'),
          },
        ],
      },
    ),
  );
  await ready('family');
  t.regex(
    await until(
      'the neighbour is seen',
      async () => (await cluster.kubectl('logs', 'family', '-c', 'watcher')) || undefined,
    ),
    /sleep 4242/,
  );
});

story('logs: all of it, its end, with times, and followed while it grows', async (t) => {
  const talk = 'for i in 1 2 3; do echo line $i; done; until [ -e /gate/go ]; do sleep 0.1; done; echo end';
  await cluster.apply(
    pod(
      'talker',
      { ...script(talk), volumeMounts: [{ name: 'gate', mountPath: '/gate' }] },
      {
        restartPolicy: 'Never',
        volumes: [{ name: 'gate', hostPath: { path: '/srv/e2e/talk', type: 'DirectoryOrCreate' } }],
      },
    ),
  );
  await ready('talker');
  await until('three lines', async () => (await cluster.kubectl('logs', 'talker')) === 'line 1\nline 2\nline 3\n');
  t.is(await cluster.kubectl('logs', 'talker', '--tail=1'), 'line 3\n');
  t.regex(await cluster.kubectl('logs', 'talker', '--timestamps', '--tail=1'), /^\d{4}-\d\d-\d\dT\S+Z line 3\n$/);
  t.is(await cluster.kubectl('logs', 'talker', '--limit-bytes=4'), 'line');
  t.is(await cluster.kubectl('logs', 'talker', '--since=1h'), 'line 1\nline 2\nline 3\n');
  t.is(await cluster.kubectl('logs', 'talker', '--since-time=2100-01-01T00:00:00Z'), '');
  t.is(await cluster.kubectl('logs', 'talker', '--prefix', '--tail=1'), '[pod/talker/main] line 3\n');
  const following = cluster.spawnKubectl('logs', '-f', 'talker');
  let followed = '';
  following.stdout?.setEncoding('utf8').on('data', (text) => {
    followed += text;
  });
  const ended = once(following, 'close');
  await until('the beginning is followed', async () => followed.includes('line 3'));
  await cluster.sh('touch /srv/e2e/talk/go');
  t.is((await ended)[0], 0);
  t.is(followed, 'line 1\nline 2\nline 3\nend\n');
  const wrong = await cluster.tryKubectl(['logs', 'talker', '-c', 'nobody']);
  t.not(wrong.code, 0);
  t.regex(wrong.stderr, /nobody/);
});

story('an image that is not there is said, with the way it was asked for', async (t) => {
  await cluster.apply(
    pod('lost', { image: 'berth/nowhere:1', imagePullPolicy: 'Never' }),
    pod('unpullable', { image: 'registry.invalid/nothing:1' }),
  );
  const waiting = (name: string, wanted: RegExp) =>
    until(`${name} waits because of ${wanted}`, async () => {
      const [status] = (await cluster.get<Pod>('pod', name)).status?.containerStatuses ?? [];
      return wanted.test(status?.state?.waiting?.reason ?? '') && status?.state?.waiting?.message;
    });
  t.regex(await waiting('lost', /^ErrImageNeverPull$/), /berth\/nowhere:1/);
  t.regex(await waiting('unpullable', /^(ErrImagePull|ImagePullBackOff)$/), /registry\.invalid/);
});

function mirrorContainer(podName: string): Promise<string | undefined> {
  return cluster
    .containers()
    .then(
      (all) =>
        [...all].find(([name, { state }]) => name.startsWith(`k8s_main_${podName}_`) && state === 'running')?.[1].id,
    );
}

function ready(name: string): Promise<string> {
  return cluster.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
}

function phase(name: string, wanted: string): Promise<string> {
  return cluster.kubectl('wait', `--for=jsonpath={.status.phase}=${wanted}`, `pod/${name}`, '--timeout=60s');
}

async function reasons(name: string): Promise<string[]> {
  const events = await cluster.list<Event>('events', '--field-selector', `involvedObject.name=${name}`);
  return events.map(({ reason }) => reason ?? '');
}
