/** A host with configurations of networks, and the agent's side that carries them out. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { createPodNetwork, type PodNetworkOptions } from '../../cni/invoke/pod-network.ts';
import type { PodSandbox } from '../../cni/invoke/pod-sandbox.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createTestNetns, type TestNetns } from './netns.ts';

export const BRIDGE = {
  type: 'bridge',
  bridge: 'br0',
  isDefaultGateway: true,
  hairpinMode: true,
};

export async function setUpInvoke(t: ExecutionContext) {
  const host = await createTestNetns(t, 'host');
  const base = mkdtempSync(join(tmpdir(), 'berth-invoke-'));
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const confDir = join(base, 'net.d');
  const binDir = join(base, 'bin');
  for (const folder of [confDir, binDir]) mkdirSync(folder);
  const open = (options: Partial<PodNetworkOptions> = {}) => {
    const told: string[] = [];
    const network = createPodNetwork(
      {
        mode: 'directory',
        confDir,
        binDirs: [binDir],
        cacheDir: base,
        dataDir: join(base, 'networks'),
        podCidrs: () => ['10.244.1.0/24'],
        hostNetns: host.path,
        ...options,
      },
      { log: silentLogger, clock: systemClock, tell: (_type, reason, message) => told.push(`${reason}: ${message}`) },
    );
    t.teardown(() => network.close());
    return Object.assign(network, { told });
  };
  const ipam = (subnet = '10.9.0.0/24') => ({
    type: 'host-local',
    dataDir: join(base, 'networks'),
    ranges: [[{ subnet }]],
  });
  const conflist = (plugins: object[], extra: object = {}) =>
    JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins, ...extra });
  return {
    host,
    base,
    confDir,
    binDir,
    open,
    ipam,
    conflist,
    write: (file: string, text: string) => writeFileSync(join(confDir, file), text),
    /** A plugin of somebody's: a shell script. */
    program: (type: string, script: string) =>
      writeFileSync(join(binDir, type), `#!/bin/sh\n${script}\n`, { mode: 0o755 }),
    leases: (name = 'net') =>
      existsSync(join(base, 'networks', name))
        ? readdirSync(join(base, 'networks', name)).filter((file) => /^\d+\./.test(file))
        : [],
    cached: () => (existsSync(join(base, 'results')) ? readdirSync(join(base, 'results')) : []),
    hostLinks: async () => (await host.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname),
  };
}

export function sandbox(pod: TestNetns, name: string, extra: Partial<PodSandbox> = {}): PodSandbox {
  const ids = { sandboxId: `id-${name}`, namespace: 'default', name, uid: `uid-${name}` };
  return { ...ids, netnsPath: pod.path, hostPorts: [], ...extra };
}

export async function podPair(t: ExecutionContext) {
  return [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')] as const;
}
