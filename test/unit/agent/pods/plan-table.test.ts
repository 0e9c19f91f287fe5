/** Every combination of records, policies, probes and back-off, held against an oracle that shares no code with the plan. */
import test from 'ava';
import type { SandboxStatus } from '../../../../agent/pods/ports.ts';
import { combinations, createComparison, POLICIES, PROBES, planOf, READY, RECORDS, sorted } from './plan-cases.ts';
import {
  expectInSandbox,
  expectNewSandbox,
  type OracleContainer,
  type OraclePod,
  outcomeOf,
  type Record_,
} from './plan-oracle.ts';

test('regular containers: records × policies × rules × probes × back-off, beside one that runs or is done', (t) => {
  const comparison = createComparison(t, 18_000);
  const lists = [
    RECORDS,
    POLICIES,
    [undefined, ...POLICIES],
    [undefined, [42]],
    PROBES,
    PROBES,
    [false, true],
    ['running', 0],
  ] as const;
  for (const [record, policy, own, restartOn, liveness, startup, isInBackoff, other] of combinations(...lists)) {
    // The API takes rules only with a policy of the container itself.
    if (restartOn && !own) continue;
    const a: OracleContainer = { name: 'a', record, liveness, startup, isInBackoff };
    if (own) a.policy = own;
    if (restartOn) a.restartOn = restartOn;
    const pod: OraclePod = { policy, init: [], regular: [a, { name: 'b', record: other, policy: 'Never' }] };
    const plan = planOf(pod);
    comparison.check(pod, sorted(outcomeOf(plan)), sorted(expectInSandbox(pod)));
    const attempt = record === 'none' ? 0 : record === 'created' ? 4 : 5;
    const starts = plan.start.filter(({ name }) => name === 'a');
    comparison.check(
      { pod, attempt },
      starts.map((one) => one.attempt),
      starts.length > 0 ? [attempt] : [],
    );
    comparison.check(pod, plan.remove, record === 'created' ? ['a-id'] : []);
  }
  comparison.end();
});

test('init containers: three of them, plain or sidecars, in every state, before and after the regular one', (t) => {
  const comparison = createComparison(t, 80_000);
  const records: Record_[] = ['none', 'created', 'unknown', 'running', 'changed', 0, 1];
  const sorts = [undefined, 'Always'] as const;
  const lists = [
    POLICIES,
    sorts,
    sorts,
    sorts,
    records,
    records,
    records,
    ['none', 'running', 'created', 1],
    PROBES,
  ] as const;
  for (const [policy, sortI, sortJ, sortK, recordI, recordJ, recordK, regular, startup] of combinations(...lists)) {
    const one = (name: string, record: Record_, sort: 'Always' | undefined): OracleContainer => ({
      name,
      record,
      ...(sort && { policy: sort, startup }),
    });
    const init = [one('i', recordI, sortI), one('j', recordJ, sortJ), one('k', recordK, sortK)];
    const pod: OraclePod = { policy, init, regular: [{ name: 'a', record: regular }] };
    comparison.check(pod, sorted(outcomeOf(planOf(pod))), sorted(expectInSandbox(pod)));
  }
  comparison.end();
});

test('init containers: policies and rules of their own, probes of sidecars, back-off', (t) => {
  const comparison = createComparison(t, 11_000);
  const owns = [undefined, ...POLICIES] as const;
  const lists = [
    POLICIES,
    RECORDS,
    owns,
    [undefined, [42]],
    PROBES,
    [undefined, ...PROBES],
    [false, true],
    RECORDS,
  ] as const;
  for (const [policy, record, own, restartOn, liveness, startup, isInBackoff, second] of combinations(...lists)) {
    if (restartOn && !own) continue;
    // Only sidecars have probes.
    if (own !== 'Always' && (liveness !== 'none' || startup !== undefined)) continue;
    const i: OracleContainer = { name: 'i', record, isInBackoff };
    if (own) i.policy = own;
    if (restartOn) i.restartOn = restartOn;
    if (own === 'Always') Object.assign(i, { liveness, ...(startup && { startup }) });
    const j: OracleContainer = { name: 'j', record: second, isInBackoff };
    const pod: OraclePod = { policy, init: [i, j], regular: [{ name: 'a', record: 'none' }] };
    comparison.check(pod, sorted(outcomeOf(planOf(pod))), sorted(expectInSandbox(pod)));
  }
  comparison.end();
});

test('sandboxes: every state of them × policies × records, with and without init containers', (t) => {
  const comparison = createComparison(t, 30_000);
  const states: [why: string, sandboxes: SandboxStatus[], attempt: number, renew: { pod: boolean; host: boolean }][] = [
    ['none', [], 0, { pod: true, host: true }],
    ['ready', [READY], 2, { pod: false, host: true }],
    ['without address', [{ ...READY, ips: [] }], 2, { pod: true, host: true }],
    ['of the host', [{ ...READY, hostNetwork: true, ips: [] }], 2, { pod: true, host: false }],
    ['made', [{ ...READY, state: 'created' }], 2, { pod: true, host: true }],
    ['ended', [{ ...READY, state: 'exited' }], 2, { pod: true, host: true }],
    ['unknown', [{ ...READY, state: 'unknown' }], 2, { pod: true, host: true }],
    ['two ready', [READY, { ...READY, id: 'r', attempt: 1 }], 2, { pod: true, host: true }],
    [
      'ready, an old one ended',
      [READY, { ...READY, id: 'r', attempt: 1, state: 'exited' }],
      2,
      { pod: false, host: true },
    ],
  ];
  const lists = [
    states,
    [false, true],
    POLICIES,
    [undefined, ...POLICIES],
    RECORDS,
    RECORDS,
    ['none', 0, 1],
    [false, true],
  ] as const;
  for (const [state, hostNetwork, policy, own, recordA, recordB, initRecord, hasInit] of combinations(...lists)) {
    if (!hasInit && initRecord !== 'none') continue;
    const [why, sandboxes, attempt, renew] = state;
    const a: OracleContainer = { name: 'a', record: recordA, ...(own && { policy: own }) };
    const pod: OraclePod = {
      policy,
      init: hasInit ? [{ name: 'i', record: initRecord }] : [],
      regular: [a, { name: 'b', record: recordB }],
    };
    const plan = planOf(pod, sandboxes, hostNetwork);
    const { killPod, createSandbox, sandboxAttempt, start } = plan;
    if (!(hostNetwork ? renew.host : renew.pod)) {
      comparison.check([why, pod], [createSandbox, sandboxAttempt, plan.sandboxId], [false, attempt, 's']);
      comparison.check([why, pod], sorted(outcomeOf(plan)), sorted(expectInSandbox(pod)));
      continue;
    }
    const expected = expectNewSandbox(pod);
    const next = why === 'none' ? 0 : attempt + 1;
    comparison.check(
      [why, hostNetwork, pod],
      { killPod, createSandbox, sandboxAttempt, start: start.map(({ name }) => name) },
      { killPod: true, createSandbox: expected !== undefined, sandboxAttempt: next, start: expected?.start ?? [] },
    );
    // The walk over init containers must not take those of the lost sandbox for its own.
    if (expected && initRecord !== 'none') comparison.check([why, pod], plan.remove.includes('i-id'), true);
  }
  comparison.end();
});
