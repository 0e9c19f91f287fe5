import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  type CachedAttachment,
  openAttachmentCache,
  parseAttachment,
  renderAttachment,
} from '../../../../cni/invoke/attachment-cache.ts';

const attachment: CachedAttachment = {
  network: 'cbr0',
  containerId: 'abc',
  ifname: 'eth0',
  netns: '/proc/7/ns/net',
  configuration: '{"name":"cbr0","plugins":[{"type":"bridge"}]}',
  args: { IgnoreUnknown: '1', K8S_POD_NAME: 'web' },
  capabilityArgs: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }] },
  result: { cniVersion: '1.0.0', ips: [{ address: '10.244.1.2/24' }], dns: {} },
  isOurs: true,
  isOfEarlierBoot: false,
};

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'cni-cache-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

test('a file as libcni writes it: name, kind, base64 configuration, pairs of arguments, modes', async (t) => {
  const path = directory(t);
  const cache = openAttachmentCache(path);
  await cache.put(attachment);
  const file = join(path, 'results/cbr0-abc-eth0');
  t.deepEqual(JSON.parse(readFileSync(file, 'utf8')), {
    kind: 'cniCacheV1',
    containerId: 'abc',
    config: Buffer.from(attachment.configuration!).toString('base64'),
    ifName: 'eth0',
    networkName: 'cbr0',
    netns: '/proc/7/ns/net',
    cniArgs: [
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAME', 'web'],
    ],
    capabilityArgs: attachment.capabilityArgs,
    result: attachment.result,
    runtime: 'berth',
  });
  t.is(statSync(file).mode & 0o777, 0o600);
  t.is(statSync(join(path, 'results')).mode & 0o777, 0o700);
  t.deepEqual(openAttachmentCache(path).of('abc'), [attachment], 'read back by the next process');
  await cache.remove(attachment);
  await cache.remove(attachment);
  t.deepEqual([cache.list(), readdirSync(join(path, 'results'))], [[], []]);
});

test('what other runtimes wrote is read; what is none is passed over or told', (t) => {
  const path = directory(t);
  const folder = join(path, 'results');
  mkdirSync(folder);
  const { runtime, ...theirs } = {
    runtime: '',
    kind: 'cniCacheV1',
    containerId: 'x',
    config: 'e30=',
    ifName: 'lo',
    networkName: 'cni-loopback',
  };
  writeFileSync(join(folder, 'cni-loopback-x-lo'), JSON.stringify(theirs));
  writeFileSync(join(folder, 'old-x-eth0'), '{"cniVersion":"0.3.1","ips":[]}');
  writeFileSync(join(folder, 'cut-x-eth0'), '{"kind":"cniCac');
  writeFileSync(join(folder, '.draft-x-eth0'), '{');
  writeFileSync(join(folder, 'empty-x-eth0'), '{"kind":"cniCacheV1"}');
  const cache = openAttachmentCache(path);
  t.like(cache.list(), {
    length: 1,
    0: { network: 'cni-loopback', ifname: 'lo', isOurs: false, netns: '', result: undefined, args: {} },
  });
  t.deepEqual(cache.problems.map((problem) => problem.replace(folder, '').replace(/:.*/, '')).sort(), [
    '/cut-x-eth0',
    '/empty-x-eth0',
  ]);
  t.false(existsSync(join(folder, 'cut')));
  t.is(parseAttachment('null'), undefined);
});

test('refresh: what other runtimes have written since and what they have taken away; copies and ours are no matter', async (t) => {
  const path = directory(t);
  const cache = openAttachmentCache(path);
  t.deepEqual(cache.refresh(), []);
  await cache.put(attachment);
  const theirs = { ...attachment, network: 'net', containerId: 'theirs', isOurs: false };
  const file = join(path, 'results/net-theirs-eth0');
  writeFileSync(file, renderAttachment(theirs));
  writeFileSync(`${file}.bak`, renderAttachment(theirs));
  writeFileSync(join(path, 'results/net-half-eth0'), '{"kind":');
  t.deepEqual(cache.refresh(), [theirs]);
  t.deepEqual(cache.refresh(), [], 'once');
  t.deepEqual(cache.of('theirs'), [theirs]);
  rmSync(file);
  t.deepEqual(cache.refresh(), []);
  t.deepEqual(cache.list(), [attachment]);
});
