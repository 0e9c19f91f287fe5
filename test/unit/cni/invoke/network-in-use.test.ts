/** Which network pods get, and whether they can: files of a directory, what plugins say, ranges and MTU that come later. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createNetworkMetrics } from '../../../../cni/invoke/metrics.ts';
import { createNetworkInUse, type NetworkInUseOptions } from '../../../../cni/invoke/network-in-use.ts';
import { CniError } from '../../../../cni/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const CONFLIST = '{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "theirs"}]}';

function setUp(t: ExecutionContext, options: Partial<NetworkInUseOptions> = {}) {
  const confDir = mkdtempSync(join(tmpdir(), 'in-use-'));
  t.teardown(() => rmSync(confDir, { recursive: true, force: true }));
  const clock = createFakeClock();
  const registry = new Registry();
  const told: string[] = [];
  const state = { podCidrs: ['10.244.1.0/24'], asked: 0, says: undefined as CniError | undefined, missing: false };
  const network = createNetworkInUse(
    {
      mode: 'auto',
      confDir,
      networkName: 'berth',
      bridge: 'cni0',
      dataDir: '/nowhere',
      podCidrs: () => state.podCidrs,
      clusterCidrs: ['10.244.0.0/16'],
      serviceCidrs: [],
      mtu: () => undefined,
      ...options,
    },
    {
      caller: { locate: (_type: string, isOwn?: boolean) => (isOwn ? undefined : '/opt/cni/bin/theirs') } as never,
      readiness: {
        check() {
          if (state.missing) throw new CniError(7, 'failed to find plugin "theirs"');
        },
        async ask() {
          state.asked++;
          if (state.says) throw state.says;
        },
      },
      metrics: createNetworkMetrics(registry),
      log: silentLogger,
      clock,
      tell: (_type, reason, message) => void told.push(`${reason}: ${message}`),
    },
  );
  const stop = new AbortController();
  const run = () => {
    const running = network.run(stop.signal);
    t.teardown(async () => {
      stop.abort();
      await clock.advance(60_000);
      await running;
    });
  };
  const file = join(confDir, '10-net.conflist');
  return { network, clock, state, told, registry, run, file, write: () => writeFileSync(file, CONFLIST) };
}

test('auto: a file that is taken away is waited for before the built-in network takes its place', async (t) => {
  const { network, clock, told, run, file, write, registry } = setUp(t);
  t.is(network.current()?.name, 'berth');
  run();
  await clock.advance(0);
  t.regex(told.at(-1)!, /^NetworkConfigured: Pods get network berth \(built-in: bridge, portmap, bandwidth\)/);
  write();
  await clock.advance(5_000);
  t.is(network.current()?.name, 'net');
  t.regex(await registry.metrics(), /berth_cni_configuration_info\{network="net",file=".*10-net\.conflist"\} 1/);
  rmSync(file);
  await clock.advance(6_000);
  t.is(network.current(), undefined);
  t.regex(network.problem()!, /cni config uninitialized/);
  write();
  await clock.advance(6_000);
  t.is(network.problem(), undefined, 'it came back');
  rmSync(file);
  await clock.advance(50_000);
  t.is(network.current()?.name, 'berth');
});

test('directory: nothing takes its place; builtin: the directory is not read', async (t) => {
  const directory = setUp(t, { mode: 'directory' });
  t.is(directory.network.current(), undefined);
  directory.write();
  directory.run();
  await directory.clock.advance(5_000);
  t.is(directory.network.problem(), undefined);
  rmSync(directory.file);
  await directory.clock.advance(120_000);
  t.is(directory.network.current(), undefined);
  t.regex(
    directory.told.at(-1)!,
    /^NetworkConfigurationFailed: cni config uninitialized: no usable network configuration in /,
  );

  const builtin = setUp(t, { mode: 'builtin' });
  builtin.write();
  builtin.run();
  await builtin.clock.advance(20_000);
  t.is(builtin.network.current()?.name, 'berth');
});

test('what plugins say is asked again: soon while they cannot, seldom when they are programs', async (t) => {
  const { network, clock, state, told, run, write } = setUp(t);
  write();
  state.says = new CniError(50, 'no controller', { details: 'wait' });
  let changes = 0;
  network.onChange(() => changes++);
  run();
  await clock.advance(5_000);
  t.regex(network.problem()!, /10-net\.conflist: no controller; wait \(CNI error 50\)$/);
  state.says = undefined;
  await clock.advance(2_000);
  t.is(network.problem(), undefined);
  t.is(changes, 3, 'the built-in network, not ready, ready');
  t.regex(told.at(-1)!, /^NetworkConfigured/);
  const { asked } = state;
  await clock.advance(59_000);
  t.true(state.asked - asked <= 1, `${state.asked - asked} calls in a minute`);
});

test('the built-in network waits for its ranges and for the overlay’s MTU, and refuses ranges of another cluster', async (t) => {
  let mtu: number | 'pending' = 'pending';
  const { network, clock, state, run } = setUp(t, { mode: 'builtin', mtu: () => mtu });
  let changes = 0;
  network.onChange(() => changes++);
  run();
  state.podCidrs = [];
  t.is(network.problem(), 'cni config uninitialized: the node has no pod CIDR (spec.podCIDR) yet');
  state.podCidrs = ['10.245.1.0/24'];
  t.is(network.problem(), "the node's pod CIDR 10.245.1.0/24 is not inside the cluster CIDR 10.244.0.0/16");
  state.podCidrs = ['10.244.1.0/24'];
  t.is(network.problem(), 'cni config uninitialized: the overlay has not said its MTU yet');
  await clock.advance(1_000);
  const before = changes;
  mtu = 1450;
  await clock.advance(300);
  t.is(network.problem(), undefined);
  t.is(changes, before + 1, 'the node is told within a moment');
  t.is(network.forPod({ hostPorts: [], podCidrs: [] })?.plugins[0]?.raw['mtu'], 1450);
});

test('plugins that are missing, and ranges that are wanted, keep a configured network from being ready', (t) => {
  const missing = setUp(t, { mode: 'directory' });
  missing.write();
  const again = createSecond(t, missing.file);
  t.regex(again.problem()!, /10-net\.conflist: failed to find plugin "theirs" \(CNI error 7\)/);
  writeFileSync(missing.file, CONFLIST.replace('"theirs"', '"theirs", "capabilities": {"ipRanges": true}'));
  t.is(createSecond(t, missing.file, []).problem(), 'cni config needs ipRanges but no PodCIDR set');
});

function createSecond(t: ExecutionContext, file: string, podCidrs = ['10.244.1.0/24']) {
  const { network, state } = setUp(t, { mode: 'directory', confDir: join(file, '..'), podCidrs: () => podCidrs });
  state.missing = true;
  return network;
}

test('a file that is passed over is told once, until it says something else', async (t) => {
  const { clock, told, run, file, write } = setUp(t);
  write();
  writeFileSync(join(file, '../00-broken.conflist'), '{}');
  run();
  await clock.advance(20_000);
  const warnings = () => told.filter((one) => one.startsWith('NetworkConfigurationFailed'));
  t.is(warnings().length, 1);
  t.regex(warnings()[0]!, /00-broken\.conflist: name: missing$/);
  writeFileSync(join(file, '../00-broken.conflist'), '{"name": "x"}');
  await clock.advance(6_000);
  t.regex(warnings()[1]!, /00-broken\.conflist: plugins: the network has none$/);
});
