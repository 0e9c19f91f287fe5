import test from 'ava';
import { parseDeviceCheckpoint, renderDeviceCheckpoint } from '../../../../../agent/resources/devices/checkpoint.ts';

/** As kubelets have written it. */
const OF_KUBELETS = [
  '{"Data":{"PodDeviceEntries":[{"PodUID":"bf52b2cd-b611-4e79-86b1-280b283185c3","ContainerName":"check","ResourceName":"nvidia.com/gpu","DeviceIDs":{"-1":["tegra"]},"AllocResp":"Ch8KFk5WSURJQV9WSVNJQkxFX0RFVklDRVMSBXRlZ3Jh"}],"RegisteredDevices":{"nvidia.com/gpu":["tegra"]}},"Checksum":3660592824}',
  '{"Data":{"PodDeviceEntries":[{"PodUID":"9a15d2b5-c152-46b9-96e0-d57032629e1f","ContainerName":"app","ResourceName":"nvidia.com/gpu","DeviceIDs":{"1":["GPU-9b341c59-f96b-ba85-c137-78c3652fea65","GPU-c1e9f249-b37b-81c2-a8d9-ba5ca0294841"]},"AllocResp":"CmsKFk5WSURJQV9WSVNJQkxFX0RFVklDRVMSUUdQVS1jMWU5ZjI0OS1iMzdiLTgxYzItYThkOS1iYTVjYTAyOTQ4NDEsR1BVLTliMzQxYzU5LWY5NmItYmE4NS1jMTM3LTc4YzM2NTJmZWE2NRokCg4vZGV2L252aWRpYWN0bBIOL2Rldi9udmlkaWFjdGwaAnJ3GiYKDy9kZXYvbnZpZGlhLXV2bRIPL2Rldi9udmlkaWEtdXZtGgJydxoyChUvZGV2L252aWRpYS11dm0tdG9vbHMSFS9kZXYvbnZpZGlhLXV2bS10b29scxoCcncaLgoTL2Rldi9udmlkaWEtbW9kZXNldBITL2Rldi9udmlkaWEtbW9kZXNldBoCcncaIAoML2Rldi9udmlkaWExEgwvZGV2L252aWRpYTEaAnJ3GiAKDC9kZXYvbnZpZGlhMhIML2Rldi9udmlkaWEyGgJydw=="}],"RegisteredDevices":{"nvidia.com/gpu":["GPU-77a702db-e37f-3a74-d46d-c5713f66058c","GPU-9b341c59-f96b-ba85-c137-78c3652fea65","GPU-c1e9f249-b37b-81c2-a8d9-ba5ca0294841"]}},"Checksum":2530956716}',
];

test("kubelets' checkpoints are read, and written byte for byte as they were", (t) => {
  const [one, two] = OF_KUBELETS.map(parseDeviceCheckpoint);
  t.deepEqual(one!.entries[0]!.response.envs, { NVIDIA_VISIBLE_DEVICES: 'tegra' });
  t.deepEqual([...one!.entries[0]!.devices], [[-1, ['tegra']]]);
  t.is(two!.entries[0]!.response.devices.length, 6);
  t.deepEqual(two!.entries[0]!.response.devices.at(-1), {
    containerPath: '/dev/nvidia2',
    hostPath: '/dev/nvidia2',
    permissions: 'rw',
  });
  t.is(two!.registered.get('nvidia.com/gpu')!.length, 3);
  t.deepEqual([renderDeviceCheckpoint(one!), renderDeviceCheckpoint(two!)], OF_KUBELETS);
});

test('a checkpoint of an agent without plugins', (t) => {
  const text = renderDeviceCheckpoint({ entries: [], registered: new Map() });
  t.like(JSON.parse(text), { Data: { PodDeviceEntries: null, RegisteredDevices: {} } });
  t.deepEqual(parseDeviceCheckpoint(text), { entries: [], registered: new Map() });
});

const tampered = OF_KUBELETS[0]!;
const REFUSED: [string, string, RegExp][] = [
  ['cut off', tampered.slice(0, -30), /it is not JSON/],
  ['empty', '', /it is not JSON/],
  ['a list', '[]', /it is not a JSON object/],
  ['nothing in it', '{}', /it has no Data/],
  ['changed by hand', tampered.replace('tegra', 'tegrb'), /its checksum is 3660592824, that of its content \d+/],
  ['without its checksum', tampered.replace(',"Checksum":3660592824', ''), /its checksum is undefined/],
  ['entries of another shape', '{"Data":{"PodDeviceEntries":{}},"Checksum":1}', /PodDeviceEntries is not a list/],
  [
    'an entry without a pod',
    tampered.replace('"PodUID":"bf52b2cd-b611-4e79-86b1-280b283185c3",', ''),
    /Data\.PodDeviceEntries\[0\]\.PodUID is not a text/,
  ],
  ['devices without nodes', tampered.replace('{"-1":["tegra"]}', '{"x":["tegra"]}'), /\[0\]\.DeviceIDs does not give/],
  [
    'registered devices of another shape',
    '{"Data":{"PodDeviceEntries":[],"RegisteredDevices":{"x.com/d":3}},"Checksum":1}',
    /RegisteredDevices\[x\.com\/d\] is not a list of device ids/,
  ],
];
for (const [name, text, message] of REFUSED)
  test(`a corrupt checkpoint says what is wrong with it: ${name}`, (t) => {
    t.throws(() => parseDeviceCheckpoint(text), { name: 'CorruptCheckpointError', message });
  });
