/**
 * The flannel plugin: fills in what the overlay's daemon says of this node and delegates to an interface plugin, bridge unless said
 * otherwise.
 *
 *     {type: flannel, delegate: {hairpinMode, …}} + subnet.env ──► {type: bridge, ipMasq, mtu, ipam: {host-local, ranges, routes}}
 *
 * The delegate's configuration is kept in `<dataDir>/<containerID>`, as the reference plugin does: DEL undoes what ADD made, whatever
 * subnet.env says by then.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import {
  type AttachmentKey,
  type AttachRequest,
  CNI_ERROR,
  CniError,
  type CniResult,
  type DetachRequest,
  type Plugin,
} from '../types.ts';
import { type FlannelSubnet, parseSubnetFile } from './flannel-subnet.ts';

type Raw = Readonly<Record<string, unknown>>;

export interface FlannelConfig {
  network: string;
  cniVersion: string;
  subnetFile: string;
  dataDir: string;
  /** Further keys of the delegate's `ipam`. */
  ipam: Raw;
  delegate: Raw;
  runtimeConfig: Raw;
  previous?: CniResult;
}

/** Calls the plugin that a configuration names. */
export interface Delegate {
  add(request: AttachRequest, call: { conf: Raw; previous?: CniResult }): Promise<CniResult>;
  del(request: DetachRequest, call: { conf: Raw; previous?: CniResult }): Promise<void>;
  check(request: AttachRequest, call: { conf: Raw; previous: CniResult }): Promise<void>;
  gc(valid: readonly AttachmentKey[], call: { conf: Raw }): Promise<void>;
  status(call: { conf: Raw }): Promise<void>;
}

/** The delegate's configuration. What the network's own says stands above what is filled in. Pure. */
export function buildDelegate(config: FlannelConfig, subnet: FlannelSubnet): Raw & { type: string } {
  const { delegate, ipam } = config;
  const type = typeof delegate['type'] === 'string' ? delegate['type'] : 'bridge';
  const routes = [...((ipam['routes'] ?? []) as unknown[]), ...subnet.networks.map((dst) => ({ dst }))];
  const ranges = subnet.subnets.map((address) => [{ subnet: formatPrefix(networkOf(parsePrefix(address))) }]);
  return {
    ipMasq: !subnet.ipMasq,
    mtu: subnet.mtu,
    ...(type === 'bridge' && { isGateway: true }),
    ...delegate,
    type,
    name: config.network,
    cniVersion: config.cniVersion,
    ...(Object.keys(config.runtimeConfig).length > 0 && { runtimeConfig: config.runtimeConfig }),
    ipam: { type: 'host-local', ...ipam, ranges, routes },
  };
}

export function createFlannelPlugin(delegate: Delegate): Plugin<FlannelConfig> {
  async function readSubnet({ subnetFile }: FlannelConfig): Promise<FlannelSubnet> {
    let text: string;
    try {
      text = await readFile(subnetFile, 'utf8');
    } catch (cause) {
      throw new CniError(
        CNI_ERROR.tryAgainLater,
        `failed to load flannel 'subnet.env' file: ${(cause as Error).message}`,
        {
          details: "the overlay's daemon writes it: is it running on this node?",
          cause,
        },
      );
    }
    return parseSubnetFile(text, subnetFile);
  }

  const fileOf = ({ dataDir }: FlannelConfig, containerId: string) => join(dataDir, containerId);

  /** undefined when there is nothing (more) to undo, or nothing that can be read. */
  async function readKept(config: FlannelConfig, containerId: string): Promise<Raw | undefined> {
    try {
      const kept: unknown = JSON.parse(await readFile(fileOf(config, containerId), 'utf8'));
      return typeof kept === 'object' && kept !== null ? (kept as Raw) : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async function keep(config: FlannelConfig, containerId: string, conf: Raw): Promise<void> {
    const draft = join(config.dataDir, `.${containerId}`);
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
    await writeFile(draft, JSON.stringify(conf), { mode: 0o600 });
    await rename(draft, fileOf(config, containerId));
  }

  async function undo(config: FlannelConfig, request: DetachRequest): Promise<void> {
    const conf = await readKept(config, request.containerId);
    if (conf) await delegate.del(request, { conf, previous: config.previous });
    await rm(fileOf(config, request.containerId), { force: true });
  }

  return {
    type: 'flannel',

    async add(config, request) {
      const conf = buildDelegate(config, await readSubnet(config));
      await keep(config, request.containerId, conf);
      try {
        return await delegate.add(request, { conf });
      } catch (error) {
        // An attachment that was there before stays, and what undoes it.
        if (!(error instanceof CniError) || error.code !== CNI_ERROR.alreadyAttached)
          await undo(config, request).catch(() => {});
        throw error;
      }
    },

    del: undo,

    async check(config, request, result) {
      const conf = await readKept(config, request.containerId);
      if (!conf)
        throw new CniError(
          CNI_ERROR.unknownContainer,
          `${fileOf(config, request.containerId)} is missing: flannel did not attach it`,
        );
      await delegate.check(request, { conf, previous: result });
    },

    async gc(config, valid) {
      const keep = new Set(valid.map(({ containerId }) => containerId));
      const names = (await readdir(config.dataDir).catch(() => [])).filter(
        (name) => !name.startsWith('.') && !keep.has(name),
      );
      const stale: string[] = [];
      for (const name of names) if ((await readKept(config, name))?.['name'] === config.network) stale.push(name);
      await runAll(`collect flannel attachments of ${config.network}`, [
        ...stale.map((containerId) => () => undo(config, { containerId, ifname: 'eth0', args: {} })),
        async () => delegate.gc(valid, { conf: buildDelegate(config, await readSubnet(config)) }),
      ]);
    },

    async status(config) {
      const subnet = await readSubnet(config).catch((error: CniError) => {
        throw new CniError(CNI_ERROR.notAvailable, error.message, { details: error.details, cause: error });
      });
      await delegate.status({ conf: buildDelegate(config, subnet) });
    },
  };
}
