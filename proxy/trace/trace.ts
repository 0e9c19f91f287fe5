import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ModeName, NodeRenderOptions, ProxyMode } from '../mode.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { compareEnds, type End, summarizeEnds } from './ends.ts';
import { isLocalAddress } from './evaluate.ts';
import { explainFrontend, explainStranger } from './explain.ts';
import { type FoundFrontend, findFrontend, pickServices, type Target } from './frontends.ts';
import type { Packet, TraceHost } from './packet.ts';
import { readRulesSteps } from './rules-text.ts';
import type { Ruleset } from './ruleset.ts';
import { walkPacket } from './walk.ts';

/** What one IP family's rules are made of, and by which mode. */
export interface TraceSubject {
  family: IpFamily;
  mode: ProxyMode;
  snapshot: ProxySnapshot;
  node: NodeRenderOptions;
  host: TraceHost;
}

/** The answer to "what becomes of this packet". */
export interface Trace {
  mode: ModeName;
  packet: Packet;
  /** The service port that the destination belongs to, if one. */
  service?: { namespace: string; name: string; port: string; at: FoundFrontend['frontend']['kind'] };
  ends: readonly End[];
  /** Why it ends there. */
  reasons: readonly string[];
  /** What the kernel's own rules do with it, where they were looked at. */
  live?: { ends: readonly End[]; differences: readonly string[] };
}

/**
 * The rules as rendered for a question about one Service: of a big cluster's others there are none. Undefined in a mode whose rules
 * lead to the ports of a running process.
 */
async function renderRulesets(
  { family, mode, snapshot, node }: TraceSubject,
  services?: Iterable<string>,
): Promise<Ruleset[] | undefined> {
  if (!mode.renderText) return undefined;
  const text = await mode.renderText(services ? pickServices(snapshot, services) : snapshot, node);
  return runInSlices(readRulesSteps(family, text));
}

/** Walks the rendered rules and, when given, the kernel's. */
export async function tracePacket(subject: TraceSubject, packet: Packet, live?: readonly Ruleset[]): Promise<Trace> {
  const found = findOwner(subject, packet);
  const trace = await prepareTrace(subject, found ? [found.service] : undefined, live);
  return trace(packet);
}

/** For several questions about the same Services (all of them unless named). */
export async function prepareTrace(
  subject: TraceSubject,
  services?: Iterable<string>,
  live?: readonly Ruleset[],
): Promise<(packet: Packet) => Trace> {
  const { snapshot, node, host, mode } = subject;
  const rulesets = await renderRulesets(subject, services);
  return (packet) => {
    const found = findOwner(subject, packet);
    const liveEnds = live && summarizeEnds(walkPacket(live, packet, host));
    const ends = rulesets ? summarizeEnds(walkPacket(rulesets, packet, host)) : (liveEnds ?? []);
    const port = found?.state.port;
    return {
      mode: mode.name,
      packet,
      service: found &&
        port && { namespace: port.namespace, name: port.name, port: port.portName, at: found.frontend.kind },
      ends,
      reasons: [
        ...(rulesets
          ? []
          : [`mode ${mode.name} relays in its own process: rules lead to relays, and those pick endpoints`]),
        ...(found ? explainFrontend(found, packet, ends, node) : explainStranger(snapshot, targetOf(packet), node)),
      ],
      live: liveEnds && { ends: liveEnds, differences: compareEnds(ends, liveEnds) },
    };
  };
}

function targetOf({ protocol, destination, destinationPort }: Packet): Target {
  return { protocol, address: destination, port: destinationPort };
}

function findOwner({ snapshot, host }: TraceSubject, packet: Packet): FoundFrontend | undefined {
  return findFrontend(snapshot, targetOf(packet), (address) => isLocalAddress(address, host));
}
