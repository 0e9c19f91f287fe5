import type { Duplex } from 'node:stream';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { Pod } from '../../src/kube/types.ts';
import { connectInNetns } from '../../src/linux/netns-connect.ts';
import type { PodDirectory } from '../pods/ports.ts';

/** What servers in pods listen on, in the order they are tried. */
const LOOPBACK = ['127.0.0.1', '::1'];

/** Connects to ports on pods' own loopback, as port-forward does it: also what listens on 127.0.0.1 only is reached, and no policy asked. */
export function createPodConnector(deps: {
  pods: Pick<PodDirectory, 'runtime'>;
  docker: Pick<DockerEngine, 'inspectContainer'>;
}): (pod: Pod, port: number, signal: AbortSignal) => Promise<Duplex> {
  return async (pod, port, signal) => {
    const { uid, name } = pod.metadata;
    const sandbox = deps.pods.runtime(uid)?.sandboxes.find(({ state }) => state === 'running');
    if (!sandbox) throw new Error(`pod ${name} is not running`);
    const { pid } = await deps.docker.inspectContainer(sandbox.id, signal);
    if (pid === undefined) throw new Error(`the sandbox of pod ${name} has ended`);
    const failures: Error[] = [];
    for (const address of LOOPBACK)
      try {
        return await connectInNetns(`/proc/${pid}/ns/net`, address, port, signal);
      } catch (error) {
        failures.push(error as Error);
      }
    throw new Error(`error forwarding port ${port} to pod ${name}, uid ${uid}: ${failures[0]!.message}`, {
      cause: failures[0],
    });
  };
}
