/**
 * What the agent costs when nothing happens: `berth agent` in a process of its own on a host of its own, with 100 pods, each with an HTTP
 * readiness probe every 10 s. Memory of the process (RSS), its CPU, and beside them the CPU of dockerd with its containerd and shims.
 *
 *     .toolchain/bin/node test/bench/agent-idle.ts [--seconds 60] [--profile FILE]     # 2–3 minutes
 *
 * With --profile a CPU profile of the agent is taken after that, for as long again, and written to that file.
 */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Pod } from '../../src/kube/types.ts';
import { createClusterHost, until } from '../support/cluster-host.ts';
import { createNodeHost } from '../support/node-host.ts';
import { CHECKOUT, cpuSeconds, IMAGE, isReady, rssMebibytes, say } from './support.ts';

const PODS = 100;
const PERIOD_SECONDS = 10;
const SETTLE_MS = 20_000;
const PARTS = ['dockerd', 'containerd', 'containerd-shim'];

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, profile: { type: 'string' } } });
const seconds = Number(values.seconds);
const one = await createClusterHost('one');
const starting = createNodeHost('two', one.net);
try {
  await one.berthOk('up');
  const two = await starting;
  const kubeconfig = (await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', two.address)).stdout;
  writeFileSync(two.host.path('/etc/kubelet.kubeconfig'), kubeconfig, { mode: 0o600 });
  two.host.spawn(
    [
      ...[
        'sh',
        '-c',
        'echo $$ >/run/agent.pid; exec "$0" "$@" >/var/log/agent.log 2>&1',
        join(CHECKOUT, 'berth'),
        'agent',
      ],
      ...['--kubeconfig', '/etc/kubelet.kubeconfig', '--node-ip', two.address, '--cluster-dns', '10.96.0.10'],
    ],
    { stdio: 'ignore' },
  );
  await until('node two is there', async () => (await one.kubectl('get', 'nodes')).includes('two'));
  const started = performance.now();
  await one.apply(...Array.from({ length: PODS }, (_, index) => pod(`idle-${index}`)));
  await until(
    `${PODS} pods are ready`,
    async () => (await one.list<Pod>('pods')).filter(isReady).length === PODS,
    240_000,
  );
  say(`${PODS} pods at once, ready after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  await sleep(SETTLE_MS);
  const processes = processesOf(two.host.initPid);
  const { pid } = processes.find(({ args }) => args.includes('agent') && /node$/.test(args[0] ?? ''))!;
  const engine = () =>
    PARTS.map((part) =>
      processes
        .filter(({ args }) => basename(args[0] ?? '').replace('-runc-v2', '') === part)
        .reduce((sum, one) => sum + cpuSeconds(one.pid), 0),
    );
  const [before, engineBefore] = [cpuSeconds(pid), engine()];
  await sleep(seconds * 1000);
  const percent = (spent: number) => `${((spent / seconds) * 100).toFixed(2)} % of a core`;
  say(
    `agent, ${PODS} pods with a probe every ${PERIOD_SECONDS} s, over ${seconds} s: CPU ${percent(cpuSeconds(pid) - before)}`,
  );
  say(`agent: RSS ${rssMebibytes(pid).toFixed(0)} MiB`);
  say(
    `beside it the Engine: CPU ${PARTS.map((part, at) => `${part} ${percent(engine()[at]! - engineBefore[at]!)}`).join(', ')}`,
  );
  if (values.profile) {
    const child = join(CHECKOUT, 'test/bench/profile-child.ts');
    const inside = (await two.sh('cat /run/agent.pid')).stdout.trim();
    const { stdout, stderr } = await two.host.run([process.execPath, child, inside, values.seconds]);
    if (stderr) say(stderr);
    writeFileSync(values.profile, stdout);
  }
} finally {
  await (await starting).close();
  await one.close();
}

function pod(name: string) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName: 'two',
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'web',
          image: IMAGE,
          command: ['httpd', '-f', '-p', '8080', '-h', '/etc'],
          readinessProbe: { httpGet: { path: '/passwd', port: 8080 }, periodSeconds: PERIOD_SECONDS },
        },
      ],
    },
  };
}

/** Processes in the pid namespace of a host's init, by their pids here. */
function processesOf(initPid: number): { pid: number; args: string[] }[] {
  const namespace = readlinkSync(`/proc/${initPid}/ns/pid`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        if (readlinkSync(`/proc/${name}/ns/pid`) !== namespace) return [];
        return [{ pid: Number(name), args: readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0') }];
      } catch {
        return [];
      }
    });
}
