import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { buildFullTransaction } from '../../../proxy/iptables/text.ts';
import { renderTransaction } from '../../../src/netfilter/transaction.ts';
import { NODE_OPTIONS, snapshotOf } from '../../support/proxy.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const BASE = { ...NODE_OPTIONS, hasRandomFully: true, isLargeCluster: false };

function textOf({ services, slices, family, options }: Scenario): string {
  return renderTransaction(buildFullTransaction(snapshotOf(services, slices, family), { ...BASE, ...options }));
}

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  test(`the full rule text of: ${name}`, (t) => {
    const file = join(import.meta.dirname, `${name}.txt`);
    const text = textOf(scenario);
    // A new scenario writes its file; look at it before it is committed. To renew one, delete it.
    if (!existsSync(file)) writeFileSync(file, text);
    t.is(text, readFileSync(file, 'utf8'));
  });

  test(`the order of events makes no difference: ${name}`, (t) => {
    const turned = { ...scenario, services: scenario.services.toReversed(), slices: scenario.slices.toReversed() };
    t.is(textOf(turned), textOf(scenario));
  });
}

test("chain names are upstream's", (t) => {
  // From kube-proxy's own tests: ns1/svc1:p80 with protocol tcp, and its endpoint 10.180.0.1:80.
  const text = textOf({
    services: SCENARIOS['cluster-ip']!.services,
    slices: [
      {
        ...SCENARIOS['cluster-ip']!.slices[0]!,
        ports: [{ name: 'p80', port: 80, protocol: 'TCP' }],
        endpoints: [{ addresses: ['10.180.0.1'] }],
      },
    ],
  });
  t.regex(text, /-j KUBE-SVC-XPGD46QRK7WJZT7O\n/);
  t.regex(text, /-j KUBE-SEP-SXIVWICOYRO3J4NJ\n/);
});
