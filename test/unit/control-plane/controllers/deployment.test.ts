import test from 'ava';
import { createDeploymentController } from '../../../../control-plane/controllers/deployment.ts';
import { createReplicaSetController } from '../../../../control-plane/controllers/replicaset.ts';
import { ApiError, statusFromText } from '../../../../src/kube/errors.ts';
import { deployments, pods, replicaSets } from '../../../../src/kube/resources.ts';
import { createScene, draftDeployment, runPods } from './scene.ts';

type Scene = ReturnType<typeof createScene>;

async function startBoth(scene: Scene) {
  await scene.start(createDeploymentController(scene.dependencies), createReplicaSetController(scene.dependencies));
}

/** Pods start and end at once, until nothing changes any more; `observe` sees every state between. */
async function runToEnd(scene: Scene, observe: () => void = () => {}) {
  for (let round = 0; round < 12; round++) {
    runPods(scene.client);
    await scene.settle();
    observe();
  }
}

const deployment = (scene: Scene) => scene.client.peek(deployments, 'default/web')!;
const setImage = (scene: Scene, image: string) =>
  scene.client.edit(deployments, 'default/web', ({ spec }) => {
    spec.template.spec!.containers[0]!.image = image;
  });
const condition = (scene: Scene, type: string) =>
  deployment(scene).status?.conditions?.find((one) => one.type === type);
const sizes = (scene: Scene) =>
  scene.client
    .all(replicaSets)
    .map((one) => [one.metadata.annotations?.['deployment.kubernetes.io/revision'], one.spec.replicas]);

test('a new Deployment: one ReplicaSet, revision 1, complete when all are available', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(3));
  await startBoth(scene);
  const [replicaSet] = scene.client.all(replicaSets);
  const hash = replicaSet!.metadata.labels!['pod-template-hash']!;
  t.is(replicaSet!.metadata.name, `web-${hash}`);
  t.is(replicaSet!.spec.selector.matchLabels!['pod-template-hash'], hash);
  t.like(replicaSet!.metadata.annotations, {
    'deployment.kubernetes.io/revision': '1',
    'deployment.kubernetes.io/desired-replicas': '3',
    'deployment.kubernetes.io/max-replicas': '4',
  });
  t.is(deployment(scene).metadata.annotations?.['deployment.kubernetes.io/revision'], '1');
  t.like(condition(scene, 'Progressing'), { status: 'True', reason: 'ReplicaSetUpdated' });
  t.like(condition(scene, 'Available'), { status: 'False', reason: 'MinimumReplicasUnavailable' });
  await runToEnd(scene);
  t.like(deployment(scene).status, { replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3 });
  t.is(deployment(scene).status?.observedGeneration, deployment(scene).metadata.generation);
  t.like(condition(scene, 'Progressing'), {
    status: 'True',
    reason: 'NewReplicaSetAvailable',
    message: `ReplicaSet "web-${hash}" has successfully progressed.`,
  });
  t.like(condition(scene, 'Available'), { status: 'True', reason: 'MinimumReplicasAvailable' });
  t.true(scene.told.includes(`Normal ScalingReplicaSet: Scaled up replica set web-${hash} from 0 to 3`));
});

test('a rolling update never has too many or too few pods; undo brings the old ReplicaSet back as a new revision', async (t) => {
  const scene = createScene(t);
  scene.client.seed(
    deployments,
    draftDeployment(4, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } } }),
  );
  await startBoth(scene);
  await runToEnd(scene);
  setImage(scene, 'web:2');
  await runToEnd(scene, () => {
    const total = scene.client.all(replicaSets).reduce((sum, one) => sum + one.spec.replicas!, 0);
    const available = scene.client.all(pods).filter((pod) => pod.status?.phase === 'Running').length;
    t.true(total <= 5, `${total} wanted`);
    t.true(available >= 3, `${available} available`);
  });
  t.deepEqual(sizes(scene), [
    ['1', 0],
    ['2', 4],
  ]);
  setImage(scene, 'web:1');
  await runToEnd(scene);
  t.deepEqual(sizes(scene), [
    ['3', 4],
    ['2', 0],
  ]);
  t.is(scene.client.all(replicaSets)[0]!.metadata.annotations?.['deployment.kubernetes.io/revision-history'], '1');
  t.is(deployment(scene).metadata.annotations?.['deployment.kubernetes.io/revision'], '3');
});

test('Recreate: the new pods start only after the old ones are gone', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(2, { strategy: { type: 'Recreate' } }));
  await startBoth(scene);
  await runToEnd(scene);
  for (const { metadata } of scene.client.all(pods))
    scene.client.edit(pods, `default/${metadata.name}`, ({ spec }) => {
      spec.nodeName = 'n';
    });
  setImage(scene, 'web:2');
  await scene.settle();
  t.true(
    scene.client.all(pods).every((pod) => pod.metadata.deletionTimestamp),
    'old pods end with grace',
  );
  t.is(scene.client.all(replicaSets).length, 1);
  await runToEnd(scene);
  t.deepEqual(sizes(scene), [
    ['1', 0],
    ['2', 2],
  ]);
  t.true(scene.client.all(pods).every((pod) => pod.spec.containers[0]!.image === 'web:2'));
});

test('paused: template changes wait, scaling does not', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(2));
  await startBoth(scene);
  await runToEnd(scene);
  scene.client.edit(deployments, 'default/web', ({ spec }) => {
    spec.paused = true;
    spec.replicas = 3;
    spec.template.spec!.containers[0]!.image = 'web:2';
  });
  await runToEnd(scene);
  t.deepEqual(sizes(scene), [['1', 3]]);
  t.like(condition(scene, 'Progressing'), { status: 'Unknown', reason: 'DeploymentPaused' });
  scene.client.edit(deployments, 'default/web', ({ spec }) => {
    spec.paused = false;
  });
  await runToEnd(scene);
  t.deepEqual(sizes(scene), [
    ['1', 0],
    ['2', 3],
  ]);
});

test('revisionHistoryLimit keeps the newest', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(1, { revisionHistoryLimit: 1 }));
  await startBoth(scene);
  for (const image of ['web:1', 'web:2', 'web:3', 'web:4']) {
    setImage(scene, image);
    await runToEnd(scene);
  }
  t.deepEqual(sizes(scene), [
    ['3', 0],
    ['4', 1],
  ]);
});

test('the progress deadline is told although nothing happens', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(1, { progressDeadlineSeconds: 60 }));
  await startBoth(scene);
  t.like(condition(scene, 'Progressing'), { status: 'True' });
  await scene.clock.advance(62_000);
  await scene.settle();
  t.like(condition(scene, 'Progressing'), { status: 'False', reason: 'ProgressDeadlineExceeded' });
  await runToEnd(scene);
  t.like(condition(scene, 'Progressing'), { status: 'True', reason: 'NewReplicaSetAvailable' });
});

test('a taken name raises the collision count', async (t) => {
  const probe = createScene(t);
  probe.client.seed(deployments, draftDeployment(1));
  await probe.start(createDeploymentController(probe.dependencies));
  const { name } = probe.client.all(replicaSets)[0]!.metadata;

  const scene = createScene(t);
  scene.client.seed(replicaSets, {
    metadata: { name, namespace: 'default' },
    spec: { replicas: 0, selector: { matchLabels: { app: 'alien' } } },
  });
  scene.client.seed(deployments, draftDeployment(1));
  await startBoth(scene);
  t.is(deployment(scene).status?.collisionCount, 1);
  t.is(scene.client.all(replicaSets).length, 2);
});

test('a ReplicaSet that can not be made is told', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(1));
  const refusal = new ApiError(statusFromText(403, 'quota', 'x'));
  for (let tries = 0; tries < 2; tries++) scene.client.failNext('create', 'replicasets', refusal);
  await scene.start(createDeploymentController(scene.dependencies));
  t.like(condition(scene, 'Progressing'), { status: 'False', reason: 'ReplicaSetCreateError' });
  t.regex(scene.told[0]!, /^Warning ReplicaSetCreateError/);
});

test('nothing is written when nothing changes', async (t) => {
  const scene = createScene(t);
  scene.client.seed(deployments, draftDeployment(3));
  await startBoth(scene);
  await runToEnd(scene);
  const before = scene.client.writes.length;
  scene.client.edit(deployments, 'default/web', ({ metadata }) => {
    metadata.labels = { touched: 'yes' };
  });
  await scene.settle();
  t.deepEqual(scene.client.writes.slice(before), []);
});
