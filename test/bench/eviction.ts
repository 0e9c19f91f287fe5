/**
 * A pod that allocates 50 MiB a second, deaf to SIGTERM, on a node whose pods may have 1 GiB together; a Guaranteed pod answers HTTP
 * requests all the while. How low the pods' memory gets (the eviction threshold is 100 MiB), how soon the pod is gone, and how many requests are lost.
 *
 *     .toolchain/bin/node test/bench/eviction.ts     # 2 minutes
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { pods } from '../../src/kube/resources.ts';
import type { Draft, Pod } from '../../src/kube/types.ts';
import { berth, continueInside, IMAGE, isReady, line, say, withHost } from './support.ts';

const MI = 2 ** 20;
const PODS_MEMORY_MI = 1024;
const THRESHOLD_MI = 100;
const ROUNDS = 3;
const KUBEPODS = ['/sys/fs/cgroup/memory/kubepods', '/sys/fs/cgroup/kubepods', '/sys/fs/cgroup/kubepods.slice'];
const SAMPLE_MS = 10;

/** 5 MiB each tenth of a second, into one buffer that grows; a shell ignores SIGTERM as the first process of a container. */
const GREEDY =
  '(while :; do dd if=/dev/zero bs=1M count=5 2>/dev/null; usleep 95000; done) | dd bs=2000M iflag=fullblock of=/dev/null';

if (process.argv[2] === 'inside') await inside();
else
  await withHost('bench', async (host) => {
    const totalKib = Number(/MemTotal:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
    const config = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      systemReserved: { memory: `${totalKib - PODS_MEMORY_MI * 1024}Ki` },
      evictionHard: { 'memory.available': `${THRESHOLD_MI}Mi` },
      evictionPressureTransitionPeriod: '1s',
    };
    await host.run(['sh', '-c', `mkdir -p /etc/berth; echo '${JSON.stringify(config)}' >/etc/berth/kubelet.yaml`]);
    await berth(host, 'up', '--kubelet-config', '/etc/berth/kubelet.yaml');
    await berth(host, 'demo');
    await berth(host, 'demo', '--remove');
    await continueInside(host, import.meta.filename);
    await berth(host, 'down');
  });

async function inside(): Promise<void> {
  const client = createKubeClient(loadKubeconfig('/var/lib/berth/kubeconfig', { userAgent: 'bench' }));
  const limits = { cpu: '200m', memory: '64Mi' };
  const serve = 'mkdir /www; echo here >/www/index.html; exec httpd -f -p 8080 -h /www';
  const server = await start(client, 'server', serve, { limits, requests: limits });
  const load = loadOf(`http://${server.status?.podIP}:8080/`);
  const lowestMi: number[] = [];
  const goneMs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const watch = watchMemory();
    await client.create(pods, podOf(`greedy-${round}`, GREEDY), { namespace: 'default' });
    const name = `greedy-${round}`;
    while ((await client.get(pods, { namespace: 'default', name })).status?.phase !== 'Failed') await sleep(100);
    const { lowest, crossedMs, freedMs } = watch.stop();
    lowestMi.push(lowest / MI);
    goneMs.push(freedMs - crossedMs);
    await client.delete(pods, { namespace: 'default', name, gracePeriodSeconds: 0 });
    await sleep(5_000);
  }
  const { sent, lost, latencies } = await load.stop();
  say(
    line(
      `memory left to pods at its lowest (threshold ${THRESHOLD_MI} MiB, half ${THRESHOLD_MI / 2})`,
      lowestMi,
      'MiB',
    ),
  );
  say(line('below the threshold, until the memory was free again', goneMs));
  say(line('requests to the Guaranteed pod meanwhile', latencies));
  const { restartCount } = (await client.get(pods, { namespace: 'default', name: 'server' })).status!
    .containerStatuses![0]!;
  say(`requests sent ${sent}, lost ${lost}; restarts of the pod ${restartCount}`);
  await client.close();
}

function podOf(name: string, command: string, resources?: object): Draft<Pod> {
  const container = { name: 'main', image: IMAGE, command: ['sh', '-c', command], ...(resources && { resources }) };
  return { metadata: { name, namespace: 'default' }, spec: { containers: [container] } } as Draft<Pod>;
}

async function start(client: KubeClient, name: string, command: string, resources: object): Promise<Pod> {
  await client.create(pods, podOf(name, command, resources), { namespace: 'default' });
  for (;;) {
    const found = await client.get(pods, { namespace: 'default', name });
    if (isReady(found)) return found;
    await sleep(50);
  }
}

/** Limit less working set of all pods, sampled; the same figures that the kernel holds them to. */
function watchMemory() {
  const directory = KUBEPODS.find((path) => read(`${path}/memory.stat`) !== undefined)!;
  const isV1 = read(`${directory}/memory.usage_in_bytes`) !== undefined;
  const number = (name: string) => Number(read(`${directory}/${name}`));
  let lowest = Number.POSITIVE_INFINITY;
  let crossedMs = Number.NaN;
  let freedMs = Number.NaN;
  const timer = setInterval(() => {
    const stat = read(`${directory}/memory.stat`) ?? '';
    const inactive = Number(new RegExp(`^${isV1 ? 'total_' : ''}inactive_file (\\d+)$`, 'm').exec(stat)?.[1]);
    const usage = number(isV1 ? 'memory.usage_in_bytes' : 'memory.current');
    const left = number(isV1 ? 'memory.limit_in_bytes' : 'memory.max') - (usage - inactive);
    lowest = Math.min(lowest, left);
    if (left < THRESHOLD_MI * MI && Number.isNaN(crossedMs)) crossedMs = performance.now();
    if (left > 2 * THRESHOLD_MI * MI && !Number.isNaN(crossedMs) && Number.isNaN(freedMs)) freedMs = performance.now();
  }, SAMPLE_MS);
  return {
    stop() {
      clearInterval(timer);
      return { lowest, crossedMs, freedMs };
    },
  };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** 50 requests a second, one after another. */
function loadOf(url: string) {
  let isOver = false;
  let lost = 0;
  const latencies: number[] = [];
  const running = (async () => {
    while (!isOver) {
      const began = performance.now();
      try {
        const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
        if ((await response.text()).trim() !== 'here') lost++;
      } catch {
        lost++;
      }
      latencies.push(performance.now() - began);
      await sleep(20);
    }
  })();
  return {
    async stop() {
      isOver = true;
      await running;
      return { sent: latencies.length, lost, latencies };
    },
  };
}
