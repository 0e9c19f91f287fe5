import { nodes as nodeResource, objectKey } from '../../src/kube/resources.ts';
import type { Node } from '../../src/kube/types.ts';
import { type CidrSet, createCidrSet } from './cidr-set.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';

export interface NodeIpamOptions {
  /** All pods' networks: one, or one of each address family, the cluster's default first. */
  networks: readonly {
    /** '10.244.0.0/16' */
    cidr: string;
    /** Prefix length of a node's share: 24, and 64 of IPv6. */
    nodeMask: number;
  }[];
}

/** Gives every node podCIDRs of its own, one of each network; they are free again only when their node is gone. */
export function createNodeIpamController(options: NodeIpamOptions, dependencies: ControllerDependencies): Controller {
  const { client, informers, log, events } = dependencies;
  const nodes = informers.informer(nodeResource);
  const networks = options.networks.map((network) => ({
    ...network,
    blocks: createCidrSet(network.cidr, network.nodeMask),
  }));
  /** What was given out but is not in the informer yet, by node uid. */
  const given = new Map<string, string[]>();

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
    const taken = nodes.list().flatMap((one) => podCidrsOf(one) ?? given.get(one.metadata.uid) ?? []);
    const podCIDRs =
      given.get(uid) ??
      networks.map(({ blocks, cidr, nodeMask }) => {
        const block = nextFreeBlock(blocks, taken);
        if (block) return block;
        events.event(node, 'Normal', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
        throw new Error(
          `no podCIDR is left for node ${name}: all ${blocks.size} blocks of /${nodeMask} in ${cidr} are taken`,
        );
      });
    given.set(uid, podCIDRs);
    const patch = { metadata: { uid }, spec: { podCIDR: podCIDRs[0], podCIDRs } };
    await client.patch(nodeResource, { name, type: 'merge', patch });
    log.info({ node: name, podCIDRs }, 'gave the node its podCIDRs');
  }

  /** podCIDR can't be changed once set: two nodes with the same one are told, since their pods can't reach each other. */
  function tellConflict(node: Node) {
    const own = podCidrsOf(node) ?? [];
    const rival = nodes.list().find((one) => one !== node && podCidrsOf(one)?.some((cidr) => own.includes(cidr)));
    if (!rival) return;
    const shared = podCidrsOf(rival)?.find((cidr) => own.includes(cidr));
    const message = `podCIDR ${shared} is also that of node ${rival.metadata.name}; delete one of the two Node objects and let it register again`;
    log.error({ node: node.metadata.name, rival: rival.metadata.name }, message);
    events.event(node, 'Warning', 'CIDRConflict', message);
  }

  return controller;
}

function podCidrsOf({ spec }: Node): readonly string[] | undefined {
  if (spec?.podCIDRs?.length) return spec.podCIDRs;
  return spec?.podCIDR ? [spec.podCIDR] : undefined;
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
