/**
 * How soon a new Service works: after `kubectl create` returned → its name resolves at the cluster DNS → a connection to it is answered.
 * The backends (three nginx of the demo) are there; what is measured is the way from the API to the DNS zone and to the kernel's rules.
 *
 *     .toolchain/bin/node test/bench/new-service.ts
 */
import { spawnSync } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findKubectl } from '../../cli/kubectl/find-kubectl.ts';
import { createKubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { services } from '../../src/kube/resources.ts';
import { berth, CHECKOUT, continueInside, line, withHost } from './support.ts';

const ROUNDS = 20;
const DNS_SERVER = '10.96.0.10';
const KUBECONFIG = '/var/lib/berth/kubeconfig';

const kubectl = await findKubectl(join(CHECKOUT, '.toolchain/kubectl'), () => {});
if (process.argv[2] === 'inside') await inside();
else {
  await withHost('bench', async (host) => {
    await berth(host, 'up');
    await berth(host, 'demo');
    await continueInside(host, import.meta.filename);
    await berth(host, 'down');
  });
}

async function inside(): Promise<void> {
  const client = createKubeClient(loadKubeconfig(KUBECONFIG, { userAgent: 'bench' }));
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([DNS_SERVER]);
  const named: number[] = [];
  const answered: number[] = [];
  for (let round = -2; round < ROUNDS; round++) {
    const name = `fresh-${round + 2}`;
    // kubectl expose, as a person would: the selector is the Deployment's.
    const { status, stderr } = spawnSync(kubectl, ['expose', 'deployment', 'web', '--name', name, '--port', '80'], {
      encoding: 'utf8',
      env: { ...process.env, KUBECONFIG },
    });
    if (status !== 0) throw new Error(stderr);
    const started = performance.now();
    const both = [
      until(async () => (await resolver.resolve4(`${name}.default.svc.cluster.local`)).length > 0).then(
        () => performance.now() - started,
      ),
      client.get(services, { namespace: 'default', name }).then(async ({ spec }) => {
        await until(() => answers(spec.clusterIP ?? '', 80));
        return performance.now() - started;
      }),
    ];
    const [dnsMs = 0, tcpMs = 0] = await Promise.all(both);
    if (round >= 0) {
      named.push(dnsMs);
      answered.push(tcpMs);
    }
    await client.delete(services, { namespace: 'default', name });
    await sleep(500);
  }
  process.stdout.write(
    `${line('kubectl expose returned → name resolves', named)}\n${line('kubectl expose returned → connection accepted', answered)}\n`,
  );
  await client.close();
}

async function until(check: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await check().catch(() => false))) {
    if (performance.now() > deadline) throw new Error('not within 10 s');
    await sleep(2);
  }
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 200 }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('timeout', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(false));
  });
}
