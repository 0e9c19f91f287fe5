/**
 * Statistics of 100 pods: CPU of one full pass over their cgroups (with all that /stats/summary tells, without HTTP), and scrapes of
 * /metrics/cadvisor and its like at the real agent's port. Between two passes is as much time as makes every one a new one.
 *
 *     .toolchain/bin/node test/bench/stats.ts     # 6 minutes; BENCH_PODS=20 for a look
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { LABEL, parseIdentity, SANDBOX_CONTAINER_NAME } from '../../agent/containers/identity.ts';
import type { ContainerRuntimeStatus, PodDirectory, PodRuntimeStatus, SandboxStatus } from '../../agent/pods/ports.ts';
import { createPass, type PassDepth } from '../../agent/stats/pass.ts';
import { createTargets } from '../../agent/stats/targets.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { pods } from '../../src/kube/resources.ts';
import type { Pod } from '../../src/kube/types.ts';
import { findHierarchies } from '../../src/linux/cgroup/hierarchies.ts';
import { createCgroupSampler } from '../../src/linux/cgroup/sampler.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { runAtOnce } from '../../src/runtime/slices.ts';
import { benchInCluster, IMAGE, isReady, line, PATIENT, say } from './support.ts';

const PODS = Number(process.env['BENCH_PODS'] ?? 100);
const ROUNDS = 40;
const KUBECONFIG = '/var/lib/berth/kubeconfig';

await benchInCluster(import.meta.filename, inside);

async function inside(): Promise<void> {
  const client = createKubeClient(loadKubeconfig(KUBECONFIG, { userAgent: 'bench' }));
  await sleep(3000);
  await startPods(client);
  await sleep(10_000);
  await benchPasses(client);
  await benchScrapes();
  await client.close();
}

async function startPods(client: KubeClient) {
  for (let index = 0; index < PODS; index++) {
    const resources = { requests: { cpu: '5m', memory: '4Mi' }, limits: { cpu: '100m', memory: '32Mi' } };
    const containers = [{ name: 'app', image: IMAGE, command: PATIENT, resources }];
    const spec = { automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, containers };
    await client.create(pods, { metadata: { name: `pod-${index}` }, spec } as never, { namespace: 'default' });
  }
  while ((await client.list(pods, { namespace: 'default' })).items.filter(isReady).length < PODS) await sleep(500);
}

/** The passes as the agent makes them, in this process alone, so that its CPU time is theirs. */
async function benchPasses(client: KubeClient) {
  const sampler = createCgroupSampler(await findHierarchies('/sys/fs/cgroup'));
  const directory = await directoryOf(client);
  const targets = createTargets({ driver: 'cgroupfs', cgroupRoot: '/', pauseImage: 'pause' }, directory);
  const pass = createPass(
    { kubepodsPath: '/kubepods', kubeletCgroup: '', systemCgroup: '', enginePidFile: '/run/none', procRoot: '/proc' },
    { sampler, targets, clock: systemClock },
  );
  say(`cgroup v${sampler.version}, ${targets().length} pods`);
  for (const depth of ['usage', 'summary', 'everything'] satisfies PassDepth[]) {
    const sample: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const before = process.cpuUsage();
      runAtOnce(pass.run(depth));
      const { user, system } = process.cpuUsage(before);
      // The first finds no file open and knows no limit.
      if (round > 0) sample.push((user + system) / 1000);
      await sleep(50);
    }
    say(line(`pass: ${depth}, CPU`, sample));
  }
  sampler.close();
}

/** What the agent's directory tells, from the API and the Engine's list. */
async function directoryOf(client: KubeClient): Promise<Pick<PodDirectory, 'list' | 'runtime'>> {
  const docker = connectDocker('unix:///run/berth/docker.sock');
  const { items } = await client.list(pods, { namespace: 'default' });
  const runtimes = new Map<string, PodRuntimeStatus>();
  for (const row of await docker.listContainers({ labels: [LABEL.podUid] })) {
    const identity = parseIdentity(row.name, row.labels);
    if (!identity || row.state !== 'running') continue;
    const { podUid: uid, podName: name, podNamespace: namespace } = identity;
    const runtime = runtimes.get(uid) ?? { uid, name, namespace, ips: [], sandboxes: [], containers: [] };
    runtimes.set(uid, runtime);
    const common = { id: row.id, attempt: identity.attempt, state: 'running', createdAtMs: row.createdAtMs } as const;
    if (identity.container === SANDBOX_CONTAINER_NAME)
      runtime.sandboxes.push({ ...common, hostNetwork: false, ips: [] } satisfies SandboxStatus);
    else
      runtime.containers.push({
        ...common,
        name: identity.container,
        image: row.image,
        restartCount: identity.attempt,
      } as unknown as ContainerRuntimeStatus);
  }
  docker.close();
  return { list: () => items as Pod[], runtime: (uid) => runtimes.get(uid) };
}

/** Over one connection, as a scraper does it. */
async function benchScrapes() {
  // The administrator may read everything at the node's port.
  const { certPem, keyPem } = loadKubeconfig(KUBECONFIG, { userAgent: 'bench' });
  const dispatcher = new Agent({ connect: { cert: certPem, key: keyPem, rejectUnauthorized: false } });
  for (const [path, encoding] of [
    ['/metrics/cadvisor', 'identity'],
    ['/metrics/cadvisor', 'gzip'],
    ['/metrics/resource', 'identity'],
    ['/stats/summary', 'identity'],
    ['/metrics', 'identity'],
  ] as const) {
    const sample: number[] = [];
    let bytes = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await sleep(1100);
      const started = performance.now();
      const { body, statusCode } = await request(`https://127.0.0.1:10250${path}`, {
        dispatcher,
        headers: { 'accept-encoding': encoding },
      });
      bytes = (await body.arrayBuffer()).byteLength;
      if (statusCode !== 200) throw new Error(`${path} answers ${statusCode}`);
      if (round > 0) sample.push(performance.now() - started);
    }
    say(line(`${path} (${encoding}, ${(bytes / 1024).toFixed(0)} KiB)`, sample));
  }
  await dispatcher.close();
}
