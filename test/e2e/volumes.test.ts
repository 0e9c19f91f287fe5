/**
 * Volumes as kubectl's user meets them: what is changed in a ConfigMap, a Secret or a pod's labels shows in the running
 * pod within two seconds; what is missing is told, and the pod goes on when it is there.
 */
import test from 'ava';
import type { Event, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;
/** The aim for changes that reach a running pod. */
const AIM_MS = 2000;

let cluster: ClusterHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('volumes');
  await cluster.berthOk('up');
  await cluster.loadImages();
  await cluster.kubectl('create', 'configmap', 'conf', '--from-literal=key=one', '--from-literal=gone=soon');
  await cluster.kubectl('create', 'secret', 'generic', 'pass', '--from-literal=word=old');
});
test.after.always(() => cluster?.close());

const STAY = script('trap exit TERM; while :; do sleep 1; done');
const ready = (name: string, seconds = 30) =>
  cluster.kubectl('wait', '--for=condition=Ready', `pod/${name}`, `--timeout=${seconds}s`);
const eventsOf = async (name: string, reason: string) =>
  (await cluster.list<Event>('events')).filter(
    (event) => event.involvedObject.name === name && event.reason === reason,
  );

/** Milliseconds from the end of a change until the pod's container sees it. */
async function seenAfter(name: string, change: () => Promise<unknown>, condition: string): Promise<number> {
  await change();
  const startedMs = performance.now();
  const loop = `for i in $(seq 500); do if ${condition}; then exit 0; fi; sleep 0.01; done; exit 1`;
  const { code, output } = await cluster.inPod(name, loop);
  if (code !== 0) throw new Error(`never seen: ${condition}: ${output}`);
  return performance.now() - startedMs;
}

story('changes of ConfigMaps, Secrets and labels reach a running pod; subPaths stay as they were', async (t) => {
  await cluster.apply(
    pod(
      'reader',
      {
        ...STAY,
        volumeMounts: [
          { name: 'conf', mountPath: '/conf' },
          { name: 'conf', mountPath: '/fixed', subPath: 'key' },
          { name: 'pass', mountPath: '/pass' },
          { name: 'all', mountPath: '/all' },
        ],
      },
      {
        volumes: [
          { name: 'conf', configMap: { name: 'conf' } },
          { name: 'pass', secret: { secretName: 'pass', defaultMode: 0o400 } },
          {
            name: 'all',
            projected: {
              sources: [
                { configMap: { name: 'conf', items: [{ key: 'key', path: 'deep/key' }] } },
                { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
                { configMap: { name: 'later', optional: true } },
              ],
            },
          },
        ],
      },
      { labels: { color: 'red' } },
    ),
  );
  await ready('reader');
  const figures: Record<string, number> = {};
  const patch = (kind: string, name: string, data: object) =>
    cluster.kubectl('patch', kind, name, '--type=merge', '-p', JSON.stringify(data));
  figures['ConfigMap'] = await seenAfter(
    'reader',
    () => patch('configmap', 'conf', { data: { key: 'two', gone: null } }),
    '[ "$(cat /conf/key)" = two ] && [ "$(cat /all/deep/key)" = two ] && ! [ -e /conf/gone ]',
  );
  figures['Secret'] = await seenAfter(
    'reader',
    () => patch('secret', 'pass', { stringData: { word: 'new' } }),
    '[ "$(cat /pass/word)" = new ]',
  );
  figures['label'] = await seenAfter(
    'reader',
    () => cluster.kubectl('label', 'pod', 'reader', '--overwrite', 'color=blue'),
    `grep -q 'color="blue"' /all/labels`,
  );
  figures['optional, created later'] = await seenAfter(
    'reader',
    () => cluster.kubectl('create', 'configmap', 'later', '--from-literal=late=x'),
    '[ -e /all/late ]',
  );
  t.log(
    Object.entries(figures)
      .map(([what, ms]) => `${what}: ${Math.round(ms)} ms`)
      .join(', '),
  );
  for (const [what, ms] of Object.entries(figures)) t.true(ms < AIM_MS, `${what}: ${ms} ms`);

  const { output } = await cluster.inPod(
    'reader',
    'cat /fixed; stat -c %a -L /pass/word; grep -c " /pass tmpfs ro" /proc/mounts; touch /conf/x 2>&1',
  );
  t.regex(output, /^one400\n1\ntouch: \/conf\/x: Read-only file system/);
  t.is((await cluster.get<Pod>('pod', 'reader')).status?.containerStatuses?.[0]?.restartCount, 0);
});

story(
  'a volume whose object is missing: FailedMount with its name; the pod goes on as soon as it is there',
  async (t) => {
    await cluster.apply(
      pod(
        'early',
        {
          ...STAY,
          env: [{ name: 'WORD', valueFrom: { secretKeyRef: { name: 'pass', key: 'word' } } }],
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        },
        { volumes: [{ name: 'v', configMap: { name: 'missing' } }] },
      ),
    );
    const [event] = await until('told', async () => {
      const found = await eventsOf('early', 'FailedMount');
      return found.length > 0 && found;
    });
    t.is(event!.message, 'MountVolume.SetUp failed for volume "v" : configmap "missing" not found');
    const { status } = await cluster.get<Pod>('pod', 'early');
    t.is(status?.phase, 'Pending');
    t.is(status?.containerStatuses?.[0]?.state?.waiting?.reason, 'ContainerCreating');
    await cluster.kubectl('create', 'configmap', 'missing', '--from-literal=a=b');
    await ready('early', 5);
    t.is((await cluster.inPod('early', 'cat /v/a; echo -n $WORD')).output, 'bnew');
  },
);

story('a missing Secret of the environment: CreateContainerConfigError, and no restart when it comes', async (t) => {
  await cluster.apply(pod('envless', { ...STAY, envFrom: [{ secretRef: { name: 'absent' } }] }));
  const waiting = await until('waits', async () => {
    const { status } = await cluster.get<Pod>('pod', 'envless');
    const state = status?.containerStatuses?.[0]?.state?.waiting;
    return state?.reason === 'CreateContainerConfigError' && state;
  });
  t.is(waiting.message, 'secret "absent" not found');
  await cluster.kubectl('create', 'secret', 'generic', 'absent', '--from-literal=NAME=value');
  await ready('envless', 5);
  t.is((await cluster.inPod('envless', 'echo -n $NAME')).output, 'value');
  t.is((await cluster.get<Pod>('pod', 'envless')).status?.containerStatuses?.[0]?.restartCount, 0);
});

story('gitRepo is refused, with the reason (CVE-2024-10220)', async (t) => {
  await cluster.apply(pod('git', STAY, { volumes: [{ name: 'v', gitRepo: { repository: 'file:///nothing' } }] }));
  const { status } = await until('refused', async () => {
    const found = await cluster.get<Pod>('pod', 'git');
    return found.status?.phase === 'Failed' && found;
  });
  t.regex(status?.message ?? '', /gitRepo/);
  t.regex(status?.message ?? '', /CVE-2024-10220/);
});

story('deleted pods leave no mount and no directory', async (t) => {
  await cluster.kubectl('delete', 'pod', '--all', '--wait=true');
  t.is((await cluster.sh('grep -c /pods/ /proc/self/mountinfo || true')).trim(), '0');
  t.is((await cluster.sh('find /var/lib/berth -path "*/pods/*" -maxdepth 4 | grep -v /log || true')).trim(), '');
});
