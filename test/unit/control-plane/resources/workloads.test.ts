import test from 'ava';
import type { ProjectionSubresource } from '../../../../control-plane/apiserver/definition.ts';
import { deployments } from '../../../../control-plane/resources/deployments.ts';
import { replicaSets } from '../../../../control-plane/resources/replicasets.ts';
import type { Deployment, DeploymentSpec } from '../../../../src/kube/types.ts';
import { errorTexts, meta, NOW_MS, strategyContext } from '../../../support/strategy-context.ts';

const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'nginx:1' }] } };

function makeDeployment(spec: Partial<DeploymentSpec> = {}, rest: Partial<Deployment> = {}): Deployment {
  const deployment: Deployment = {
    metadata: meta('web', { creationTimestamp: '2026-01-02T03:04:00Z' }),
    spec: { selector: { matchLabels: { app: 'web' } }, template: structuredClone(template), ...structuredClone(spec) },
    ...rest,
  };
  deployments.applyDefaults(deployment);
  return deployment;
}

test('defaults of a Deployment', (t) => {
  const { spec } = makeDeployment();
  t.like(spec, {
    replicas: 1,
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
  });
  t.is(spec.template.spec?.restartPolicy, 'Always');
  t.deepEqual(deployments.validate(makeDeployment()), []);
});

const cases: [string, Partial<DeploymentSpec>, string[]][] = [
  ['negative replicas', { replicas: -1 }, ['spec.replicas: Invalid value: -1: must be greater than or equal to 0']],
  ['no selector', { selector: undefined as never }, ['spec.selector: Required value']],
  [
    'an empty selector',
    { selector: {} },
    ['spec.selector: Invalid value: {}: empty selector is invalid for deployment'],
  ],
  [
    'a selector of other pods',
    { selector: { matchLabels: { app: 'db' } } },
    ['spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
  ],
  [
    'a template that stops',
    { template: { ...template, spec: { ...template.spec, restartPolicy: 'Never' } } },
    ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
  ],
  [
    'no containers',
    { template: { ...template, spec: { containers: [] } } },
    ['spec.template.spec.containers: Required value'],
  ],
  [
    'a rollout that can’t move',
    { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: '0%' } } },
    ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'],
  ],
  [
    'more than all',
    { strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '101%' } } },
    ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%'],
  ],
  [
    'an amount that is none',
    { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 'x' } } },
    ['spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": must be an integer or percentage (e.g \'5%%\')'],
  ],
  [
    'Recreate with a rolling update',
    { strategy: { type: 'Recreate', rollingUpdate: {} } },
    ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
  ],
  [
    'an unknown strategy',
    { strategy: { type: 'BlueGreen' as never } },
    ['spec.strategy.type: Unsupported value: "BlueGreen": supported values: "Recreate", "RollingUpdate"'],
  ],
  [
    'a deadline before readiness',
    { progressDeadlineSeconds: 5, minReadySeconds: 5 },
    ['spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds'],
  ],
];
for (const [what, spec, expected] of cases)
  test(`a Deployment with ${what}`, (t) => {
    t.deepEqual(errorTexts(deployments.validate(makeDeployment(spec))), expected);
  });

test('the selector is immutable', (t) => {
  const other = makeDeployment({ selector: { matchLabels: { app: 'db' } } });
  t.deepEqual(errorTexts(deployments.validateUpdate(other, makeDeployment())), [
    'spec.selector: Invalid value: {"matchLabels":{"app":"db"}}: field is immutable',
  ]);
});

test('generation counts spec and annotations, not labels', (t) => {
  const old = makeDeployment();
  t.false(deployments.generationChanged!(structuredClone(old), old));
  t.true(deployments.generationChanged!(makeDeployment({ replicas: 5 }), old));
  t.true(deployments.generationChanged!({ ...old, metadata: { ...old.metadata, annotations: { a: 'b' } } }, old));
  t.false(deployments.generationChanged!({ ...old, metadata: { ...old.metadata, labels: { a: 'b' } } }, old));
});

test('a new object’s status is the server’s', async (t) => {
  const deployment = makeDeployment({}, { status: { replicas: 7 } });
  await deployments.prepareForCreate(deployment, strategyContext());
  t.deepEqual(deployment.status, {});
});

test('columns of a Deployment', (t) => {
  const deployment = makeDeployment(
    { replicas: 3 },
    { status: { readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1 } },
  );
  t.deepEqual(
    deployments.columns.map((one) => one.cell(deployment, NOW_MS)),
    ['web', '2/3', 3, 1, '5s', 'web', 'nginx:1', 'app=web'],
  );
});

test('a status that cannot be', (t) => {
  const deployment = makeDeployment({}, { status: { replicas: 1, readyReplicas: 2, availableReplicas: 3 } });
  t.deepEqual(errorTexts(deployments.status!.validateUpdate!(deployment, makeDeployment())), [
    'status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas',
    'status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas',
    'status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas',
  ]);
});

test('scale shows and sets replicas', (t) => {
  const scale = deployments.subresources['scale'] as ProjectionSubresource<Deployment>;
  const deployment = makeDeployment({ replicas: 3 }, { status: { replicas: 2 } });
  const shown = scale.project(deployment);
  t.like(shown, {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    spec: { replicas: 3 },
    status: { replicas: 2, selector: 'app=web' },
  });
  t.is(shown.metadata.name, 'web');
  const wanted = { ...shown, spec: { replicas: 5 } };
  t.deepEqual(scale.validate(wanted), []);
  scale.apply(deployment, wanted);
  t.is(deployment.spec.replicas, 5);
  t.deepEqual(errorTexts(scale.validate({ ...shown, spec: { replicas: -2 } } as never)), [
    'spec.replicas: Invalid value: -2: must be greater than or equal to 0',
  ]);
});

test('ReplicaSets', (t) => {
  const replicaSet = {
    metadata: meta('web-1', { creationTimestamp: '2026-01-02T03:04:00Z' }),
    spec: { selector: { matchLabels: { app: 'web' } }, template: structuredClone(template) },
    status: { replicas: 2, readyReplicas: 1 },
  };
  replicaSets.applyDefaults(replicaSet);
  t.deepEqual(replicaSets.validate(replicaSet), []);
  t.deepEqual(
    replicaSets.columns.map((one) => one.cell(replicaSet, NOW_MS)),
    ['web-1', 1, 2, 1, '5s', 'web', 'nginx:1', 'app=web'],
  );
  t.is(replicaSets.selectableFields['status.replicas']?.(replicaSet), '2');
});
