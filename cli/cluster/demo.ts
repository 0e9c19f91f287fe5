import { join } from 'node:path';
import { connectDocker } from '../../src/docker/connect.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { pods, services } from '../../src/kube/resources.ts';
import type { Pod } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { CHECKOUT, daemonPid } from '../daemon/launch.ts';
import { recipes } from '../images/catalog.ts';
import { ensureImage } from '../images/load.ts';
import { findKubectl } from '../kubectl/find-kubectl.ts';
import { nodeEngines } from '../nodes/records.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { engineEndpoint, type Settings } from '../settings.ts';
import { adminClient } from './admin-client.ts';
import { imagesFolder } from './images-folder.ts';
import { knownCluster } from './known-cluster.ts';
import { pingRedis } from './redis-ping.ts';

const MANIFESTS = ['web.yaml', 'redis.yaml', 'two-containers.yaml'];
const READY_TIMEOUT_MS = 90_000;
const ANSWER_TIMEOUT_MS = 5_000;

/** `berth demo`: applies the manifests of examples/ and shows each of them answering. `remove` takes them away again. */
export async function demo(options: { rootDir: string; remove?: boolean }): Promise<void> {
  const settings = knownCluster(options.rootDir);
  if (daemonPid(settings) === undefined) throw new UserError("the cluster does not run: 'berth up' starts it");
  const steps = createSteps(process.stdout);
  const kubectl = await findKubectl(join(CHECKOUT, '.toolchain/kubectl'), steps.say);
  const files = MANIFESTS.flatMap((file) => ['-f', join(CHECKOUT, 'examples', file)]);
  const call = (...args: string[]) =>
    run(kubectl, args, {
      timeoutMs: 120_000,
      env: { KUBECONFIG: settings.kubeconfig, KUBECACHEDIR: join(settings.runDir, 'kubectl-cache') },
    });
  if (options.remove) {
    await steps.run('kubectl delete -f examples/', () => call('delete', '--ignore-not-found', ...files));
    return;
  }
  const endpoints = [engineEndpoint(settings), ...nodeEngines(settings)];
  for (const recipe of recipes)
    await steps.run(`image ${recipe.name}`, async () => {
      for (const endpoint of endpoints) await ensureImage(connectDocker(endpoint), endpoint, recipe, imagesFolder());
    });
  await steps.run('kubectl apply -f examples/', () => call('apply', ...files));
  const client = adminClient(settings)!;
  try {
    await steps.run('all pods are Ready', () => waitForPods(client));
    await show(settings, client, steps.say);
  } finally {
    await client.close();
  }
  steps.say("\nLook around with './berth kubectl get pods,services -o wide'; './berth demo --remove' takes it away.");
}

async function waitForPods(client: KubeClient): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const { items } = await client.list(pods, { namespace: 'default', labelSelector: 'app in (web,redis,neighbours)' });
    const waiting = items.filter((pod) => !isReady(pod) && !pod.metadata.deletionTimestamp);
    if (items.length >= 5 && waiting.length === 0) return;
    if (performance.now() > deadline) {
      throw new UserError(
        `these pods did not become Ready: ${waiting.map((pod) => pod.metadata.name).join(', ')}; 'berth kubectl describe pods' tells why`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function isReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false
  );
}

async function show(settings: Settings, client: KubeClient, say: (line: string) => void): Promise<void> {
  const web = await client.get(services, { namespace: 'default', name: 'web' });
  const redis = await client.get(services, { namespace: 'default', name: 'redis' });
  const nodePort = web.spec.ports?.[0]?.nodePort;
  for (const url of [`http://${web.spec.clusterIP}/`, `http://${settings.nodeIp}:${nodePort}/`]) {
    say(`\n$ curl ${url}\n${await answer(() => fetchFirstLine(url))}`);
  }
  const address = redis.spec.clusterIP ?? '';
  say(`\n$ redis-cli -h ${address} ping\n${await answer(() => pingRedis(address, 6379))}`);
  say(
    `\n$ kubectl logs neighbours -c visitor --tail=1\n${await answer(() => lastLogLine(client, 'neighbours', 'visitor'))}`,
  );
}

/** Ready pods come into the service's rules a moment later; what does not answer within a few seconds is an error. */
async function answer(ask: () => Promise<string>): Promise<string> {
  const deadline = performance.now() + ANSWER_TIMEOUT_MS;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function fetchFirstLine(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
  const page = (await response.text()).trim().split('\n')[0] ?? '';
  if (response.status !== 200) throw new UserError(`${url} answered ${response.status}: ${page}`);
  return page;
}

async function lastLogLine(client: KubeClient, pod: string, container: string): Promise<string> {
  const log = await client.raw(`/api/v1/namespaces/default/pods/${pod}/log`, { query: { container, tailLines: 1 } });
  const text = (await log.body.text()).trim();
  if (log.statusCode !== 200 || text === '')
    throw new UserError(`the log of ${pod}/${container} could not be read: HTTP ${log.statusCode} ${text}`);
  return text;
}
