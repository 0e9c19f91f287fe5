import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createSubnetFileMtu } from '../../../../cni/invoke/subnet-file-mtu.ts';

test('the MTU of the file of this node’s pod network, and of no other; read again when it changes', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'subnet-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'subnet.env');
  const write = (subnet: string, mtu: number | string, seconds: number) => {
    writeFileSync(
      file,
      `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=${subnet}\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=true\n`,
    );
    utimesSync(file, seconds, seconds);
  };
  const mtuOf = createSubnetFileMtu(file);
  const own = ['10.244.1.0/24', 'fd00::/64'];
  t.is(mtuOf(own), undefined, 'no file');
  write('10.244.1.1/24', 1450, 1000);
  t.is(mtuOf(own), 1450);
  t.is(mtuOf(['10.244.2.0/24']), undefined);
  t.is(mtuOf([]), undefined);
  write('10.244.1.1/24', 1370, 2000);
  t.is(mtuOf(own), 1370);
  write('10.244.1.1/24', 'half', 3000);
  t.is(mtuOf(own), undefined);
});
