import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readHostFacts } from '../../../../agent/node/host-facts.ts';

function facts(t: ExecutionContext, files: Record<string, string>) {
  const root = mkdtempSync(join(tmpdir(), 'berth-facts-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return readHostFacts(root, root);
}

const MEMORY = 'MemTotal:        2048 kB\nSwapTotal:       1024 kB\n';

test('swap is told where there is some, huge pages by their size', async (t) => {
  const { identity, capacity } = await facts(t, {
    'proc/meminfo': MEMORY,
    'proc/sys/kernel/pid_max': '4194304\n',
    'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '3\n',
    'sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages': '0\n',
  });
  t.deepEqual(identity.swap, { capacity: 1024 * 1024 });
  t.is(capacity.memoryBytes, 2048 * 1024);
  t.is(capacity.pidMax, 4_194_304);
  t.deepEqual(
    [...capacity.hugepages].sort((a, b) => a[0] - b[0]),
    [
      [2 ** 21, 3 * 2 ** 21],
      [2 ** 30, 0],
    ],
  );
  t.is((await facts(t, { 'proc/meminfo': 'MemTotal: 1 kB\nSwapTotal: 0 kB\n' })).identity.swap, undefined);
});

test('which machine it is: firmware, device tree, else the machine id', async (t) => {
  const id = { 'proc/meminfo': MEMORY, 'etc/machine-id': 'm-1\n' };
  t.like((await facts(t, { ...id, 'sys/class/dmi/id/product_uuid': 'dmi\n' })).identity, {
    machineID: 'm-1',
    systemUUID: 'dmi',
  });
  t.is((await facts(t, { ...id, 'proc/device-tree/vm,uuid': 'tree\0' })).identity.systemUUID, 'tree');
  t.is((await facts(t, id)).identity.systemUUID, 'm-1');
  t.is((await facts(t, { 'proc/meminfo': MEMORY, 'var/lib/dbus/machine-id': 'old\n' })).identity.machineID, 'old');
});

test('a kernel that tells nothing: zero, which keeps the node from being Ready', async (t) => {
  const { capacity, identity } = await facts(t, { 'etc/os-release': 'PRETTY_NAME="X 1"\n' });
  t.is(capacity.memoryBytes, 0);
  t.is(identity.osImage, 'X 1');
  t.is(identity.machineID, '');
});
