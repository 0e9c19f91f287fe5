import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { PROXY_FLAGS } from '../../../cli/commands/proxy-flags.ts';
import { createConfigWatch, loadProxyConfig, writeProxyConfig } from '../../../cli/roots/proxy-config.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';

const HEAD = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

function fileWith(t: ExecutionContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'proxy-config-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'config.yaml');
  writeFileSync(file, text);
  return file;
}

test('every flag of the table leads to a field, and what is written out reads back the same', (t) => {
  const values: Record<string, string> = {
    mode: 'auto',
    bindAddress: '10.0.0.1',
    clusterCIDR: '10.244.0.0/16',
    detectLocalMode: 'NodeCIDR',
    nodePortAddresses: '10.0.0.0/8',
    'ipvs.scheduler': 'mh',
    'ipvs.excludeCIDRs': '10.1.0.0/16',
    'berth.externalIPCIDRs': '198.51.100.0/24',
    featureGates: 'A=true',
  };
  const overrides = PROXY_FLAGS.map(([flag, field]) => {
    const kind = /<(\w+)/.exec(flag)![1]!;
    const byKind = { bool: 'true', duration: '20s', n: '7', ip: '127.0.0.1:1', cidrs: '10.0.0.0/8' }[kind];
    return { flag, field, value: values[field] ?? byKind ?? 'x' };
  });
  const config = loadProxyConfig({ overrides });
  t.like(config, { mode: 'auto', ipvs: { scheduler: 'mh' }, berth: { externalIPCIDRs: ['198.51.100.0/24'] } });
  const file = fileWith(t, '');
  writeProxyConfig(config, file);
  t.deepEqual(loadProxyConfig({ config: file, overrides: [] }), config);
  t.regex(
    readFileSync(file, 'utf8'),
    /^apiVersion: kubeproxy\.config\.k8s\.io\/v1alpha1\nkind: KubeProxyConfiguration\n/,
  );
});

test('another configuration ends the proxy; a file that is touched, gone or back does not', async (t) => {
  const file = fileWith(t, `${HEAD}mode: iptables\n`);
  const clock = createFakeClock();
  const controller = new AbortController();
  let ended: Error | undefined;
  const done = createConfigWatch(file, clock)
    .run(controller.signal)
    .catch((error) => {
      ended = error;
    });
  const look = async () => {
    await clock.advance(2000);
    await settle();
  };
  writeFileSync(file, `${HEAD}mode: iptables\n`);
  await look();
  rmSync(file);
  await look();
  writeFileSync(file, `${HEAD}mode: iptables\n`);
  await look();
  t.is(ended, undefined);
  writeFileSync(file, `${HEAD}mode: nftables\n`);
  await look();
  await done;
  t.regex(ended!.message, /config\.yaml has changed: ending, to be started again/);
});
