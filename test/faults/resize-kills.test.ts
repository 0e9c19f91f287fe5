/** The agent is killed at odd moments of resizes: in the end every pod has what was asked for last, without a restart. With `--full` only. */
import test from 'ava';
import type { Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const isFull = process.env.BERTH_TEST_FULL === '1';
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : isFull ? undefined : 'with --full only');
const NAMES = ['one', 'two', 'three'];
const ROUNDS = 8;

let cluster: ClusterHost;
test.before(async () => {
  if (skip) return;
  cluster = await createClusterHost('resize-kills');
  await cluster.berthOk('up');
  await cluster.loadImages();
});
test.after.always(() => cluster?.close());

const sized = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } });
const sizeOf = (found: Pod) => found.status?.containerStatuses?.[0]?.resources?.limits;

const run = skip ? test.serial.skip : test.serial;
run(`resizes survive an agent that is killed at any moment${skip ? ` (${skip})` : ''}`, async (t) => {
  t.timeout(600_000);
  await cluster.apply(
    ...NAMES.map((name) => pod(name, { ...script('exec sleep 3600'), resources: sized('50m', '32Mi') })),
  );
  for (const name of NAMES)
    await until(`${name} runs`, async () => (await cluster.get<Pod>('pod', name)).status?.phase === 'Running');
  const last = new Map<string, [cpu: string, memory: string]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, name] of NAMES.entries()) {
      const size: [string, string] = [
        `${50 + ((round * 7 + index * 3) % 10) * 10}m`,
        `${32 + ((round + index) % 4) * 16}Mi`,
      ];
      last.set(name, size);
      const patch = JSON.stringify({ spec: { containers: [{ name: 'main', resources: sized(...size) }] } });
      await cluster.kubectl('patch', 'pod', name, '--subresource', 'resize', '--patch', patch);
    }
    // The all-in-one daemon has the API server, too: the patches are stored, how far the agent has got differs from round to round.
    await new Promise((resolve) => setTimeout(resolve, round * 15));
    await cluster.sh('kill -KILL $(cat /run/berth/berth.pid)');
    await cluster.berthOk('up');
  }
  for (const [name, [cpu, memory]] of last) {
    const found = await until(`${name} has what was asked for last`, async () => {
      const now = await cluster.get<Pod>('pod', name);
      const settled = !now.status?.conditions?.some(({ type }) => type.startsWith('PodResize'));
      return settled && sizeOf(now)?.['cpu'] === cpu && sizeOf(now)?.['memory'] === memory && now;
    });
    t.is(found.status!.containerStatuses![0]!.restartCount, 0);
    const { container, whole } = await memoryLimits(name);
    t.is(container, Number.parseInt(memory, 10) * 2 ** 20);
    t.is(whole, container);
  }
});

/** As the kernel has them: of the container, and of its pod. */
async function memoryLimits(name: string): Promise<{ container: number; whole: number }> {
  const found = await cluster.get<Pod>('pod', name);
  const id = found.status!.containerStatuses![0]!.containerID!.replace('docker://', '');
  const { pid } = await cluster.engine().inspectContainer(id);
  const text = await cluster.sh(`
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
      at=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/${pid}/cgroup); file=memory.max
    else
      at=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/${pid}/cgroup); file=memory.limit_in_bytes
    fi
    cat $at/$file $at/../$file`);
  const [container, whole] = text.trim().split('\n').map(Number);
  return { container: container!, whole: whole! };
}
