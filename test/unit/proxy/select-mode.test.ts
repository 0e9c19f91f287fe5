import test from 'ava';
import { createLeftovers, removeAllModes } from '../../../proxy/leftovers.ts';
import type { ModeName, ProxyMode } from '../../../proxy/mode.ts';
import { selectMode } from '../../../proxy/select-mode.ts';
import { followServiceCidrs, type ServiceCidr } from '../../../proxy/service-cidrs.ts';
import type { IpFamily } from '../../../src/netfilter/tables.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeSource } from '../../support/proxy-world.ts';

const BOTH: readonly IpFamily[] = ['IPv4', 'IPv6'];

/** @param lacking why the host cannot do a family in the mode */
function modeOf(name: ModeName, lacking: Partial<Record<IpFamily, string>> = {}, cleaned: string[] = []): ProxyMode {
  return {
    name,
    usable: async (family) => lacking[family],
    proxier: () => {
      throw new Error('not asked for');
    },
    async cleanup(family, successor) {
      if (lacking[family]) throw new Error(lacking[family]);
      cleaned.push(`${name} ${family} ${successor ?? ''}`.trim());
    },
  };
}

const modesOf = (...modes: ProxyMode[]) => Object.fromEntries(modes.map((mode) => [mode.name, mode]));
const NO = { IPv4: 'no such kernel', IPv6: 'no such kernel' };

test('auto takes the best that can be, and says why not a better one', async (t) => {
  const modes = modesOf(modeOf('nftables', NO), modeOf('iptables'), modeOf('userspace'));
  const { mode, families, reason } = await selectMode({ wanted: 'auto', modes, families: BOTH, primary: 'IPv4' });
  t.deepEqual([mode.name, families], ['iptables', BOTH]);
  t.is(reason, 'nftables: no IPv4: no such kernel, no IPv6: no such kernel');
});

test('a mode without the family of the node’s own address is of no use; without the other it serves one', async (t) => {
  const modes = modesOf(modeOf('nftables', { IPv4: 'x' }), modeOf('iptables', { IPv6: 'y' }));
  const four = await selectMode({ wanted: 'auto', modes, families: BOTH, primary: 'IPv4' });
  t.deepEqual([four.mode.name, four.families], ['iptables', ['IPv4']]);
  t.regex(four.reason, /no IPv6: y/);
  const six = await selectMode({ wanted: 'auto', modes, families: BOTH, primary: 'IPv6' });
  t.deepEqual([six.mode.name, six.families], ['nftables', ['IPv6']]);
});

test('a mode that was asked for by name is never replaced by another', async (t) => {
  const modes = modesOf(modeOf('ipvs', NO), modeOf('iptables'));
  const error = await t.throwsAsync(selectMode({ wanted: 'ipvs', modes, families: BOTH, primary: 'IPv4' }));
  t.regex(error!.message, /proxy mode "ipvs" cannot run on this host: ipvs: no IPv4: no such kernel.*or to "auto"/);
  await t.throwsAsync(
    selectMode({ wanted: 'auto', modes: modesOf(modeOf('ipvs', NO)), families: BOTH, primary: 'IPv4' }),
    {
      message: /no proxy mode can run on this host: .*nftables: this version does not have it.*ipvs: no IPv4/,
    },
  );
});

test('what other modes left is removed once for each family, and again only after a failure', async (t) => {
  const cleaned: string[] = [];
  let fails = true;
  const flaky: ProxyMode = {
    ...modeOf('ipvs'),
    async cleanup(family) {
      if (fails) throw new Error('busy');
      cleaned.push(`ipvs ${family}`);
    },
  };
  const modes = modesOf(
    modeOf('iptables', {}, cleaned),
    modeOf('nftables', NO, cleaned),
    flaky,
    modeOf('userspace', {}, cleaned),
  );
  const leftovers = createLeftovers('userspace', modes, silentLogger);
  await leftovers.remove('IPv4');
  t.deepEqual(cleaned.splice(0), ['iptables IPv4 userspace']);
  fails = false;
  await leftovers.remove('IPv4');
  t.deepEqual(cleaned.splice(0), ['ipvs IPv4']);
  await leftovers.remove('IPv4');
  t.deepEqual(cleaned, []);
  fails = true;
  const error = await t.throwsAsync(removeAllModes(modes, BOTH), { message: /busy; busy/ });
  t.notRegex(error!.message, /no such kernel/, 'where it cannot run, there is nothing of it');
  t.deepEqual(cleaned, ['iptables IPv4', 'iptables IPv6', 'userspace IPv4', 'userspace IPv6']);
});

test('blocks of ServiceCIDRs are told when they change, sorted, without doubles', (t) => {
  const source = createFakeSource<ServiceCidr>();
  const told: (readonly string[])[] = [];
  const stop = followServiceCidrs(source, (cidrs) => told.push(cidrs));
  const cidr = (name: string, ...cidrs: string[]) =>
    ({ metadata: { name }, spec: { cidrs } }) as unknown as ServiceCidr;
  source.put(cidr('kubernetes', '10.96.0.0/12', 'fd00:96::/112'));
  source.put(cidr('more', '10.112.0.0/16'), cidr('more', '10.112.0.0/16', '10.96.0.0/12'));
  source.remove(cidr('more'));
  stop();
  source.put(cidr('late', '10.113.0.0/16'));
  t.deepEqual(told, [
    ['10.96.0.0/12', 'fd00:96::/112'],
    ['10.112.0.0/16', '10.96.0.0/12', 'fd00:96::/112'],
    ['10.96.0.0/12', 'fd00:96::/112'],
  ]);
});
