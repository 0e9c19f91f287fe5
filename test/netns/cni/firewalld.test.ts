/** Debian's firewalld on the host: it rejects what it does not know, and what the plugin and the node tell it passes. By real traffic. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext, type Implementation } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { createNodeNetwork } from '../../../cni/node/node-network.ts';
import { firewallProgram } from '../../../cni/programs/firewall.ts';
import { run } from '../../../src/linux/exec.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { type CniCaller, callOurs, callPrograms } from '../../support/cni-calls.ts';
import { startDbusDaemon, whyNoDbus } from '../../support/dbus-daemon.ts';
import { eventually } from '../../support/eventually.ts';
import { attachHostPorts } from '../../support/host-port-story.ts';
import { portmapConf } from '../../support/host-ports.ts';
import { createWorld, type World } from '../../support/proxy-world.ts';
import { startRealFirewalld, whyNoFirewalld } from '../../support/real-firewalld.ts';

/** What is mended was told of: the look now and then (half a minute) does not come. */
const withoutLooks: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms > 10_000 ? 3_600_000 : ms, signal),
};

const why = whyNoDbus() ?? whyNoFirewalld();
const reference = debianProgramPath(CHECKOUT, cniPlugins);
const isFull = process.env.BERTH_TEST_FULL === '1';

/** Skipped by name where something is missing. */
function story(title: string, work: Implementation<[]>, missing = why): void {
  if (missing === undefined) test.serial(title, work);
  else test.serial.skip(`${title} (${missing})`, work);
}

const POD_1 = '10.244.0.11';
const POD_2 = '10.244.0.12';
const CLUSTER = '10.244.0.0/16';

async function startHost(t: ExecutionContext, backend: 'nftables' | 'iptables') {
  const world = await createWorld(t);
  const folder = mkdtempSync(join(tmpdir(), 'berth-firewalld-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const bus = await startDbusDaemon(folder);
  t.teardown(() => bus.stop());
  const firewalld = await startRealFirewalld(world.node, { folder, busAddress: bus.address, backend });
  t.teardown(() => firewalld.stop());
  return { world, folder, bus, firewalld, sources: () => firewalld.sources('trusted') };
}

/** What pod 2 answers. */
const ask = ({ pods, client }: World, from: 'pod1' | 'client') =>
  (from === 'client' ? client : pods[0]).ask({ protocol: 'tcp', host: POD_2, port: 8080, timeoutMs: 3000 });

for (const backend of ['nftables', 'iptables'] as const)
  story(
    `firewalld on ${backend}: pods pass by the plugin, ours or the reference one, and need it again after a reload`,
    async (t) => {
      const { world, bus, firewalld, sources } = await startHost(t, backend);
      const hostNetns = world.node.path;
      const deps = { run, sleep: async () => {}, hostNetns, systemBus: bus.address };
      const ours = callOurs(new Map([['firewall', firewallProgram(deps)]]));
      const sets: CniCaller[] = [ours];
      if (existsSync(reference))
        sets.push(callPrograms(reference, hostNetns, { DBUS_SYSTEM_BUS_ADDRESS: bus.address }));
      const call = (set: CniCaller, command: string, address: string, extra: object = {}) =>
        set({
          command,
          type: 'firewall',
          id: address,
          netns: '/proc/self/ns/net',
          conf: { ...portmapConf(`${address}/24`, []), ...extra },
        });
      const must = async (set: CniCaller, command: string, address: string, extra: object = {}) => {
        const { failed, out } = await call(set, command, address, extra);
        t.false(failed, `${command} ${address}: ${JSON.stringify(out)}`);
      };
      const passes = async () => (await ask(world, 'pod1')).startsWith('pod2 ');
      t.false(await passes(), 'firewalld rejects what it does not know');
      for (const [index, set] of sets.entries()) {
        const other = sets[(index + 1) % sets.length]!;
        for (const address of [POD_1, POD_2]) await must(set, 'ADD', address);
        await must(set, 'ADD', POD_1);
        t.deepEqual(await sources(), [`${POD_1}/32`, `${POD_2}/32`]);
        t.true(await passes());
        for (const one of sets) await must(one, 'CHECK', POD_1);
        await firewalld.reload();
        t.false(await passes(), 'the running configuration is gone');
        // The reference plugin asks, and does not look at the answer.
        t.true((await call(ours, 'CHECK', POD_1)).failed);
        for (const address of [POD_1, POD_2]) await must(set, 'ADD', address);
        t.true(await passes());
        for (const one of [other, set]) for (const address of [POD_1, POD_2]) await must(one, 'DEL', address);
        t.deepEqual(await sources(), []);
        t.false(await passes());
      }
      // Nothing was written by iptables but what firewalld itself writes.
      t.notRegex(await world.node.run('iptables-save', []), /CNI-/);
      const unknown = await call(ours, 'ADD', POD_1, { firewalldZone: 'nowhere' });
      t.deepEqual([unknown.failed, unknown.out.code], [true, 5]);
      t.regex(unknown.out.details, /INVALID_ZONE/);
      await firewalld.addSource('public', `${POD_1}/32`);
      const taken = await call(ours, 'ADD', POD_1);
      t.deepEqual([taken.failed, taken.out.code], [true, 5]);
      t.regex(taken.out.details, /ZONE_CONFLICT/);
      // What the administrator gave is the administrator's.
      await must(ours, 'DEL', POD_1);
      t.deepEqual(await firewalld.sources('public'), [`${POD_1}/32`]);
      // It goes while containers run: their rules are gone with it, and DEL has nothing to do.
      await must(ours, 'ADD', POD_2);
      await firewalld.stop();
      t.true(await passes());
      await must(ours, 'DEL', POD_2);
    },
    why ?? (backend === 'nftables' || isFull ? undefined : 'with --full only'),
  );

story(
  'a node with firewalld: its pods pass, also after a reload and a restart of firewalld, until the node is taken away',
  async (t) => {
    const { world, folder, bus, firewalld, sources } = await startHost(t, 'nftables');
    const network = createNodeNetwork(
      {
        clusterCidrs: [CLUSTER],
        serviceCidrs: ['10.96.0.0/12'],
        stateFile: join(folder, 'network.json'),
        hostNetns: world.node.path,
        systemBus: bus.address,
      },
      { log: silentLogger, clock: withoutLooks },
    );
    const passes = async () => (await ask(world, 'pod1')).startsWith('pod2 ');
    t.false(await passes());
    t.true((await network.ensure()).some((change) => change.includes('firewalld')));
    t.true(await passes());
    t.deepEqual(
      (await network.ensure()).filter((change) => change.includes('firewalld')),
      [],
      'nothing to change twice',
    );
    t.is(await ask(world, 'client'), 'EHOSTUNREACH', 'who is no pod is not let in');
    const controller = new AbortController();
    const running = network.run(controller.signal);
    await firewalld.reload();
    await eventually('the range is back, without a look now and then', async () => (await sources()).includes(CLUSTER));
    t.true(await passes());
    controller.abort();
    await running;
    await network.remove();
    t.deepEqual(await sources(), []);
    // An administrator's zone for the pods stays as it is.
    await firewalld.addSource('internal', CLUSTER);
    await network.ensure();
    t.deepEqual(await sources(), []);
    await network.remove();
    t.deepEqual(await firewalld.sources('internal'), [CLUSTER]);
  },
);

story('an agent with firewalld: its pods are let through again as soon as firewalld has reloaded', async (t) => {
  const { world, bus, firewalld, sources } = await startHost(t, 'nftables');
  const scene = await attachHostPorts(t, world, 'nftables', bus.address);
  const cidr = `${scene.address}/32`;
  t.deepEqual(await sources(), [cidr]);
  scene.keep();
  await firewalld.reload();
  await eventually('the pod is trusted again', async () => (await sources()).includes(cidr));
  t.regex(await scene.pod.ask({ protocol: 'tcp', host: POD_2, port: 8080, timeoutMs: 3000 }), /^pod2 /);
});
