/** Chained plugins that stop for good before any of their steps, as by kill -9: the next process finds what is left. */
import test, { type ExecutionContext } from 'ava';
import { createBandwidth } from '../../../cni/plugins/bandwidth.ts';
import { bandwidthProgram } from '../../../cni/programs/bandwidth.ts';
import { firewallProgram } from '../../../cni/programs/firewall.ts';
import { portmapProgram } from '../../../cni/programs/portmap.ts';
import type { AttachmentKey, Plugin } from '../../../cni/types.ts';
import type { ProgramPlugin } from '../../../cni/wire/call.ts';
import { parseNetConf } from '../../../cni/wire/net-conf.ts';
import { run } from '../../../src/linux/exec.ts';
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import type { Run } from '../../../src/netfilter/iptables.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const STEPS_LIMIT = 60;
const LIMIT = { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 };

/** What passes `limit` calls of its methods, and lets the next wait for ever. */
function stopsBefore<T extends object>(step: number, stopped: () => void, target: T): T {
  let calls = 0;
  return new Proxy(target, {
    get(from, name) {
      const value = Reflect.get(from, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (++calls < step) return value.apply(from, args);
        stopped();
        return new Promise(() => {});
      };
    },
  });
}

interface Scene {
  host: TestNetns;
  pod: TestNetns;
  /** One that comes to a stop before a step. */
  stopping(step: number, stopped: () => void): Plugin<unknown>;
  whole: Plugin<unknown>;
  config: unknown;
  /** What a container has on the host, as text. */
  state(): Promise<string>;
}

async function scene(t: ExecutionContext, type: 'bandwidth' | 'firewall' | 'portmap'): Promise<Scene> {
  const host = await createTestNetns(t, 'host');
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'veth1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
  const programOf = (how: Run): ProgramPlugin => {
    const deps = { run: how, sleep: async () => {}, hostNetns: host.path, systemBus: 'unix:path=/nowhere' };
    const make = { bandwidth: bandwidthProgram, firewall: firewallProgram, portmap: portmapProgram }[type];
    return make(deps) as ProgramPlugin;
  };
  const opened = (program: ProgramPlugin) => {
    const { plugin, close } = program.open({ path: [] });
    t.teardown(close);
    return plugin;
  };
  const keys = {
    bandwidth: LIMIT,
    firewall: { backend: 'iptables', ingressPolicy: 'same-bridge' },
    portmap: { backend: 'iptables', runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } },
  };
  const conf = parseNetConf(JSON.stringify({ cniVersion: '1.1.0', name: 'net', type, ...keys[type] }));
  const saved = async () => {
    const texts = await Promise.all(['iptables-save', 'ip6tables-save'].map((program) => host.run(program, [])));
    return texts
      .join('')
      .split('\n')
      .filter((line) => /CNI-/.test(line))
      .join('\n');
  };
  const netlink = () => {
    const socket = openRtnetlink(host.path);
    t.teardown(() => socket.close());
    return socket;
  };
  return {
    host,
    pod,
    whole: opened(programOf(run)),
    config: programOf(run).parse(conf, {}),
    stopping(step, stopped) {
      if (type === 'bandwidth') return createBandwidth(stopsBefore(step, stopped, netlink())) as Plugin<unknown>;
      return opened(programOf(stopsBefore(step, stopped, { run }).run));
    },
    state: async () => (type === 'bandwidth' ? host.run('ip', ['-br', 'link', 'show', 'type', 'ifb']) : saved()),
  };
}

for (const type of ['bandwidth', 'firewall', 'portmap'] as const)
  test.serial(`R15: ${type} stopped before any step of ADD and of DEL: no leak, no duplicate`, async (t) => {
    const { pod, stopping, whole, config, state } = await scene(t, type);
    const key: AttachmentKey = { containerId: 'one', ifname: 'eth0' };
    const request = { ...key, netns: pod.path, args: {} };
    const address = ['10.9.0.2/24', 'fd00:9::2/64'].map((one) => ({ address: one, interface: 1 }));
    const interfaces = [
      { name: 'veth1', sandbox: '' },
      { name: 'eth0', sandbox: pod.path },
    ];
    const before = { interfaces, ips: address, routes: [] };
    const nothing = await state();
    await whole.add(config, request, before);
    const once = await state();
    await whole.del(config, request);
    t.is(await state(), nothing);

    /** @returns whether it came to a stop */
    const stopAt = async (step: number, command: 'add' | 'del') => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const plugin = stopping(step, () => resolve(true));
      const work = command === 'add' ? plugin.add(config, request, before) : plugin.del(config, request);
      return Promise.race([promise, Promise.resolve(work).then(() => false)]);
    };
    const steps = { add: 0, del: 0 };
    for (const command of ['add', 'del'] as const)
      for (let step = 1; step < STEPS_LIMIT; step++) {
        if (command === 'del') await whole.add(config, request, before);
        if (!(await stopAt(step, command))) break;
        steps[command]++;
        // Three ways on: ADD again, DEL, or nobody knows of it any more.
        if (command === 'add' && step % 3 === 0) {
          await whole.add(config, request, before);
          const links = (await state()).replaceAll(/\d+: |[0-9a-f:]{17}/g, '');
          t.is(links, once.replaceAll(/\d+: |[0-9a-f:]{17}/g, ''), `ADD stopped before step ${step}`);
        }
        if (step % 3 === 1 || type === 'bandwidth') await whole.del(config, request);
        else await whole.gc(config, []);
        t.is(await state(), nothing, `${command} stopped before step ${step}`);
      }
    t.true(steps.add >= 4 && steps.add < STEPS_LIMIT && steps.del >= 1, JSON.stringify(steps));
  });
