/**
 * What each lever on a pod's start is worth, by the Docker API alone: pause and app container made and started one after the other, in turn
 * with each of these, on one dockerd.
 *
 *   default          NetworkMode none, the Engine's runtime
 *   host network     NetworkMode host: the Engine makes no network namespace (no pod could be run so; the bound of what can be won)
 *   no seccomp       default, the pause without a seccomp filter
 *   berth            Berth's runtime, with a network namespace that was made before
 *   berth, app runc  the same for the pause alone
 *   berth + crun     the same before crun, where that is installed and runs on this host
 *
 *     .toolchain/bin/node test/bench/pod-runtime.ts     # 1–2 minutes
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { NETNS_VARIABLE } from '../../agent/sandbox/pod-runtime.ts';
import { renderPodRuntimeScript } from '../../cli/engine/pod-runtime-script.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { HostConfig } from '../../src/docker/engine.ts';
import { hasProgram } from '../../src/linux/exec.ts';
import { createNetns, netnsId } from '../../src/linux/netns.ts';
import { BUSYBOX_IMAGE, loadTestImages, PAUSE_IMAGE } from '../support/images.ts';
import { continueInside, line, PATIENT, say, summarize, withHost } from './support.ts';

const ITERATIONS = 25;
const SOCKET = '/run/bench.sock';
const PARTS = ['pause create', 'pause start', 'app create', 'app start', 'together'] as const;

interface Variant {
  pause: HostConfig;
  app?: HostConfig;
}

const VARIANTS: Record<string, Variant> = {
  default: { pause: {} },
  'host network': { pause: { NetworkMode: 'host' } },
  'no seccomp': { pause: { SecurityOpt: ['seccomp=unconfined'] } },
  berth: { pause: { Runtime: 'berth' }, app: { Runtime: 'berth' } },
  'berth, app runc': { pause: { Runtime: 'berth' } },
  ...(hasProgram('crun') && { 'berth + crun': { pause: { Runtime: 'berth-crun' }, app: { Runtime: 'berth-crun' } } }),
};

if (process.argv[2] === 'inside') await inside();
else await withHost('bench', (host) => continueInside(host, import.meta.filename));

async function inside(): Promise<void> {
  const runtimes = ['runc', 'crun'].map((program) => {
    const file = `/var/tmp/berth-${program}`;
    writeFileSync(file, renderPodRuntimeScript(program));
    chmodSync(file, 0o755);
    return `--add-runtime=${program === 'runc' ? 'berth' : 'berth-crun'}=${file}`;
  });
  const flags = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-masq=false', '--live-restore'];
  const engine = spawn('dockerd', [`--host=unix://${SOCKET}`, ...flags, ...runtimes], { stdio: 'ignore' });
  const docker = connectDocker(`unix://${SOCKET}`);
  while (
    !(await docker.ping().then(
      () => true,
      () => false,
    ))
  )
    await sleep(50);
  await loadTestImages(SOCKET);

  const taken = new Map<string, Map<string, number[]>>();
  for (let i = -2; i < ITERATIONS; i++)
    for (const [name, variant] of Object.entries(VARIANTS)) {
      const times = await pair(variant);
      if (i < 0) continue;
      const parts = taken.get(name) ?? new Map<string, number[]>();
      taken.set(name, parts);
      for (const [at, part] of PARTS.entries()) parts.set(part, [...(parts.get(part) ?? []), times[at]!]);
    }
  for (const [name, parts] of taken) {
    say(line(name, parts.get('together')!));
    say(
      `    ${PARTS.slice(0, 4)
        .map((part) => `${part} ${summarize(parts.get(part)!).p50.toFixed(0)}`)
        .join(', ')} ms (medians)`,
    );
  }
  const middle = (name: string) => summarize(taken.get(name)!.get('together')!);
  for (const name of taken.keys())
    say(
      `${name} : default  ${(middle(name).p50 / middle('default').p50).toFixed(2)} (medians), ${(middle(name).min / middle('default').min).toFixed(2)} (best)`,
    );
  docker.close();
  engine.kill();
  await once(engine, 'exit');

  async function pair({ pause: own, app: appOwn }: Variant): Promise<number[]> {
    const netns = own.Runtime ? createNetns() : undefined;
    const times = [performance.now()];
    const mark = () => times.push(performance.now());
    const pause = await docker.createContainer('pause', {
      Image: PAUSE_IMAGE,
      ...(own.NetworkMode !== 'host' && { Hostname: 'pod' }),
      ...(netns && { Env: [`${NETNS_VARIABLE}=${netns.path}`] }),
      HostConfig: { NetworkMode: 'none', IpcMode: 'shareable', ...own },
    });
    mark();
    await docker.startContainer(pause.id);
    mark();
    const shared = `container:${pause.id}`;
    const app = await docker.createContainer('app', {
      Image: BUSYBOX_IMAGE,
      Entrypoint: PATIENT,
      HostConfig: { NetworkMode: shared, IpcMode: shared, ...appOwn },
    });
    mark();
    await docker.startContainer(app.id);
    mark();
    if (netns) {
      const { pid } = await docker.inspectContainer(app.id);
      if (netnsId(`/proc/${pid}/ns/net`) !== netns.id) throw new Error('the runtime did not join the namespace');
      netns.close();
    }
    for (const id of [app.id, pause.id]) await docker.removeContainer(id, { force: true });
    const [start, ...ends] = times as [number, ...number[]];
    return [...ends.map((end, at) => end - (times[at] ?? start)), ends.at(-1)! - start];
  }
}
