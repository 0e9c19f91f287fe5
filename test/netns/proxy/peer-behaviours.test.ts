import test from 'ava';
import { findPeerProgram } from '../../../cli/kube-assets/assets.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { createPeerKubeProxy } from '../../support/peer-kube-proxy.ts';
import { BEHAVIOUR_NODE } from '../../support/proxy-behaviours.ts';
import { runBehaviours } from '../../support/proxy-behaviours-run.ts';
import { createWorld } from '../../support/proxy-world.ts';

const found = findPeerProgram('kube-proxy', process.env);
const skip = process.env['BERTH_TEST_FULL'] !== '1' ? 'only with --full' : 'skip' in found ? found.skip : undefined;
const title = "the table of behaviours on Debian's kube-proxy 1.20, whose differences it knows";

if (skip) test.skip(`${title} (${skip})`, (t) => t.pass());
else
  test(title, async (t) => {
    const world = await createWorld(t);
    writeSysctl('net.ipv4.icmp_ratelimit', '0', { netns: world.node.path });
    const kubeProxy = await createPeerKubeProxy(t, 'path' in found ? found.path : '', world.node.path);
    await kubeProxy.put(BEHAVIOUR_NODE);
    let isStarted = false;
    await runBehaviours(t, 'kube-proxy 1.20 iptables', world, {
      put: (services, slices) => kubeProxy.put(...services, ...slices),
      remove: (services) => kubeProxy.remove(...services),
      async synced() {
        if (isStarted) return;
        kubeProxy.start();
        isStarted = true;
        const written = async () =>
          (await world.node.run('iptables', ['-t', 'nat', '-S'])).includes('"ns/web cluster IP"');
        await eventually('the first sync', written).catch((error) => {
          t.log(kubeProxy.logs());
          throw error;
        });
      },
    });
  });
