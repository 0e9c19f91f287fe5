import type { ExecutionContext } from 'ava';
import { portmapProgram } from '../../cni/programs/portmap.ts';
import { run } from '../../src/linux/exec.ts';
import { type CniCaller, callOurs } from './cni-calls.ts';
import type { TestNetns } from './netns.ts';

/** The node of proxy-world.ts. */
export const NODE_ADDRESS = '192.168.50.1';

export interface HostPortMapping {
  hostPort: number;
  containerPort: number;
  protocol?: string;
  hostIP?: string;
}

/** Ours, over a host's namespace. */
export function ourPortmap(node: TestNetns): CniCaller {
  const program = portmapProgram({ run, sleep: async () => {}, hostNetns: node.path });
  return callOurs(new Map([['portmap', program]]));
}

/** The configuration for a pod of the world; `extra` are further keys. */
export function portmapConf(pod: string, portMappings: readonly HostPortMapping[], extra: object = {}) {
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'cni0' }, { name: 'eth0', sandbox: '/run/netns/pod' }],
    ips: [{ address: pod, gateway: '10.244.0.1', interface: 1 }],
  };
  return { runtimeConfig: { portMappings }, prevResult, ...extra };
}

/** ADD, which must work. @returns what it printed */
export async function addPorts(t: ExecutionContext, call: CniCaller, id: string, conf: object, netns: string) {
  const { failed, out } = await call({ command: 'ADD', type: 'portmap', id, netns, conf });
  t.false(failed, JSON.stringify(out));
  return out;
}
