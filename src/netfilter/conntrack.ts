import { runInSlices } from '../runtime/slices.ts';
import type { Run } from './iptables.ts';
import type { IpFamily } from './tables.ts';

/** A UDP flow as the kernel tracks it: where the client sent to, and who answers. */
export interface UdpFlow {
  destination: string;
  destinationPort: number;
  /** Source of the reply direction: the endpoint where the flow is translated, else the destination itself. */
  replySource: string;
  replySourcePort: number;
}

/** The kernel's connection tracking table, as far as the proxy needs it. */
export interface Conntrack {
  listUdpFlows(family: IpFamily, signal?: AbortSignal): Promise<UdpFlow[]>;
  /** Forgets all clients' flows to a destination that one endpoint answers; none is no error. @returns how many */
  deleteUdpFlows(family: IpFamily, flow: UdpFlow, signal?: AbortSignal): Promise<number>;
}

/** Through the `conntrack` program. */
export function createConntrack(options: { run: Run; timeoutMs?: number; netns?: string }): Conntrack {
  const base = { timeoutMs: options.timeoutMs ?? 30_000, netns: options.netns };
  return {
    async listUdpFlows(family, signal) {
      const { stdout } = await options.run('conntrack', ['-L', '-p', 'udp', '-f', family.toLowerCase()], {
        ...base,
        signal,
      });
      return await runInSlices(parseUdpFlows(stdout), signal);
    },
    async deleteUdpFlows(family, flow, signal) {
      const args = ['-D', '-p', 'udp', '-f', family.toLowerCase()];
      args.push('--orig-dst', flow.destination, '--orig-port-dst', String(flow.destinationPort));
      args.push('--reply-src', flow.replySource, '--reply-port-src', String(flow.replySourcePort));
      // Exit 1: nothing matched any more.
      const { stderr } = await options.run('conntrack', args, { ...base, signal, okCodes: [0, 1] });
      return Number(/(\d+) flow entries have been deleted/.exec(stderr)?.[1] ?? 0);
    },
  };
}

const FLOW = /src=\S+ dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;

/** Reads `conntrack -L -p udp`, in steps: a busy DNS node tracks 100,000 flows. */
export function* parseUdpFlows(text: string): Generator<void, UdpFlow[]> {
  const flows: UdpFlow[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const match = FLOW.exec(line);
    if (match)
      flows.push({
        destination: match[1]!,
        destinationPort: Number(match[2]),
        replySource: match[3]!,
        replySourcePort: Number(match[4]),
      });
    if (index % 500 === 499) yield;
  }
  return flows;
}
