/** A process that attaches one sandbox to the pod network and is killed meanwhile; arguments: host namespace, pod namespace, lease directory. */
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';

const [hostNetns, netnsPath, dataDir] = process.argv.slice(2) as [string, string, string];
const network = createPodNetwork(
  { podCidrs: () => ['10.244.1.0/28'], dataDir, cacheDir: dataDir, hostNetns },
  { log: silentLogger, clock: systemClock },
);
const sandbox = { sandboxId: 'crash', netnsPath, namespace: 'ns', name: 'pod', uid: 'uid', hostPorts: [] };
process.stdout.write('ready\n');
for (;;) {
  await network.attach(sandbox, new AbortController().signal);
  await network.detach(sandbox);
}
