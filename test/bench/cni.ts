import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { renderLauncher } from '../../cli/cni/install.ts';
import { cniPlugins, debianProgramPath } from '../../cli/testing/debian-program.ts';
import { createChain } from '../../cni/invoke/chain.ts';
import { parseConfigurationList } from '../../cni/invoke/network-configuration.ts';
import { ownPlugins } from '../../cni/programs/all.ts';
import type { AttachRequest, CniResult } from '../../cni/types.ts';
import { createPluginCaller } from '../../cni/wire/plugin-caller.ts';
import { findProgram, run } from '../../src/linux/exec.ts';
import { createNetns, type HeldNetns } from '../../src/linux/netns.ts';
import { CHECKOUT, line, say, summarize } from './support.ts';

/**
 * What attaching a pod costs: the chain bridge + host-local + portmap in process, one after the other and many at once; and bridge +
 * host-local as programs, ours beside Debian's and a Node.js that does nothing, in turns. In network namespaces of its own.
 *
 *     node test/bench/cni.ts [--rounds 200] [--pods 100] [--programs 20]
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    pods: { type: 'string', default: '100' },
    programs: { type: 'string', default: '20' },
  },
});
const ROUNDS = Number(values.rounds);
const PODS = Number(values.pods);
const PROGRAM_ROUNDS = Number(values.programs);
/** Namespaces that the rounds go through in turns. */
const SEATS = 8;

const held: HeldNetns[] = [];
const dataDir = mkdtempSync(join(tmpdir(), 'berth-bench-cni-'));
try {
  const host = makeNetns();
  await run('ip', ['link', 'set', 'lo', 'up'], { netns: host.path });
  await measureInProcess(host.path);
  if (PROGRAM_ROUNDS > 0) measurePrograms(host.path);
} finally {
  for (const netns of held) netns.close();
  rmSync(dataDir, { recursive: true, force: true });
}

function makeNetns(): HeldNetns {
  const netns = createNetns();
  held.push(netns);
  return netns;
}

async function measureInProcess(hostNetns: string): Promise<void> {
  const own = ownPlugins({ run, sleep: (ms) => sleep(ms), hostNetns, monotonicMs: () => performance.now() });
  const caller = createPluginCaller({ own: (type) => own.get(type), path: [], run });
  const chain = createChain(caller);
  const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet: '10.244.0.0/22' }]] };
  const network = parseConfigurationList(
    JSON.stringify({
      cniVersion: '1.1.0',
      name: 'bench',
      plugins: [
        { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, hairpinMode: true, ipam },
        { type: 'portmap', capabilities: { portMappings: true }, backend: 'nftables' },
      ],
    }),
  );
  const attachment = (id: number, seat: HeldNetns) => ({
    request: { containerId: `pod${id}`, ifname: 'eth0', netns: seat.path, args: {} } satisfies AttachRequest,
    capabilityArgs: { portMappings: [{ hostPort: 20_000 + id, containerPort: 80, protocol: 'tcp' }] },
  });
  const seats = Array.from({ length: SEATS }, makeNetns);
  const times: Record<'ADD' | 'DEL', number[]> = { ADD: [], DEL: [] };
  let before = process.cpuUsage();
  for (let round = -5; round < ROUNDS; round++) {
    if (round === 0) before = process.cpuUsage();
    const one = attachment(round + 5, seats[(round + 5) % SEATS]!);
    const started = performance.now();
    const result = await chain.add(network, one);
    const added = performance.now();
    await chain.del(network, one, result);
    if (round < 0) continue;
    times.ADD.push(added - started);
    times.DEL.push(performance.now() - added);
  }
  const { user, system } = process.cpuUsage(before);
  for (const [command, sample] of Object.entries(times)) say(line(`in process, ${command}`, sample));
  const cpuMs = (microseconds: number) => (microseconds / 1000 / ROUNDS).toFixed(2);
  say(`in process, CPU of ADD and DEL: ${cpuMs(user + system)} ms, of it kernel ${cpuMs(system)}`);

  const crowd = Array.from({ length: PODS }, (_, id) => attachment(id, makeNetns()));
  const started = performance.now();
  const results: CniResult[] = await Promise.all(crowd.map((one) => chain.add(network, one)));
  const addedMs = performance.now() - started;
  const addresses = new Set(results.map(({ ips }) => ips[0]!.address));
  const removing = performance.now();
  await Promise.all(crowd.map((one, index) => chain.del(network, one, results[index])));
  const removedMs = performance.now() - removing;
  if (addresses.size !== PODS) throw new Error(`${PODS} pods got ${addresses.size} addresses`);
  say(`${PODS} at once: ADD ${addedMs.toFixed(0)} ms in all, DEL ${removedMs.toFixed(0)} ms, no address twice`);
  caller.close();
}

function measurePrograms(hostNetns: string): void {
  const reference = debianProgramPath(CHECKOUT, cniPlugins);
  const bundle = join(CHECKOUT, '.toolchain/bundle/cni/bridge.cjs');
  if (!existsSync(reference) || !existsSync(bundle)) {
    say('as programs: left out, Debian’s plugins or the bundle are not here (berth test netns gets both)');
    return;
  }
  const seat = makeNetns();
  const ours = join(dataDir, 'programs');
  mkdirSync(ours);
  for (const type of ['bridge', 'host-local']) writeFileSync(join(ours, type), renderLauncher(type), { mode: 0o755 });
  const sets = {
    ours: { folder: ours, times: { ADD: [] as number[], DEL: [] as number[] } },
    reference: { folder: reference, times: { ADD: [] as number[], DEL: [] as number[] } },
  };
  const conf = {
    cniVersion: '1.0.0',
    name: 'programs',
    type: 'bridge',
    bridge: 'cni1',
    isGateway: true,
    ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.243.0.0/24' }]] },
  };
  const bare: number[] = [];
  // The first ones fill the cache of compiled code.
  for (let round = -2; round < PROGRAM_ROUNDS; round++) {
    const started = performance.now();
    spawnSync(findProgram('nsenter'), [`--net=${hostNetns}`, process.execPath, '-e', '0']);
    if (round >= 0) bare.push(performance.now() - started);
    for (const { folder, times } of Object.values(sets))
      for (const command of ['ADD', 'DEL'] as const) {
        const started = performance.now();
        const { status, stdout } = spawnSync(findProgram('nsenter'), [`--net=${hostNetns}`, join(folder, 'bridge')], {
          input: JSON.stringify(conf),
          encoding: 'utf8',
          env: {
            PATH: process.env['PATH'],
            CNI_COMMAND: command,
            CNI_CONTAINERID: `round${round + 2}`,
            CNI_NETNS: seat.path,
            CNI_IFNAME: 'eth0',
            CNI_PATH: folder,
          },
        });
        if (status !== 0) throw new Error(`${folder}/bridge ${command}: ${stdout}`);
        if (round >= 0) times[command].push(performance.now() - started);
      }
  }
  say(line('a Node.js that does nothing', bare));
  for (const command of ['ADD', 'DEL'] as const) {
    for (const [name, { times }] of Object.entries(sets)) say(line(`as program, ${command}, ${name}`, times[command]));
    const ratio = summarize(sets.ours.times[command]).p50 / summarize(sets.reference.times[command]).p50;
    say(`as program, ${command}: ours / reference ${ratio.toFixed(2)}`);
  }
}
