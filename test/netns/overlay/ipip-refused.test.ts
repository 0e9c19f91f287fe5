/** Backend ipip where the kernel lacks its tunnels; with them: test/uml/overlay-ipip.test.ts. */
import test from 'ava';
import { createIpip } from '../../../cni/overlay/ipip/ipip.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createOverlaySwitch } from '../../support/overlay-hosts.ts';

const hasIpip = await run('unshare', ['-n', 'ip', 'link', 'add', 'try', 'type', 'ipip', 'local', '192.0.2.1']).then(
  () => true,
  () => false,
);

(hasIpip ? test.skip : test)(
  'a kernel without IPIP is told by name, with the ways out, and nothing half-made stays',
  async (t) => {
    const host = await (await createOverlaySwitch(t)).addHost(1);
    const deps = { log: silentLogger, clock: systemClock, hostNetns: host.path };
    const backend = createIpip({ directRouting: false }, deps);
    t.teardown(() => backend.close());
    await t.throwsAsync(backend.ensure(await host.self()), {
      message:
        'overlay ipip: this kernel has no IPIP: load its module (modprobe ipip) or choose another backend (vxlan, host-gw)',
    });
    t.notRegex(await host.ip('link'), /flannel/);
    await t.notThrowsAsync(backend.remove());
  },
);
