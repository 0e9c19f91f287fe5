import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createIpamByName } from '../../../cni/programs/ipam.ts';
import type { CniResult } from '../../../cni/types.ts';
import { readNetConf } from '../../../cni/wire/net-conf.ts';
import { LAUNCHER_MARK } from '../../../cni/wire/own-launcher.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';

const REQUEST = { containerId: 'one', ifname: 'eth0', netns: '/proc/self/ns/net', args: { K8S_POD_NAME: 'web' } };
const RESULT: CniResult = { interfaces: [], ips: [{ address: '10.6.0.2/24' }], routes: [] };

/** A directory of plugins with one that tells what it was called with. */
function setUp(t: ExecutionContext, type: string, head = '') {
  const folder = mkdtempSync(join(tmpdir(), 'berth-ipam-name-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.6.0.2/24"}]}';
  writeFileSync(
    join(folder, type),
    `#!/bin/sh\n${head}\ncat >${folder}/stdin\necho "$CNI_COMMAND $CNI_ARGS" >${folder}/call\n[ "$CNI_COMMAND" = ADD ] && echo '${answer}'\nexit 0\n`,
    { mode: 0o755 },
  );
  const ipam = createIpamByName({ run, sleep: systemClock.sleep }, { path: [folder] });
  const conf = readNetConf({
    cniVersion: '1.1.0',
    name: 'net',
    type: 'bridge',
    ipam: { type, key: 'value', dataDir: join(folder, 'data'), subnet: '10.9.0.0/24' },
  });
  const seen = () => ({
    call: readFileSync(join(folder, 'call'), 'utf8').trim(),
    stdin: JSON.parse(readFileSync(join(folder, 'stdin'), 'utf8')),
  });
  return { folder, ipam, conf, seen };
}

test('another’s address manager gets the whole configuration, and what the specification adds to it', async (t) => {
  const { ipam, conf, seen } = setUp(t, 'theirs');
  t.deepEqual((await ipam.add(conf, REQUEST)).ips, RESULT.ips);
  t.is(seen().call, 'ADD K8S_POD_NAME=web');
  t.like(seen().stdin, { type: 'bridge', ipam: { key: 'value' } });
  t.is(seen().stdin.prevResult, undefined);
  await ipam.check(conf, REQUEST, RESULT);
  t.deepEqual(seen().stdin.prevResult.ips, [{ address: '10.6.0.2/24' }]);
  await ipam.del({ ...conf, prevResult: RESULT }, REQUEST);
  t.deepEqual([seen().call, seen().stdin.prevResult.ips[0].address], ['DEL K8S_POD_NAME=web', '10.6.0.2/24']);
  await ipam.gc(conf, [{ containerId: 'two', ifname: 'eth0' }]);
  t.is(seen().call, 'GC');
  t.deepEqual(seen().stdin['cni.dev/valid-attachments'], [{ containerID: 'two', ifname: 'eth0' }]);
  await ipam.status(conf);
  t.is(seen().call, 'STATUS');
});

test('a program that is installed under the name of one of ours is what runs; our own launcher is not started', async (t) => {
  const foreign = setUp(t, 'host-local');
  t.deepEqual((await foreign.ipam.add(foreign.conf, REQUEST)).ips, RESULT.ips);
  const own = setUp(t, 'host-local', LAUNCHER_MARK);
  t.is((await own.ipam.add(own.conf, REQUEST)).ips[0]!.address, '10.9.0.2/24');
  t.false(existsSync(join(own.folder, 'call')));
});

test('nobody of that name: where it was looked for', async (t) => {
  const { ipam, conf } = setUp(t, 'theirs');
  const nobody = { ...conf, ipam: { type: 'nobody' } };
  await t.throwsAsync(ipam.add(nobody, REQUEST), { code: 7, message: /failed to find plugin "nobody" in path \[/ });
});
