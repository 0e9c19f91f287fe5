import test from 'ava';
import type { BindingPlan } from '../../../../control-plane/controllers/volumes/binding-plan.ts';
import { type ClaimView, planClaim } from '../../../../control-plane/controllers/volumes/claim-plan.ts';
import { planVolume } from '../../../../control-plane/controllers/volumes/volume-plan.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../../src/kube/types.ts';
import { makeClaim, makeClass, makeVolume } from './samples.ts';

const COMPLETED = { 'pv.kubernetes.io/bind-completed': 'yes' };
const BY_CONTROLLER = { 'pv.kubernetes.io/bound-by-controller': 'yes' };

const view = (volumes: PersistentVolume[], rest: Partial<ClaimView> = {}): ClaimView => ({
  volumes,
  classes: [],
  waitingPods: [],
  ...rest,
});

/** Carries the plan out on copies until nothing is left to do; what was written, in order. */
function settle(claim: PersistentVolumeClaim, around: ClaimView) {
  const steps: string[] = [];
  let current = claim;
  const volumes = new Map(around.volumes.map((volume) => [volume.metadata.name, volume]));
  let plan: BindingPlan = {};
  for (let round = 0; round < 10; round++) {
    plan = planClaim(current, { ...around, volumes: [...volumes.values()] });
    if (!plan.write) break;
    steps.push(plan.write.to);
    if (plan.write.to === 'claim' || plan.write.to === 'claimStatus') current = plan.write.object;
    else volumes.set(plan.write.object.metadata.name, plan.write.object as PersistentVolume);
  }
  return { steps, claim: current, volumes, note: plan.note };
}

test('a claim and a volume become one in four writes, and then there is nothing left to do', (t) => {
  const { steps, claim, volumes } = settle(makeClaim('c', { size: '500Mi' }), view([makeVolume('v')]));
  t.deepEqual(steps, ['volume', 'volumeStatus', 'claim', 'claimStatus']);
  t.is(claim.spec.volumeName, 'v');
  t.deepEqual(claim.metadata.annotations, { ...COMPLETED, ...BY_CONTROLLER });
  t.deepEqual(claim.status, { phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } });
  const volume = volumes.get('v')!;
  t.like(volume.spec.claimRef, { kind: 'PersistentVolumeClaim', namespace: 'default', name: 'c', uid: 'uid-c' });
  t.deepEqual(volume.metadata.annotations, BY_CONTROLLER);
  t.is(volume.status?.phase, 'Bound');
});

test('what a user has reserved is not marked as the controller’s choice', (t) => {
  const reserved = makeVolume('v', { spec: { claimRef: { namespace: 'default', name: 'c' } } });
  const { claim, volumes } = settle(makeClaim('c', { spec: { volumeName: 'v' } }), view([reserved]));
  t.is(claim.status?.phase, 'Bound');
  t.deepEqual(claim.metadata.annotations, COMPLETED);
  t.is(volumes.get('v')!.metadata.annotations, undefined);
  t.is(volumes.get('v')!.spec.claimRef?.uid, 'uid-c');
});

test('a binding that was cut off after any write goes on where it stopped', (t) => {
  const start = { claim: makeClaim('c'), volume: makeVolume('v') };
  for (let cut = 1; cut < 4; cut++) {
    let { claim, volume } = start;
    for (let step = 0; step < cut; step++) {
      const { write } = planClaim(claim, view([volume]));
      if (write!.to === 'claim' || write!.to === 'claimStatus') claim = write!.object as PersistentVolumeClaim;
      else volume = write!.object as PersistentVolume;
    }
    const done = settle(claim, view([volume, makeVolume('a')]));
    t.is(done.claim.spec.volumeName, 'v', `after ${cut} writes`);
    t.is(done.volumes.get('a')!.spec.claimRef, undefined);
  }
});

const waiting = makeClass('late', { volumeBindingMode: 'WaitForFirstConsumer' });
const lateClaim = makeClaim('c', { spec: { storageClassName: 'late' } });
const lateVolume = makeVolume('v', { spec: { storageClassName: 'late' } });

const NOTES: [string, PersistentVolumeClaim, ClaimView, string | undefined][] = [
  [
    'nothing fits and no class',
    makeClaim('c'),
    view([]),
    'Normal FailedBinding: no persistent volumes available for this claim and no storage class is set',
  ],
  [
    'a class that is not there',
    makeClaim('c', { spec: { storageClassName: 'fast' } }),
    view([]),
    'Warning ProvisioningFailed: storageclass.storage.k8s.io "fast" not found',
  ],
  [
    'waits for a pod',
    lateClaim,
    view([lateVolume], { classes: [waiting] }),
    'Normal WaitForFirstConsumer: waiting for first consumer to be created before binding',
  ],
  [
    'waits for its pod to get a node',
    lateClaim,
    view([lateVolume], { classes: [waiting], waitingPods: ['web-0'] }),
    'Normal WaitForPodScheduled: waiting for pod web-0 to be scheduled',
  ],
  [
    'a class whose volumes people make',
    makeClaim('c', { spec: { storageClassName: 'm' } }),
    view([], { classes: [makeClass('m')] }),
    'Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner',
  ],
  [
    'an external provisioner',
    makeClaim('c', { spec: { storageClassName: 'x' } }),
    view([], { classes: [makeClass('x', { provisioner: 'x.example' })] }),
    "Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'x.example' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
  ],
  [
    'a named volume that is too small',
    makeClaim('c', { size: '2Gi', spec: { volumeName: 'v' } }),
    view([makeVolume('v')]),
    'Warning VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small',
  ],
  [
    'a named volume of somebody else',
    makeClaim('c', { spec: { volumeName: 'v' } }),
    view([makeVolume('v', { of: makeClaim('other') })]),
    'Warning FailedBinding: volume "v" already bound to a different claim.',
  ],
  ['a named volume that is yet to come', makeClaim('c', { spec: { volumeName: 'v' } }), view([]), undefined],
  ['a claim on its way out', makeClaim('c', { deleted: true }), view([makeVolume('v')]), undefined],
];
for (const [title, claim, around, expected] of NOTES)
  test(`claim stays Pending: ${title}`, (t) => {
    const { claim: after, note } = settle(claim, around);
    t.is(after.status?.phase, 'Pending');
    t.is(note && `${note.type} ${note.reason}: ${note.message}`, expected);
  });

test('an external provisioner finds its name on the claim', (t) => {
  const classes = [makeClass('x', { provisioner: 'x.example' })];
  const { claim } = settle(makeClaim('c', { spec: { storageClassName: 'x' } }), view([], { classes }));
  t.deepEqual(claim.metadata.annotations, {
    'volume.kubernetes.io/storage-provisioner': 'x.example',
    'volume.beta.kubernetes.io/storage-provisioner': 'x.example',
  });
});

test('once a node is chosen, or the scheduler has reserved a volume, a waiting claim is bound', (t) => {
  const classes = [waiting];
  const reserved = makeVolume('v', {
    spec: { storageClassName: 'late', claimRef: { namespace: 'default', name: 'c', uid: 'uid-c' } },
  });
  t.is(settle(lateClaim, view([reserved], { classes })).claim.status?.phase, 'Bound');
  const chosen = makeClaim('c', {
    annotations: { 'volume.kubernetes.io/selected-node': 'n1' },
    spec: { storageClassName: 'late' },
  });
  t.is(settle(chosen, view([lateVolume], { classes })).claim.spec.volumeName, 'v');
});

test('a claim that leaves its class open gets the default one as soon as there is one', (t) => {
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  const standard = makeClass('standard', { metadata: { ...makeClass('standard').metadata, annotations } });
  const open = makeClaim('c', { spec: { storageClassName: undefined } });
  t.is(settle(open, view([], { classes: [standard] })).claim.spec.storageClassName, 'standard');
  t.is(
    settle(makeClaim('c'), view([], { classes: [standard] })).claim.spec.storageClassName,
    '',
    'an empty one is a wish',
  );
});

test('a bound claim whose volume is gone, or somebody else’s, is Lost', (t) => {
  const bound = makeClaim('c', { phase: 'Bound', annotations: COMPLETED, spec: { volumeName: 'v' } });
  for (const [around, reason] of [
    [view([]), 'ClaimLost'],
    [view([makeVolume('v', { of: makeClaim('other') })]), 'ClaimMisbound'],
  ] as const) {
    const plan = planClaim(bound, around);
    t.is(plan.note?.reason, reason);
    t.is(settle(bound, around).claim.status?.phase, 'Lost');
  }
});

const owner = makeClaim('c', { phase: 'Bound', spec: { volumeName: 'v' } });
const HOST_PATH_DELETE = { persistentVolumeReclaimPolicy: 'Delete' };

test('a volume’s phases', (t) => {
  const phase = (volume: PersistentVolume, claim?: PersistentVolumeClaim) => {
    const { write } = planVolume(volume, claim);
    return write?.to === 'volumeStatus' ? write.object.status?.phase : write?.to;
  };
  t.is(phase(makeVolume('v', { phase: 'Pending' })), 'Available');
  t.is(phase(makeVolume('v')), undefined);
  t.is(
    phase(makeVolume('v', { phase: 'Pending', spec: { claimRef: { namespace: 'default', name: 'c' } } })),
    'Available',
  );
  t.is(phase(makeVolume('v', { of: owner }), owner), 'Bound');
  t.is(phase(makeVolume('v', { phase: 'Bound', of: owner }), owner), undefined);
  t.is(phase(makeVolume('v', { phase: 'Bound', of: owner }), undefined), 'Released');
  t.is(
    phase(makeVolume('v', { phase: 'Bound', of: owner }), { ...owner, metadata: { ...owner.metadata, uid: 'new' } }),
    'Released',
    'a claim of the same name is another',
  );
});

test('a volume whose claim took another one is free again', (t) => {
  const elsewhere = makeClaim('c', { spec: { volumeName: 'w' } });
  const { write } = planVolume(makeVolume('v', { phase: 'Bound', of: owner, annotations: BY_CONTROLLER }), elsewhere);
  t.is(write?.to, 'volume');
  t.is((write!.object as PersistentVolume).spec.claimRef, undefined);
  t.deepEqual(write!.object.metadata.annotations, {});
  const byUser = planVolume(makeVolume('v', { phase: 'Bound', of: owner }), elsewhere).write!
    .object as PersistentVolume;
  t.deepEqual(byUser.spec.claimRef, { namespace: 'default', name: 'c' } as never);
});

test('reclaim: Retain keeps, Delete removes a hostPath, other kinds and Recycle fail by name', (t) => {
  const released = (spec: object, rest: object = {}) =>
    makeVolume('v', { phase: 'Released', of: owner, spec, ...rest });
  t.deepEqual(planVolume(released({}), undefined), {});
  t.deepEqual(planVolume(released(HOST_PATH_DELETE), undefined), { deleteHostPath: '/tmp/v' });
  t.deepEqual(
    planVolume(released(HOST_PATH_DELETE, { annotations: { 'pv.kubernetes.io/provisioned-by': 'x' } }), undefined),
    {},
    'its provisioner’s to delete',
  );
  const local = planVolume(released({ ...HOST_PATH_DELETE, hostPath: undefined, local: { path: '/mnt' } }), undefined);
  t.like(local.note, {
    reason: 'VolumeFailedDelete',
    message: 'error getting deleter volume plugin for volume "v": no deletable volume plugin matched',
  });
  t.is((local.write!.object as PersistentVolume).status?.phase, 'Failed');
  t.is(
    planVolume(released({ persistentVolumeReclaimPolicy: 'Recycle' }), undefined).note?.reason,
    'VolumeFailedRecycle',
  );
  const failed = local.write!.object as PersistentVolume;
  t.deepEqual(planVolume(failed, undefined), {}, 'said once');
});
