/** A process that attaches one sandbox to a configured network, or detaches it too, and is killed while a plugin hangs. Arguments: host and pod namespace, directory, `attach` or `detach`. */
import { join } from 'node:path';
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';

const [hostNetns, netnsPath, base, until] = process.argv.slice(2) as [string, string, string, string];
const network = createPodNetwork(
  {
    mode: 'directory',
    confDir: join(base, 'net.d'),
    binDirs: [join(base, 'bin')],
    cacheDir: base,
    podCidrs: () => [],
    hostNetns,
  },
  { log: silentLogger, clock: systemClock },
);
const sandbox = { sandboxId: 'id-one', netnsPath, namespace: 'default', name: 'one', uid: 'uid', hostPorts: [] };
await network.attach(sandbox, new AbortController().signal);
if (until === 'detach') await network.detach(sandbox);
