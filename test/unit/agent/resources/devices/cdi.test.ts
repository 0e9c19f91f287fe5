import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { withDevices, withDeviceVariables } from '../../../../../agent/containers/device-settings.ts';
import { createCdiDirectories } from '../../../../../agent/resources/devices/cdi/cdi-directories.ts';
import { expressEdits } from '../../../../../agent/resources/devices/cdi/cdi-edits.ts';
import { parseCdiName, parseCdiSpec } from '../../../../../agent/resources/devices/cdi/cdi-spec.ts';
import { createContainerDevices } from '../../../../../agent/resources/devices/container-devices.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { podOf } from '../../pod.ts';

const SPEC = `
cdiVersion: 0.6.0
kind: vendor.com/gpu
containerEdits:
  env: [VENDOR=1]
  mounts: [{hostPath: /opt/lib, containerPath: /usr/lib/vendor, options: [ro, nosuid, bind]}]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/gpu0}, {path: /dev/ctl, hostPath: /dev/real-ctl, permissions: r}]
    additionalGids: [44, 0, 44]
- name: "1"
  containerEdits: {env: [INDEX=1]}
- name: hooked
  containerEdits: {hooks: [{hookName: createContainer, path: /usr/bin/hook}]}
`;

test('CDI devices are looked up, the later directory first, and expressed as settings of the Engine', async (t) => {
  const folder = await mkdtemp('/tmp/berth-unit-cdi-');
  t.teardown(() => rm(folder, { recursive: true }));
  const [etc, run] = [join(folder, 'etc'), join(folder, 'run')];
  const cdi = createCdiDirectories([etc, run, join(folder, 'missing')], { log: silentLogger });
  await t.throwsAsync(cdi.resolve(['vendor.com/gpu=0']), {
    message: /^unresolvable CDI device vendor\.com\/gpu=0: none of .* describes it$/,
  });
  await Promise.all([etc, run].map((path) => mkdir(path)));
  await writeFile(join(etc, 'vendor.yaml'), SPEC);
  await writeFile(join(etc, 'broken.json'), '{"cdiVersion":');
  await writeFile(join(etc, 'notes.txt'), 'not one');
  const edits = await cdi.resolve(['vendor.com/gpu=0', 'vendor.com/gpu=1']);
  t.deepEqual(expressEdits(edits), {
    env: new Map([
      ['VENDOR', '1'],
      ['INDEX', '1'],
    ]),
    devices: [
      { containerPath: '/dev/gpu0', hostPath: '/dev/gpu0', permissions: 'rwm' },
      { containerPath: '/dev/ctl', hostPath: '/dev/real-ctl', permissions: 'r' },
    ],
    mounts: [{ hostPath: '/opt/lib', containerPath: '/usr/lib/vendor', readOnly: true }],
    groups: ['44'],
  });
  const hooked = await cdi.resolve(['vendor.com/gpu=hooked']);
  t.throws(() => expressEdits(hooked), {
    message: /^the CDI device vendor\.com\/gpu=hooked has hooks, which this Docker Engine cannot be told: Engine 25/,
  });
  const own =
    '{"cdiVersion": "1.0.0", "kind": "vendor.com/gpu", "devices": [{"name": "1", "containerEdits": {"env": ["NEW=1"]}}]}';
  await writeFile(join(run, 'a.json'), own);
  t.deepEqual([...expressEdits(await cdi.resolve(['vendor.com/gpu=1'])).env], [['NEW', '1']]);
  await writeFile(join(run, 'b.json'), own);
  await t.throwsAsync(cdi.resolve(['vendor.com/gpu=1']), { message: /is described twice: .*a\.json, .*b\.json$/ });
  await t.throwsAsync(cdi.resolve(['gpu0']), { message: /^"gpu0" is not the name of a CDI device/ });
});

test('other parts of an OCI specification are refused by name', (t) => {
  const express = (edits: object) => expressEdits([{ device: 'a.b/c=d', edits }]);
  t.throws(() => express({ intelRdt: { closID: 'x' } }), { message: /has intelRdt/ });
  t.throws(() => express({ netDevices: [{}] }), { message: /has netDevices/ });
  t.throws(() => express({ mounts: [{ hostPath: 'tmpfs', containerPath: '/x', type: 'tmpfs' }] }), {
    message: /mounts a tmpfs at \/x/,
  });
  t.notThrows(() => express({ hooks: [], netDevices: [] }));
});

for (const [name, text, message] of [
  ['no object', 'x', /it is not a CDI specification/],
  ['no version', 'kind: a.b/c\ndevices: []', /cdiVersion undefined is not supported/],
  ['a later version', 'cdiVersion: 2.0.0\nkind: a.b/c\ndevices: []', /cdiVersion "2\.0\.0" is not supported/],
  ['no kind', 'cdiVersion: 0.6.0\ndevices: []', /kind undefined is invalid/],
  ['no devices', 'cdiVersion: 0.6.0\nkind: a.b/c', /devices is not a list/],
  ['a strange device', 'cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: "a b"}]', /device name "a b" is invalid/],
] as const)
  test(`a CDI specification that is none: ${name}`, (t) => {
    t.throws(() => parseCdiSpec(text), { message });
  });

test('names of CDI devices', (t) => {
  t.deepEqual(parseCdiName('vendor.com/gpu=GPU-1:0'), { kind: 'vendor.com/gpu', device: 'GPU-1:0' });
  for (const name of ['', 'gpu', 'vendor.com/gpu', 'vendor.com/gpu=', '/gpu=0', 'vendor.com/=0', 'v/c=a b'])
    t.throws(() => parseCdiName(name), { message: /is not the name of a CDI device/ });
});

test('an Engine with CDI is told the names; one without gets what they stand for', async (t) => {
  const options = {
    env: new Map([['A', '1']]),
    devices: [],
    mounts: [],
    annotations: {},
    cdiDevices: ['vendor.com/gpu=0'],
  };
  const manager = { prepare: async () => options };
  const cdi = { resolve: async () => [{ device: 'x', edits: { env: ['B=2'], additionalGids: [5] } }] };
  const pod = podOf();
  const prepare = (engineHasCdi: boolean) =>
    createContainerDevices({ manager, cdi, engineHasCdi }).prepare(pod, pod.spec.containers[0]!);
  t.like(await prepare(true), { cdiDevices: ['vendor.com/gpu=0'], groups: [] });
  t.like(await prepare(false), { cdiDevices: [], groups: ['5'], overridingEnv: new Map([['B', '2']]) });
});

test('a container’s configuration with its devices; what the pod says itself stays', (t) => {
  const settings = {
    env: new Map([
      ['A', 'device'],
      ['B', 'device'],
    ]),
    overridingEnv: new Map([['C', 'cdi']]),
    devices: [
      { hostPath: '/dev/g0', containerPath: '/dev/g', permissions: 'r' },
      { hostPath: '/dev/g1', containerPath: '/dev/g1', permissions: '' },
    ],
    mounts: [
      { hostPath: '/opt/x', containerPath: '/x', readOnly: true },
      { hostPath: '/opt/y', containerPath: '/y', readOnly: false },
    ],
    annotations: { 'x.com/a': '1' },
    groups: ['44'],
    cdiDevices: ['v/c=0'],
  };
  const config = {
    Image: 'i',
    Labels: { l: '1' },
    HostConfig: { Mounts: [{ Type: 'bind' as const, Source: '/own', Target: '/y' }], GroupAdd: ['1'] },
  };
  t.is(withDevices(config, undefined), config);
  t.deepEqual(withDevices(config, settings), {
    Image: 'i',
    Labels: { l: '1', 'annotation.x.com/a': '1' },
    HostConfig: {
      Mounts: [
        { Type: 'bind', Source: '/own', Target: '/y' },
        {
          Type: 'bind',
          Source: '/opt/x',
          Target: '/x',
          ReadOnly: true,
          BindOptions: { ReadOnlyNonRecursive: true },
        },
      ],
      GroupAdd: ['1', '44'],
      Devices: [
        { PathOnHost: '/dev/g0', PathInContainer: '/dev/g', CgroupPermissions: 'r' },
        { PathOnHost: '/dev/g1', PathInContainer: '/dev/g1', CgroupPermissions: 'rwm' },
      ],
      Annotations: { 'x.com/a': '1' },
      DeviceRequests: [{ Driver: 'cdi', DeviceIDs: ['v/c=0'] }],
    },
  });
  const own = new Map([
    ['B', 'pod'],
    ['C', 'pod'],
  ]);
  t.is(withDeviceVariables(own, undefined), own);
  t.deepEqual(Object.fromEntries(withDeviceVariables(own, settings)), { A: 'device', B: 'pod', C: 'cdi' });
});
