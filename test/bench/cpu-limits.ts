/**
 * How well CPU limits hold: pods of a whole agent on a Docker Engine of its own, each with one busy loop more than its limit allows,
 * one pod after another; CPU time of its container, from the kernel, over so many seconds. Prints used / limit; anything over 1.03 is an
 * error. A machine that is busy with other things may give less: then the figure below 1 says nothing.
 *
 *     .toolchain/bin/node test/bench/cpu-limits.ts [--seconds 10]     # about a minute
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { createFakePodNetwork } from '../fakes/pod-network.ts';
import { createTestAgent, eventually } from '../support/agent.ts';
import { startDockerd } from '../support/dockerd.ts';
import { BUSYBOX_IMAGE, loadTestImages } from '../support/images.ts';
import { continueInside, say, withHost } from './support.ts';

const LIMITS_MILLIS = [50, 125, 250, 500, 1000];
const MOST = 1.03;
const SETTLE_MS = 1000;

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '10' } },
  allowPositionals: true,
});
const seconds = Number(values.seconds);
if (positionals[0] === 'inside') await measure();
else
  await withHost('limits', (host) => continueInside(host, fileURLToPath(import.meta.url), '--seconds', values.seconds));

async function measure(): Promise<void> {
  const engine = await startDockerd();
  try {
    await loadTestImages(engine.socketPath);
    const node = await createTestAgent({ docker: engine.docker, network: createFakePodNetwork() });
    node.start();
    try {
      const ratios: number[] = [];
      for (const millis of LIMITS_MILLIS) {
        const name = `burn-${millis}`;
        await node.apply(pod(name, millis));
        await eventually(`${name} runs`, () => node.pod(name)?.status?.phase === 'Running', 60_000);
        const { uid } = node.pod(name)!.metadata;
        const ratio = await usedShare(`${node.cgroupRoot}/kubepods/pod${uid}`, millis);
        ratios.push(ratio);
        say(`cpu limit ${String(millis).padStart(5)}m: used ${ratio.toFixed(4)} of it in ${seconds} s`);
        await node.unapply(name);
        await eventually(`${name} is gone`, () => !node.pod(name), 60_000);
      }
      const worst = Math.max(...ratios);
      say(`cpu limits: at most ${worst.toFixed(4)} of the limit (accepted: up to ${MOST})`);
      if (worst > MOST) process.exitCode = 1;
    } finally {
      await node.remove();
    }
  } finally {
    await engine.stop();
  }
}

/** CPU time that the pod's cgroup has used, over what its limit allows in the same time. */
async function usedShare(path: string, millis: number): Promise<number> {
  const { version, hierarchies } = await openCgroups();
  const usedMs = () => {
    if (version === 1)
      return Number(readFileSync(join(hierarchies.controllers.get('cpuacct')!, path, 'cpuacct.usage'), 'utf8')) / 1e6;
    const text = readFileSync(join(hierarchies.mountRoot, path, 'cpu.stat'), 'utf8');
    return Number(/^usage_usec (\d+)/m.exec(text)?.[1]) / 1000;
  };
  await sleep(SETTLE_MS);
  const [started, before] = [performance.now(), usedMs()];
  await sleep(seconds * 1000);
  return (usedMs() - before) / ((performance.now() - started) * (millis / 1000));
}

function pod(name: string, millis: number) {
  const limits = { cpu: `${millis}m`, memory: '64Mi' };
  const burn = 'burn() { while :; do :; done; }; trap "kill 0" TERM; burn & burn & wait';
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      hostNetwork: true,
      dnsPolicy: 'Default',
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'app',
          image: BUSYBOX_IMAGE,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', burn],
          resources: { limits },
        },
      ],
    },
  };
}
