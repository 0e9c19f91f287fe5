/** Ephemeral containers and RestartAllContainers in every combination. */
import test from 'ava';
import { computePodPlan } from '../../../../agent/pods/plan.ts';
import type { SandboxStatus } from '../../../../agent/pods/ports.ts';
import { podOf } from '../pod.ts';
import { combinations, createComparison, NOW_MS, POLICIES, READY, RECORDS, recordOf, specOf } from './plan-cases.ts';
import type { OracleContainer } from './plan-oracle.ts';

test('ephemeral containers: once, whatever their records and the rest of the pod say', (t) => {
  const comparison = createComparison(t, 200);
  const states = [undefined, 'waiting', 'running', 'terminated'];
  const lists = [RECORDS, states, POLICIES, ['running', 'none', 1, 0], [false, true]] as const;
  for (const [record, shown, policy, app, isLost] of combinations(...lists)) {
    const e: OracleContainer = { name: 'e', record };
    const a: OracleContainer = { name: 'a', record: app };
    const plan = computePodPlan({
      pod: podOf({
        restartPolicy: policy,
        containers: [specOf(a)],
        ephemeralContainers: [{ name: 'e', image: 'x' }],
      }),
      runtime: {
        uid: 'uid-1',
        name: 'web',
        namespace: 'default',
        ips: [],
        sandboxes: isLost ? [] : [READY],
        containers: [...recordOf(e), ...recordOf(a)],
      },
      status: {
        ephemeralContainerStatuses: shown
          ? [{ name: 'e', image: 'x', imageID: '', ready: false, restartCount: 0, state: { [shown]: {} } }]
          : [],
      },
      nowMs: NOW_MS,
      liveness: () => undefined,
      startup: () => undefined,
      crashDelay: () => undefined,
    });
    const hasRun = record === 'none' ? shown === 'running' || shown === 'terminated' : record !== 'created';
    const isOver = (app === 0 && policy !== 'Always') || (app === 1 && policy === 'Never');
    comparison.check(
      { record, shown, policy, app, isLost },
      plan.start.some(
        ({ name, kind, attempt }) => name === 'e' && kind === 'ephemeral' && (attempt === 0 || record === 'created'),
      ),
      !hasRun && !isLost && !isOver,
    );
    comparison.check(
      [record],
      plan.kill.some(({ name }) => name === 'e'),
      false,
    );
  }
  comparison.end();
});

test('RestartAllContainers: records × back-off; what asked goes last, nothing starts in that pass', (t) => {
  const comparison = createComparison(t, 1_000);
  const lists = [
    RECORDS,
    RECORDS,
    RECORDS,
    [false, true],
    [[READY], []] as SandboxStatus[][],
    ['main', 'side'],
  ] as const;
  for (const [init, side, main, isInBackoff, sandboxes, source] of combinations(...lists)) {
    const containers = { init, side, main };
    const planWith = (action: 'Restart' | 'RestartAllContainers') => {
      const rule = { action, exitCodes: { operator: 'In' as const, values: [42] } };
      const ruled = (name: string) => (name === source ? { restartPolicyRules: [rule] } : {});
      return computePodPlan({
        pod: podOf({
          restartPolicy: 'Never',
          initContainers: [
            { name: 'init', image: 'x' },
            { name: 'side', image: 'x', restartPolicy: 'Always', ...ruled('side') },
          ],
          containers: [{ name: 'main', image: 'x', restartPolicy: 'Never', ...ruled('main') }],
          ephemeralContainers: [{ name: 'debug', image: 'x' }],
        }),
        runtime: {
          uid: 'uid-1',
          name: 'web',
          namespace: 'default',
          ips: [],
          sandboxes,
          containers: Object.entries({ ...containers, debug: 'running' as const }).flatMap(([name, record]) =>
            recordOf({ name, record }),
          ),
        },
        nowMs: NOW_MS,
        liveness: () => undefined,
        startup: () => undefined,
        crashDelay: () => (isInBackoff ? { delayMs: 10_000, untilMs: NOW_MS + 9_999 } : undefined),
      });
    };
    const plan = planWith('RestartAllContainers');
    // Nobody asks, or whoever asks has to wait: a rule like any other.
    if (containers[source] !== 42 || isInBackoff) {
      comparison.check({ containers, source, isInBackoff }, plan, planWith('Restart'));
      continue;
    }
    const others = Object.entries(containers).filter(([name, record]) => name !== source && record !== 'none');
    comparison.check(
      { containers, source },
      plan.reset && {
        kill: plan.reset.kill.map(({ name }) => name),
        remove: plan.reset.remove,
        sources: plan.reset.sources.map(({ id }) => id),
      },
      {
        kill: others
          .filter(([, record]) => ['running', 'changed', 'unknown'].includes(String(record)))
          .map(([name]) => name),
        remove: others.map(([name]) => `${name}-id`),
        sources: [`${source}-id`],
      },
    );
    comparison.check(
      { containers, source },
      [plan.killPod, plan.createSandbox, plan.start, plan.kill, plan.remove, plan.wait],
      [false, false, [], [], [], []],
    );
  }
  comparison.end();
});
