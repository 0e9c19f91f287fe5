/** What the generated tables of plans are made of. */
import type { ExecutionContext } from 'ava';
import { containerHash } from '../../../../agent/containers/hash.ts';
import { computePodPlan, type PodPlan } from '../../../../agent/pods/plan.ts';
import type { ContainerRuntimeStatus, SandboxStatus } from '../../../../agent/pods/ports.ts';
import type { Container } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import type { OracleContainer, OraclePod, Policy, Probe, Record_ } from './plan-oracle.ts';

export const NOW_MS = 1_000_000;
export const POLICIES: Policy[] = ['Always', 'OnFailure', 'Never'];
export const RECORDS: Record_[] = ['none', 'created', 'unknown', 'running', 'changed', 0, 1, 42];
export const PROBES: Probe[] = ['none', 'success', 'failure'];

/** All combinations of one value of each list. */
export function* combinations<T extends readonly (readonly unknown[])[]>(
  ...lists: T
): Generator<{ [K in keyof T]: T[K][number] }> {
  const [first, ...rest] = lists;
  if (!first) {
    yield [] as never;
    return;
  }
  for (const value of first) for (const others of combinations(...rest)) yield [value, ...others] as never;
}

export function specOf({ name, policy, restartOn, startup, liveness }: OracleContainer): Container {
  return {
    name,
    image: 'x',
    ...(policy && { restartPolicy: policy }),
    ...(restartOn && {
      restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [...restartOn] } }],
    }),
    ...(startup && { startupProbe: {} }),
    ...(liveness && { livenessProbe: {} }),
  };
}

export function recordOf({ name, record }: OracleContainer): ContainerRuntimeStatus[] {
  if (record === 'none') return [];
  const isExit = typeof record === 'number';
  return [
    {
      id: `${name}-id`,
      name,
      state: isExit ? 'exited' : record === 'changed' ? 'running' : record,
      createdAtMs: 0,
      ...(isExit && { exitCode: record, finishedAtMs: NOW_MS - 1 }),
      oomKilled: false,
      image: 'x',
      imageId: '',
      restartCount: 4,
      hash: record === 'changed' ? 'other' : containerHash({ name, image: 'x' }),
      sandboxId: 's',
    },
  ];
}

export const READY: SandboxStatus = {
  id: 's',
  attempt: 2,
  state: 'running',
  createdAtMs: 0,
  hostNetwork: false,
  ips: ['10.0.0.1'],
};

export function planOf(pod: OraclePod, sandboxes: SandboxStatus[] = [READY], hostNetwork = false): PodPlan {
  const all = [...pod.init, ...pod.regular];
  const find = (id: string) => all.find(({ name }) => `${name}-id` === id);
  const result = (probe: Probe | undefined) => (probe === undefined || probe === 'none' ? undefined : probe);
  return computePodPlan({
    pod: podOf({
      restartPolicy: pod.policy,
      hostNetwork,
      initContainers: pod.init.map(specOf),
      containers: pod.regular.map(specOf),
    }),
    runtime: { uid: 'uid-1', name: 'web', namespace: 'default', ips: [], sandboxes, containers: all.flatMap(recordOf) },
    nowMs: NOW_MS,
    liveness: (id) => result(find(id)?.liveness),
    startup: (id) => result(find(id)?.startup),
    crashDelay: (name) =>
      all.find((one) => one.name === name)?.isInBackoff ? { delayMs: 10_000, untilMs: NOW_MS + 9_999 } : undefined,
  });
}

/** Compares case by case; the first few that differ are shown. */
export function createComparison(t: ExecutionContext, least: number) {
  let cases = 0;
  const wrong: unknown[] = [];
  return {
    check(what: unknown, actual: unknown, expected: unknown) {
      cases++;
      const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
      if (one !== other && wrong.length < 5) wrong.push({ what: JSON.stringify(what), actual: one, expected: other });
    },
    end() {
      t.deepEqual(wrong, []);
      t.true(cases >= least, `only ${cases} cases`);
    },
  };
}

/** In one order; a pod that is ended whole needs no list. */
export const sorted = <T extends { killPod: boolean; kill: string[] }>(outcome: T): T => ({
  ...outcome,
  kill: outcome.killPod ? [] : outcome.kill.toSorted(),
});
