import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import { formatIp, fromBigInt, parsePrefix, toBigInt } from '../../src/linux/ip.ts';
import { UserError } from '../output/failure.ts';
import { pathsOf, type Settings } from '../settings.ts';

/** A further node of a cluster on the cluster's own machine, as it is to be. */
const recordSchema = z.strictObject({
  name: z.string(),
  /** On the switch; it stays the node's for as long as there is one. */
  address: z.string(),
  /** Stopped nodes are not started with the cluster. */
  runs: z.boolean(),
  /** Its cable is out. */
  partitioned: z.boolean(),
});

export type NodeRecord = Readonly<z.infer<typeof recordSchema>>;

/** Where the Engine listens, as the node itself sees it. */
export const NODE_ENGINE_SOCKET = '/var/lib/berth-node/docker.sock';

/** What belongs to such a node, below the cluster's folders. */
export function nodePathsOf(settings: Settings, name: string) {
  const folder = join(pathsOf(settings).nodes, name);
  return {
    folder,
    record: join(folder, 'node.json'),
    /** Its disk: Docker's data, pods' volumes, logs. */
    disk: join(folder, 'disk'),
    /** Its Engine's socket, which is on the disk so that this machine reaches it. */
    engineSocket: join(folder, 'disk/disk', NODE_ENGINE_SOCKET),
    pid: join(settings.runDir, `node-${name}.pid`),
    log: join(settings.logDir, `node-${name}.log`),
  };
}

/** Of the node's host. */
export const cgroupBranchOf = (name: string) => `berth-node-${name}`;

/** All of them, by name. Throws UserError for a file that is not ours. */
export function readRecords(settings: Settings): NodeRecord[] {
  const { nodes } = pathsOf(settings);
  if (!existsSync(nodes)) return [];
  return readdirSync(nodes)
    .map((name) => nodePathsOf(settings, name).record)
    .filter((file) => existsSync(file))
    .map((file) => {
      try {
        return recordSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
      } catch (error) {
        throw new UserError(`${file} is not what 'berth node add' writes: ${(error as Error).message}`);
      }
    })
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** `unix://…` of the Engines of those that are to run. */
export function nodeEngines(settings: Settings): string[] {
  return readRecords(settings)
    .filter(({ runs }) => runs)
    .map(({ name }) => `unix://${nodePathsOf(settings, name).engineSocket}`);
}

export async function writeRecord(settings: Settings, record: NodeRecord): Promise<void> {
  const { folder, record: file } = nodePathsOf(settings, record.name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await writeFileAtomically(file, `${JSON.stringify(record, null, 2)}\n`, 0o600);
}

/** The machine's own address on the switch: the network's first. */
export function machineAddress(network: string): string {
  return addressAt(network, 1);
}

/**
 * Names and addresses for `count` further nodes: `<machine>-2` and on, or the name that is given; the lowest addresses that
 * nobody has. Pure.
 * @throws UserError when the network is full or the name is taken.
 */
export function planRecords(
  cluster: { nodeName: string; nodesNetwork: string },
  existing: readonly NodeRecord[],
  wanted: { count: number; name?: string },
): NodeRecord[] {
  const names = new Set([cluster.nodeName, ...existing.map(({ name }) => name)]);
  const addresses = new Set(existing.map(({ address }) => address));
  if (wanted.name !== undefined && names.has(wanted.name))
    throw new UserError(`there is a node ${wanted.name} already: 'berth node list' shows the nodes of this machine`);
  const { prefixLength } = parsePrefix(cluster.nodesNetwork);
  const last = 2 ** (32 - prefixLength) - 2;
  return Array.from({ length: wanted.count }, () => {
    let number = 2;
    while (names.has(`${cluster.nodeName}-${number}`)) number++;
    const name = wanted.name ?? `${cluster.nodeName}-${number}`;
    let host = 2;
    while (addresses.has(addressAt(cluster.nodesNetwork, host))) host++;
    if (host > last)
      throw new UserError(`${cluster.nodesNetwork} has no address left for a node: remove one ('berth node remove')`);
    const address = addressAt(cluster.nodesNetwork, host);
    names.add(name);
    addresses.add(address);
    return { name, address, runs: true, partitioned: false };
  });
}

/** The IPv6 network of the switch, where pods have IPv6 addresses: from the unique local ones (RFC 4193). */
const NETWORK6 = parsePrefix('fd00:be27::/96');

/** A node's IPv6 address on the switch, with the prefix length: its IPv4 address is the end of it. Pure. */
export function prefix6Beside(address: string): string {
  const value = toBigInt(NETWORK6.address) + toBigInt(parsePrefix(`${address}/32`).address);
  return `${formatIp(fromBigInt(value, 6))}/${NETWORK6.prefixLength}`;
}

function addressAt(network: string, offset: number): string {
  return formatIp(fromBigInt(toBigInt(parsePrefix(network).address) + BigInt(offset), 4));
}
