import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { renderIpvsChains } from '../../../proxy/ipvs/chains.ts';
import { renderIpvsSteps } from '../../../proxy/ipvs/render.ts';
import { renderIpvsText } from '../../../proxy/ipvs/text.ts';
import { runAtOnce } from '../../../src/runtime/slices.ts';
import { NODE_OPTIONS, snapshotOf } from '../../support/proxy.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const HOST = { IPv4: ['192.168.0.2', '192.168.1.2'], IPv6: ['fd00:1::2'] };

function textOf({ services, slices, family = 'IPv4', options }: Scenario, scheduler = 'rr'): string {
  const all = { ...NODE_OPTIONS, ...options, scheduler, hostAddresses: HOST[family], hasRandomFully: true };
  const wanted = runAtOnce(renderIpvsSteps(snapshotOf(services, slices, family), all));
  return renderIpvsText(wanted, renderIpvsChains(wanted, family, all), family);
}

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  test(`mode ipvs: ${name}`, (t) => {
    const file = join(import.meta.dirname, 'ipvs', `${name}.txt`);
    const text = textOf(scenario);
    // A new scenario writes its file; look at it before it is committed. To renew one, delete it.
    if (!existsSync(file)) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    t.is(text, readFileSync(file, 'utf8'));
  });

  test(`mode ipvs: the order of events makes no difference: ${name}`, (t) => {
    const turned = { ...scenario, services: scenario.services.toReversed(), slices: scenario.slices.toReversed() };
    t.is(textOf(turned), textOf(scenario));
  });
}

test('mode ipvs: another scheduler; mh hashes ports too', (t) => {
  const scenario = SCENARIOS['cluster-ip']!;
  t.regex(textOf(scenario, 'wlc'), /^-A -t 10\.96\.[\d.]+:80 -s wlc$/m);
  t.regex(textOf(scenario, 'mh'), /^-A -t 10\.96\.[\d.]+:80 -s mh -b flag-2$/m);
});
