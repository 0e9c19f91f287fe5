import test from 'ava';
import { whyNotUsable } from '../../../proxy/ipvs/usable.ts';
import { run } from '../../../src/linux/exec.ts';
import { hasIpvs } from '../../support/ipvs.ts';
import { createTestNetns } from '../../support/netns.ts';

test('mode ipvs on a kernel without IPVS: refused by name, and nothing is left of the tries', async (t) => {
  if (await hasIpvs(t)) return t.pass('this kernel has IPVS: test/uml runs the mode itself');
  const netns = await createTestNetns(t, 'none');
  const why = await whyNotUsable('IPv4', 'rr', { run, netns: netns.path });
  t.is(why, 'the kernel has no IPVS (generic netlink family "IPVS"): it needs the module ip_vs');
  t.is(await netns.run('ipset', ['list', '-n']), '');
  t.deepEqual(
    (await netns.ipJson<{ ifname: string }>('link', 'show')).map(({ ifname }) => ifname),
    ['lo'],
  );
});
