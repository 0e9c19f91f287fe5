import test from 'ava';
import { whyNotUsable } from '../../../proxy/ipvs/usable.ts';
import { run } from '../../../src/linux/exec.ts';
import { whyNoIpvs } from '../../support/ipvs.ts';
import { createTestNetns } from '../../support/netns.ts';

const here = (await whyNoIpvs()) ? test : test.skip;

here('mode ipvs on a kernel without IPVS: refused by name, and nothing is left of the tries', async (t) => {
  const netns = await createTestNetns(t, 'none');
  const why = await whyNotUsable('IPv4', 'rr', { run, netns: netns.path });
  t.is(why, 'the kernel has no IPVS (generic netlink family "IPVS"): it needs the module ip_vs');
  t.is(await netns.run('ipset', ['list', '-n']), '');
  t.deepEqual(
    (await netns.ipJson<{ ifname: string }>('link', 'show')).map(({ ifname }) => ifname),
    ['lo'],
  );
});
