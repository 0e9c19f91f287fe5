import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { buildPortals, computeRelays, type PortalSet, type RelayPorts } from '../../../proxy/userspace/portals.ts';
import { renderIptables } from '../../../proxy/userspace/portals-iptables.ts';
import { renderNft } from '../../../proxy/userspace/portals-nft.ts';
import { renderTransaction } from '../../../src/netfilter/transaction.ts';
import { NODE_OPTIONS, snapshotOf } from '../../support/proxy.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const FOLDER = join(import.meta.dirname, 'userspace');

/** The portals of a scenario; relays listen on ports from 40001 on, in the order of services. */
function portalsOf({ services, slices, family = 'IPv4', options }: Scenario): PortalSet {
  const node = { ...NODE_OPTIONS, ...options };
  const snapshot = snapshotOf(services, slices, family);
  const ports = new Map<string, number>();
  const relayPorts: { protocol: 'tcp' | 'udp'; port: number }[] = [];
  for (const { ports: states } of snapshot.services.values())
    for (const state of states)
      for (const kind of computeRelays(state, node.node).keys()) {
        const port = 40_001 + ports.size;
        ports.set(`${state.port.displayName}/${state.port.protocol}/${kind}`, port);
        relayPorts.push({ protocol: state.port.protocol === 'UDP' ? 'udp' : 'tcp', port });
      }
  const relayPort: RelayPorts = (port, kind) => ports.get(`${port.displayName}/${port.protocol}/${kind}`);
  return {
    family,
    relayAddress: family === 'IPv4' ? '192.168.0.2' : 'fd00::2',
    relayPorts,
    localDetector: node.localDetector,
    nodePortAddresses: node.nodePortAddresses,
    takesLoopback: node.localhostNodePorts,
    ...buildPortals(snapshot, node, relayPort),
  };
}

for (const [name, scenario] of Object.entries(SCENARIOS))
  for (const [kind, render] of [
    ['nft', renderNft],
    ['iptables', (set: PortalSet) => renderTransaction(renderIptables(set, new Map()))],
  ] as const) {
    test(`userspace, ${kind}: the full rule text of: ${name}`, (t) => {
      const file = join(FOLDER, `${name}.${kind}.txt`);
      const text = render(portalsOf(scenario));
      mkdirSync(FOLDER, { recursive: true });
      // A new scenario writes its file; look at it before it is committed. To renew one, delete it.
      if (!existsSync(file)) writeFileSync(file, text);
      t.is(text, readFileSync(file, 'utf8'));
      const turned = { ...scenario, services: scenario.services.toReversed(), slices: scenario.slices.toReversed() };
      t.is(render(portalsOf(turned)), text, 'the order of events makes no difference');
    });
  }
