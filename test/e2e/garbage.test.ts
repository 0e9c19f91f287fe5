/** What a node throws away, and what it must not lose: logs that are followed through rotations, pods that come and go, a look into the daemon's memory. */
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';
import { rsyslogOrWhyNot } from '../support/rsyslog.ts';

const kubectl = await kubectlOrWhyNot();
const obstacle = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const CONFIG = '/etc/berth/kubelet.yaml';
const ROOT = '/var/lib/berth';

let cluster: ClusterHost;
const rsyslog = obstacle ? { skip: obstacle } : await rsyslogOrWhyNot();

test.before(async () => {
  if (obstacle) return;
  cluster = await createClusterHost('garbage');
  mkdirSync(cluster.host.path('/etc/berth'), { recursive: true });
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerLogMaxSize: '128Ki',
    containerLogMaxFiles: 4,
  };
  writeFileSync(cluster.host.path(CONFIG), JSON.stringify(config));
  await cluster.berthOk('up', '--kubelet-config', CONFIG);
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

function story(title: string, tell: (t: ExecutionContext) => Promise<unknown>, whyNot = obstacle): void {
  if (whyNot) test.serial.skip(`${title} (${whyNot})`, (t) => t.pass());
  else test.serial(title, async (t) => void (await tell(t)));
}

story('kubectl logs -f goes through a dozen rotations and shows each line once', async (t) => {
  const lines = 15_000;
  const line = (index: number | string) => `line ${index} ${'x'.repeat(50)}`;
  const text = `echo begin; until [ -e /tmp/go ]; do usleep 20000; done; i=0; while [ $i -lt ${lines} ]; do echo "${line('$i')}"; i=$((i + 1)); [ $((i % 500)) = 0 ] && usleep 30000; done; true`;
  await cluster.apply(pod('talker', script(text), { restartPolicy: 'Never' }));
  await until('it runs', async () => (await cluster.get<Pod>('pod', 'talker')).status?.phase !== 'Pending');
  const follower = cluster.spawnKubectl('logs', '-f', 'talker');
  let read = '';
  follower.stdout!.setEncoding('utf8').on('data', (chunk) => {
    read += chunk;
  });
  await until('it is followed', async () => read === 'begin\n');
  await cluster.inPod('talker', 'touch /tmp/go');
  // It ends with the container.
  await once(follower, 'close');
  const all = read.split('\n').slice(1);
  const wrong = all.findIndex((one, index) => one !== (index < lines ? line(index) : ''));
  t.is(wrong, -1, `line ${wrong} is "${all[wrong]}"`);
  t.is(all.length, lines + 1);
  const tail = await cluster.kubectl('logs', '--tail=3', 'talker');
  t.is(tail, [lines - 3, lines - 2, lines - 1].map((index) => `${line(index)}\n`).join(''));
  await cluster.kubectl('delete', 'pod', 'talker');
});

story(
  'a shipper of logs reads /var/log/containers through rotations and misses no line',
  async (t) => {
    if ('skip' in rsyslog) return t.fail(rsyslog.skip);
    const [folder, lines] = ['/srv/shipper', 4_000];
    mkdirSync(cluster.host.path(folder), { recursive: true });
    // As people run it on nodes with Docker: the links of some pods, each line as the Engine wrote it.
    const configuration = `global(workDirectory="${folder}")
    module(load="imfile" mode="polling" PollingInterval="1")
    input(type="imfile" file="/var/log/containers/shipped_default_*.log" tag="containers:")
    template(name="line" type="string" string="%msg%\\n")
    action(type="omfile" file="${folder}/out" template="line")\n`;
    writeFileSync(cluster.host.path(`${folder}/rsyslog.conf`), configuration);
    const shipper = cluster.host.spawn(
      ['sh', '-c', `exec env ${rsyslog.command(`${folder}/rsyslog.conf`, `${folder}/pid`)} >${folder}/said 2>&1`],
      {
        stdio: 'ignore',
      },
    );
    await until('the shipper runs', async () => existsSync(cluster.host.path(`${folder}/pid`)));
    // A file is full after two seconds: who looks less often than that must fall behind, whatever it is.
    const text = `i=0; while [ $i -lt ${lines} ]; do echo "line $i ${'x'.repeat(50)}"; i=$((i + 1)); [ $((i % 200)) = 0 ] && usleep 400000; done; sleep 1`;
    await cluster.apply(pod('shipped', script(text), { restartPolicy: 'Never' }));
    const out = () =>
      existsSync(cluster.host.path(`${folder}/out`)) ? readFileSync(cluster.host.path(`${folder}/out`), 'utf8') : '';
    const shipped = () =>
      out()
        .split('\n')
        .flatMap((line) => /"log":"line (\d+) x{50}\\n","stream":"stdout"/.exec(line)?.[1] ?? []);
    await until('the last line has come', async () => shipped().includes(String(lines - 1)), 60_000).catch((error) => {
      throw new Error(
        `${shipped().length} of ${lines} lines have come, the last is ${shipped().at(-1)}; ${readFileSync(cluster.host.path(`${folder}/said`), 'utf8')}${out().slice(0, 500)}`,
        {
          cause: error,
        },
      );
    });
    const seen = shipped().map(Number);
    t.deepEqual(
      seen,
      Array.from({ length: lines }, (_, index) => index),
    );
    const id = (await cluster.get<Pod>('pod', 'shipped')).status!.containerStatuses![0]!.containerID!.slice(
      'docker://'.length,
    );
    const files = await cluster.sh(
      `cd $(dirname $(readlink -f /var/log/containers/shipped_default_main-${id}.log)); ls`,
    );
    t.regex(files, /-json\.log\.2\.gz/, 'it was rotated, and compressed');
    const closed = once(shipper, 'close');
    await cluster.try(['sh', '-c', `kill $(cat ${folder}/pid)`]);
    await closed;
    await cluster.kubectl('delete', 'pod', 'shipped');
  },
  'skip' in rsyslog ? rsyslog.skip : undefined,
);

story('R6, R7: sixteen pods that come and go leave no container, directory, link or cgroup', async (t) => {
  const names = Array.from({ length: 16 }, (_, index) => `churn-${index}`);
  const left = () => [
    ...readdirSync(cluster.host.path(`${ROOT}/kubelet/pods`)),
    ...readdirSync(cluster.host.path('/var/log/pods')),
    ...readdirSync(cluster.host.path('/var/log/containers')),
  ];
  await until('nothing is there', async () => left().length === 0);
  const rounds = 2;
  for (let round = 0; round < rounds; round++) {
    const some = names.filter((_, index) => index % rounds === round);
    await cluster.apply(...some.map((name) => pod(name, { command: ['sleep', '1000'] })));
    await until(
      'all run',
      async () =>
        (await cluster.list<Pod>('pods')).filter(({ status }) => status?.phase === 'Running').length === some.length,
      60_000,
    );
    await cluster.kubectl('delete', 'pods', '--all', '--wait=false');
    await until('all are gone', async () => (await cluster.list<Pod>('pods')).length === 0, 60_000);
  }
  await until('nothing is left', async () => left().length === 0);
  t.is((await cluster.containers()).size, 0);
  t.is((await cluster.sh('find /sys/fs/cgroup -type d -name "pod*-*" | wc -l')).trim(), '0');
});

story(
  'R6: kill -USR2 writes a heap snapshot beside the cluster’s state, for root alone, and the daemon goes on',
  async (t) => {
    const folder = cluster.host.path(`${ROOT}/heap`);
    const snapshots = () => readdirSync(folder).filter((name) => name.endsWith('.heapsnapshot'));
    await cluster.sh('kill -USR2 "$(cut -d" " -f1 /run/berth/berth.pid)"');
    await until('the snapshot', async () => snapshots().length === 1, 60_000);
    const path = join(folder, snapshots()[0]!);
    t.is(statSync(path).mode & 0o777, 0o600);
    t.is(statSync(folder).mode & 0o777, 0o700);
    t.regex(readFileSync(path, 'latin1').slice(0, 100), /^\{"snapshot":\{"meta"/);
    await cluster.berthOk('status');
  },
);
