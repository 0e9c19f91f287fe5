import test from 'ava';
import type { ResourceDefinition } from '../../../../control-plane/apiserver/definition.ts';
import { csiDrivers } from '../../../../control-plane/resources/storage/csi-drivers.ts';
import { csiNodes } from '../../../../control-plane/resources/storage/csi-nodes.ts';
import { persistentVolumeClaims } from '../../../../control-plane/resources/storage/persistent-volume-claims.ts';
import { persistentVolumes } from '../../../../control-plane/resources/storage/persistent-volumes.ts';
import { storageClasses } from '../../../../control-plane/resources/storage/storage-classes.ts';
import { volumeAttachments } from '../../../../control-plane/resources/storage/volume-attachments.ts';
import type { CSIDriver, CSINode, KubeObject, StorageClass, VolumeAttachment } from '../../../../src/kube/types.ts';
import { errorTexts, meta, NOW_MS, strategyContext } from '../../../support/strategy-context.ts';
import { makeClaim, makeClass, makeVolume } from '../volumes/samples.ts';

const cells = <T extends KubeObject>({ columns }: ResourceDefinition<T>, object: T, priority: 0 | 1 = 0) =>
  columns.filter((one) => one.priority <= priority).map((one) => one.cell(object, NOW_MS));
const cluster = (name: string) => meta(name, { namespace: undefined, creationTimestamp: '2026-01-02T03:04:00Z' });

test('a new volume: defaults, protection, columns', async (t) => {
  const volume = makeVolume('v', {
    spec: { persistentVolumeReclaimPolicy: undefined, volumeMode: undefined, capacity: { storage: '1024Mi' } },
  });
  delete volume.status;
  persistentVolumes.applyDefaults(volume);
  await persistentVolumes.prepareForCreate(volume, strategyContext());
  t.like(volume.spec, {
    persistentVolumeReclaimPolicy: 'Retain',
    volumeMode: 'Filesystem',
    capacity: { storage: '1Gi' },
  });
  t.deepEqual(volume.metadata.finalizers, ['kubernetes.io/pv-protection']);
  t.deepEqual(volume.status, { phase: 'Pending' } as never);
  volume.metadata.creationTimestamp = '2026-01-02T03:04:00Z';
  volume.spec.claimRef = { namespace: 'team', name: 'data' };
  t.deepEqual(cells(persistentVolumes, volume, 1), [
    'v',
    '1Gi',
    'RWO',
    'Retain',
    'Pending',
    'team/data',
    '',
    '<unset>',
    '',
    '5s',
    'Filesystem',
  ]);
  t.is(
    cells(persistentVolumes, { ...volume, metadata: { ...volume.metadata, deletionTimestamp: 'x' } })[4],
    'Terminating',
  );
});

const VOLUMES: [string, object, string[]][] = [
  ['no source', { hostPath: undefined }, ['spec: Required value: must specify a volume type']],
  [
    'two sources',
    { nfs: { server: 's', path: '/p' } },
    ['spec.nfs: Forbidden: may not specify more than 1 volume type'],
  ],
  ['no access mode', { accessModes: [] }, ['spec.accessModes: Required value']],
  [
    'a strange access mode',
    { accessModes: ['Sometimes'] },
    [
      'spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
    ],
  ],
  [
    'ReadWriteOncePod with company',
    { accessModes: ['ReadWriteOnce', 'ReadWriteOncePod'] },
    ['spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes'],
  ],
  ['no capacity', { capacity: {} }, ['spec.capacity: Required value']],
  [
    'nothing in it',
    { capacity: { storage: '0' } },
    ['spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
  ],
  [
    'a strange policy',
    { persistentVolumeReclaimPolicy: 'Burn' },
    ['spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"'],
  ],
  [
    'recycling /',
    { persistentVolumeReclaimPolicy: 'Recycle', hostPath: { path: '/' } },
    ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
  ],
  [
    'a path with steps back',
    { hostPath: { path: '/a/../b' } },
    ['spec.hostPath.path: Invalid value: "/a/../b": must not contain \'..\''],
  ],
  [
    'local without a node',
    { hostPath: undefined, local: { path: '/mnt' } },
    ['spec.nodeAffinity: Required value: Local volume requires node affinity'],
  ],
  ['csi without a handle', { hostPath: undefined, csi: { driver: 'x' } }, ['spec.csi.volumeHandle: Required value']],
];
for (const [title, spec, expected] of VOLUMES)
  test(`invalid volume: ${title}`, (t) => {
    t.deepEqual(errorTexts(persistentVolumes.validate(makeVolume('v', { spec }))), expected);
  });

test('a volume’s source is for ever', (t) => {
  const volume = makeVolume('v');
  t.deepEqual(persistentVolumes.validateUpdate(makeVolume('v', { size: '2Gi' }), volume), []);
  t.deepEqual(
    errorTexts(persistentVolumes.validateUpdate(makeVolume('v', { spec: { hostPath: { path: '/other' } } }), volume)),
    ['spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation'],
  );
});

test('a new claim: protection, the default class unless it says none, columns', async (t) => {
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  const older = makeClass('old', {
    metadata: { ...makeClass('old').metadata, annotations, creationTimestamp: '2025-01-01T00:00:00Z' },
  });
  const newer = makeClass('new', { metadata: { ...makeClass('new').metadata, annotations } });
  const context = strategyContext(undefined, {
    storageclasses: [older, newer].map((one) => ({ ...one, metadata: { ...one.metadata, namespace: '' } })),
  });
  const open = makeClaim('c', { spec: { storageClassName: undefined } });
  await persistentVolumeClaims.prepareForCreate(open, context);
  t.is(open.spec.storageClassName, 'new', 'the newest wins');
  t.deepEqual(open.metadata.finalizers, ['kubernetes.io/pvc-protection']);
  const none = makeClaim('c');
  await persistentVolumeClaims.prepareForCreate(none, context);
  t.is(none.spec.storageClassName, '');

  const bound = makeClaim('c', { spec: { volumeName: 'v', storageClassName: 'x' } });
  bound.status = { phase: 'Bound', accessModes: ['ReadWriteMany', 'ReadOnlyMany'], capacity: { storage: '3Gi' } };
  bound.metadata.creationTimestamp = '2026-01-02T03:04:00Z';
  t.deepEqual(cells(persistentVolumeClaims, bound, 1), [
    'c',
    'Bound',
    'v',
    '3Gi',
    'ROX,RWX',
    'x',
    '<unset>',
    '5s',
    'Filesystem',
  ]);
  t.deepEqual(cells(persistentVolumeClaims, makeClaim('c')).slice(1, 5), ['Pending', '', '', '']);
});

test('invalid claims', (t) => {
  t.deepEqual(
    errorTexts(
      persistentVolumeClaims.validate(makeClaim('c', { spec: { accessModes: [], resources: {}, volumeMode: 'x' } })),
    ),
    [
      'spec.accessModes: Required value: at least 1 access mode is required',
      'spec.resources[storage]: Required value',
      'spec.volumeMode: Unsupported value: "x": supported values: "Block", "Filesystem"',
    ],
  );
});

test('what may change of a claim', async (t) => {
  const old = makeClaim('c');
  const changed = (spec: object) => errorTexts(persistentVolumeClaims.validateUpdate(makeClaim('c', { spec }), old));
  t.deepEqual(changed({ volumeName: 'v' }), []);
  const immutable =
    'spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims';
  t.deepEqual(changed({ storageClassName: 'x' }), [immutable]);
  t.deepEqual(changed({ resources: { requests: { storage: '5Gi' } } }), [immutable]);
  const bound = { ...old, status: { phase: 'Bound' as const, capacity: { storage: '1Gi' } } };
  const grown = makeClaim('c', { size: '5Gi', phase: 'Bound' });
  t.deepEqual(persistentVolumeClaims.validateUpdate(grown, bound), []);
  t.deepEqual(errorTexts(persistentVolumeClaims.validateUpdate(makeClaim('c', { size: '1Mi' }), bound)), [
    'spec.resources.requests.storage: Forbidden: field can not be less than status.capacity',
  ]);
  await t.throwsAsync(async () => persistentVolumeClaims.prepareForUpdate(grown, bound, strategyContext()), {
    message:
      /only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize/,
  });
});

test('classes: defaults, columns, what is refused', (t) => {
  const found = { metadata: cluster('fast'), provisioner: 'x.example/disk' } as StorageClass;
  found.metadata.annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  storageClasses.applyDefaults(found);
  t.deepEqual(cells(storageClasses, found), ['fast (default)', 'x.example/disk', 'Delete', 'Immediate', false, '5s']);
  t.deepEqual(storageClasses.validate(found), []);
  t.deepEqual(
    errorTexts(
      storageClasses.validate({
        ...found,
        provisioner: '',
        reclaimPolicy: 'Recycle',
        volumeBindingMode: 'Later' as never,
      }),
    ),
    [
      'provisioner: Required value',
      'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
      'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
    ],
  );
  t.deepEqual(errorTexts(storageClasses.validateUpdate({ ...found, parameters: { a: 'b' } }, found)), [
    'parameters: Forbidden: updates to parameters are forbidden.',
  ]);
});

test('CSI drivers and nodes, attachments', (t) => {
  const driver = { metadata: cluster('disk.example') } as CSIDriver;
  csiDrivers.applyDefaults(driver);
  t.deepEqual(cells(csiDrivers, driver), ['disk.example', true, false, false, '<unset>', false, 'Persistent', '5s']);
  t.deepEqual(csiDrivers.validate(driver), []);
  t.deepEqual(
    errorTexts(
      csiDrivers.validate({
        ...driver,
        spec: {
          ...driver.spec,
          fsGroupPolicy: 'Maybe',
          tokenRequests: [{ audience: 'a', expirationSeconds: 5 }, { audience: 'a' }],
        },
      }),
    ),
    [
      'spec.fsGroupPolicy: Unsupported value: "Maybe": supported values: "File", "None", "ReadWriteOnceWithFSType"',
      'spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes',
      'spec.tokenRequests[1].audience: Duplicate value: "a"',
    ],
  );

  const node: CSINode = {
    metadata: cluster('n1'),
    spec: { drivers: [{ name: 'disk.example', nodeID: 'n', topologyKeys: [] }] },
  };
  t.deepEqual(csiNodes.validate(node), []);
  t.deepEqual(cells(csiNodes, node), ['n1', 1, '5s']);
  const renamed = { ...node, spec: { drivers: [{ ...node.spec.drivers[0]!, nodeID: 'other' }] } };
  t.is(csiNodes.validateUpdate(renamed, node).length, 1);
  const sized = { ...node, spec: { drivers: [{ ...node.spec.drivers[0]!, allocatable: { count: 3 } }] } };
  t.deepEqual(csiNodes.validateUpdate(sized, node), []);

  const attachment = {
    metadata: cluster('a'),
    spec: { attacher: 'disk.example', nodeName: 'n1', source: { persistentVolumeName: 'pv' } },
  } as VolumeAttachment;
  volumeAttachments.applyDefaults(attachment);
  t.deepEqual(volumeAttachments.validate(attachment), []);
  t.deepEqual(cells(volumeAttachments, attachment), ['a', 'disk.example', 'pv', 'n1', false, '5s']);
  t.deepEqual(
    errorTexts(volumeAttachments.validate({ ...attachment, spec: { ...attachment.spec, nodeName: '', source: {} } })),
    [
      'spec.nodeName: Required value',
      'spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName',
    ],
  );
});
