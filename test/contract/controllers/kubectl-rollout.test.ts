import test from 'ava';
import { deployments } from '../../../src/kube/resources.ts';
import { createKubectl, findKubectl } from '../../support/kubectl.ts';
import { startWorkloadCluster } from '../../support/workload-cluster.ts';

const found = await findKubectl();
// The name of the skipped test says why.
const check = 'program' in found ? test.serial : test.serial.skip;
const suffix = 'skip' in found ? ` (skipped: ${found.skip})` : '';

check(`kubectl create, set image, rollout status, history, undo, restart, scale, describe${suffix}`, async (t) => {
  const { server, client } = await startWorkloadCluster(t);
  const pair = await server.credentials('admin', ['system:masters']);
  const kubectl = await createKubectl('program' in found ? found.program : '', { ...server, pair });
  t.teardown(() => kubectl.dispose());
  const status = () => kubectl.ok(['rollout', 'status', 'deployment/web', '--timeout=20s']);
  const live = () => client.get(deployments, { namespace: 'default', name: 'web' });
  const image = async () => (await live()).spec.template.spec!.containers[0]!.image;

  await kubectl.ok(['create', 'deployment', 'web', '--image=web:1', '--replicas=3']);
  t.regex(await status(), /successfully rolled out/);
  await kubectl.ok(['set', 'image', 'deployment/web', 'web=web:2']);
  t.regex(await status(), /successfully rolled out/);
  const history = await kubectl.ok(['rollout', 'history', 'deployment/web']);
  t.regex(history, /^1 +/m);
  t.regex(history, /^2 +/m);
  t.regex(await kubectl.ok(['rollout', 'history', 'deployment/web', '--revision=1']), /web:1/);

  await kubectl.ok(['rollout', 'undo', 'deployment/web']);
  t.regex(await status(), /successfully rolled out/);
  t.is(await image(), 'web:1');
  t.regex(await kubectl.ok(['rollout', 'history', 'deployment/web']), /^3 +/m);

  const before = (await live()).metadata.generation!;
  await kubectl.ok(['rollout', 'restart', 'deployment/web']);
  t.regex(await status(), /successfully rolled out/);
  t.true((await live()).metadata.generation! > before);

  await kubectl.ok(['scale', 'deployment/web', '--replicas=5']);
  t.regex(await status(), /successfully rolled out/);
  t.is((await live()).status?.availableReplicas, 5);

  await kubectl.ok(['rollout', 'pause', 'deployment/web']);
  await kubectl.ok(['rollout', 'resume', 'deployment/web']);
  t.regex(await kubectl.ok(['get', 'deployments']), /^web +5\/5 +5 +5 +/m);
  t.regex(await kubectl.ok(['get', 'replicasets', '--no-headers']), /^web-\S+ +5 +5 +5 +/m);
  t.regex(
    await kubectl.ok(['describe', 'deployment', 'web']),
    /ScalingReplicaSet.*Scaled up replica set web-\S+ from 0 to 3/,
  );
  await kubectl.ok(['delete', 'deployment', 'web', '--cascade=foreground', '--timeout=20s']);
  t.regex((await kubectl.run(['get', 'pods,rs'])).stderr, /No resources found/);
});
