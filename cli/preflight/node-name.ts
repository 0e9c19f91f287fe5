import type { KubeClient } from '../../src/kube/client.ts';
import { leases, nodes } from '../../src/kube/resources.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { UserError } from '../output/failure.ts';

const LEASE_NAMESPACE = 'kube-node-lease';
const LEASE_SECONDS = 40;
const POLL_MS = 500;
const ASK_TIMEOUT_MS = 5000;

/**
 * Two hosts under one name would take each other's pods. Where the Node says Ready from another address, its lease is watched for half its
 * duration, in which a live host renews it twice; clocks are not compared. A host that died and was replaced just goes on after that wait.
 *
 * @throws UserError when the other host lives. What the API server doesn't answer is left to the agent, which tries again.
 */
export async function checkNodeNameIsFree(
  { nodeName, nodeIps }: { nodeName: string; nodeIps: readonly string[] },
  { client, clock, signal }: { client: KubeClient; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const soon = () => AbortSignal.any([signal, AbortSignal.timeout(ASK_TIMEOUT_MS)]);
  const node = await client.get(nodes, { name: nodeName, signal: soon() }).catch(() => undefined);
  const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  const other = node?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  if (ready !== 'True' || other === undefined || nodeIps.includes(other)) return;
  const lease = () =>
    client
      .get(leases, { namespace: LEASE_NAMESPACE, name: nodeName, signal: soon() })
      .then(({ spec }) => spec)
      .catch(() => undefined);
  const first = await lease();
  if (!first?.renewTime) return;
  const untilMs = clock.monotonicMs() + ((first.leaseDurationSeconds ?? LEASE_SECONDS) * 1000) / 2;
  while (clock.monotonicMs() < untilMs) {
    await clock.sleep(POLL_MS, signal);
    const now = await lease();
    if (now?.renewTime && now.renewTime !== first.renewTime)
      throw new UserError(
        `node ${nodeName} lives already, on the host with the address ${other}: give this one another name with --node-name (and a kubeconfig for it), or stop the other`,
      );
  }
}
