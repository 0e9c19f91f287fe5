import { parseGoBool } from '../../../src/config/go-bool.ts';

/** `topologyManagerPolicyOptions`, parsed. */
export interface TopologyPolicyOptions {
  preferClosestNumaNodes: boolean;
  maxAllowableNumaNodes: number;
}

/** Upstream's, and its least value for the option. */
const DEFAULT_MAX_NUMA_NODES = 8;
/** All sets of nodes are weighed, between two ticks of the event loop: 4,096 of them. */
const MOST_NUMA_NODES = 12;

/**
 * Reads the options; `refuse` is told of each that cannot be taken.
 * @param refuse option, value, what is accepted
 */
export function parseTopologyPolicyOptions(
  options: Readonly<Record<string, string>>,
  refuse: (option: string, value: string, accepted: string) => void = () => {},
): TopologyPolicyOptions {
  const parsed: TopologyPolicyOptions = {
    preferClosestNumaNodes: false,
    maxAllowableNumaNodes: DEFAULT_MAX_NUMA_NODES,
  };
  for (const [name, value] of Object.entries(options)) {
    if (name === 'prefer-closest-numa-nodes') {
      const truth = parseGoBool(value);
      if (truth === undefined) refuse(name, value, '"true" or "false"');
      else parsed.preferClosestNumaNodes = truth;
    } else if (name === 'max-allowable-numa-nodes') {
      const count = /^\d{1,4}$/.test(value) ? Number(value) : 0;
      if (count < DEFAULT_MAX_NUMA_NODES || count > MOST_NUMA_NODES)
        refuse(name, value, `an integer from ${DEFAULT_MAX_NUMA_NODES} to ${MOST_NUMA_NODES}`);
      else parsed.maxAllowableNumaNodes = count;
    } else refuse(name, value, 'the options prefer-closest-numa-nodes, max-allowable-numa-nodes');
  }
  return parsed;
}
