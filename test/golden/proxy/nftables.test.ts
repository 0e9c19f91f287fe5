import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { renderRuleSetSteps } from '../../../proxy/nftables/rule-set.ts';
import { ruleSetText } from '../../../proxy/nftables/text.ts';
import { runAtOnce } from '../../../src/runtime/slices.ts';
import { NODE_OPTIONS, snapshotOf } from '../../support/proxy.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

function textOf({ services, slices, family, options }: Scenario): string {
  return ruleSetText(
    runAtOnce(renderRuleSetSteps(snapshotOf(services, slices, family), { ...NODE_OPTIONS, ...options })),
  );
}

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  test(`the nftables table of: ${name}`, (t) => {
    const file = join(import.meta.dirname, 'nftables', `${name}.txt`);
    const text = textOf(scenario);
    // A new scenario writes its file; look at it before it is committed. To renew one, delete it.
    if (!existsSync(file)) writeFileSync(file, text);
    t.is(text, readFileSync(file, 'utf8'));
  });

  test(`nftables: the order of events makes no difference: ${name}`, (t) => {
    const turned = { ...scenario, services: scenario.services.toReversed(), slices: scenario.slices.toReversed() };
    t.is(textOf(turned), textOf(scenario));
  });
}
