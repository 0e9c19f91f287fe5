import { nodes as nodeResource, objectKey } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import { type CidrSet, createCidrSet } from './cidr-set.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';

export interface NodeIpamOptions {
  /** All pods' network: '10.244.0.0/16'. */
  clusterCidr: string;
  /** Prefix length of a node's share: 24. */
  nodeMask: number;
}

/** Gives every node a podCIDR of its own; one is free again only when its node is gone. */
export function createNodeIpamController(options: NodeIpamOptions, dependencies: ControllerDependencies): Controller {
  const { client, informers, log, events } = dependencies;
  const nodes = informers.informer(nodeResource);
  const blocks = createCidrSet(options.clusterCidr, options.nodeMask);
  /** What was given out but is not in the informer yet, by node uid. */
  const given = new Map<string, string>();

  const controller = createReconciler(
    {
      name: 'node-ipam-controller',
      inputs: [nodes],
      // One at a time: two nodes must not be given the same block.
      concurrency: 1,
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  nodes.subscribe({
    added: (node) => queue.add(objectKey(node)),
    updated: (old, node) => old.spec?.podCIDR !== node.spec?.podCIDR && queue.add(objectKey(node)),
    deleted(gone) {
      given.delete(gone.metadata.uid);
      // A freed block may be what another node waits for.
      for (const node of nodes.list()) if (!node.spec?.podCIDR) queue.add(objectKey(node));
    },
  });

  async function reconcile(name: string): Promise<void> {
    const node = nodes.get(name);
    if (!node || node.metadata.deletionTimestamp) return;
    const { uid } = node.metadata;
    if (node.spec?.podCIDR) {
      given.delete(uid);
      return tellConflict(node);
    }
    const taken = nodes.list().flatMap((one) => one.spec?.podCIDR ?? given.get(one.metadata.uid) ?? []);
    const podCIDR = given.get(uid) ?? nextFreeBlock(blocks, taken);
    if (!podCIDR) {
      events.event(node, 'Normal', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
      throw new Error(
        `no podCIDR is left for node ${name}: all ${blocks.size} blocks of /${options.nodeMask} in ${options.clusterCidr} are taken`,
      );
    }
    given.set(uid, podCIDR);
    const patch = { metadata: { uid }, spec: { podCIDR, podCIDRs: [podCIDR] } };
    await client.patch(nodeResource, { name, type: 'merge', patch });
    log.info({ node: name, podCIDR }, 'gave the node its podCIDR');
  }

  /** podCIDR can't be changed once set: two nodes with the same one are told, since their pods can't reach each other. */
  function tellConflict(node: Node) {
    const rival = nodes.list().find((one) => one !== node && one.spec?.podCIDR === node.spec?.podCIDR);
    if (!rival) return;
    const message = `podCIDR ${node.spec?.podCIDR} is also that of node ${rival.metadata.name}; delete one of the two Node objects and let it register again`;
    log.error({ node: node.metadata.name, rival: rival.metadata.name }, message);
    events.event(node, 'Warning', 'CIDRConflict', message);
  }

  return controller;
}

/** The lowest block that no taken CIDR overlaps, whoever gave it and of whatever size. */
export function nextFreeBlock(blocks: CidrSet, taken: readonly string[]): string | undefined {
  const used = new Set<number>();
  for (const cidr of taken) {
    const { first, last } = blocks.overlap(cidr) ?? { first: 0, last: -1 };
    for (let index = first; index <= last; index++) used.add(index);
  }
  for (let index = 0; index < blocks.size; index++) if (!used.has(index)) return blocks.at(index);
  return undefined;
}
