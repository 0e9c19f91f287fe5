import test from 'ava';
import { parseMountInfo, readMounts } from '../../../src/linux/mounts.ts';

test('parses a line with optional fields and escapes', (t) => {
  const text = '36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n';
  t.deepEqual(parseMountInfo(text), [
    {
      id: 36,
      parentId: 35,
      device: '98:0',
      root: '/mnt1',
      target: '/mnt two',
      options: ['rw', 'noatime'],
      type: 'ext3',
      source: '/dev/root',
      superOptions: ['rw', 'errors=continue'],
    },
  ]);
});

test('reads the own mounts', (t) => {
  t.true(readMounts().some((mount) => mount.target === '/proc' && mount.type === 'proc'));
});
