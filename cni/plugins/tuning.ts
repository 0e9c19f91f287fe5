/**
 * The tuning plugin, chained behind an interface plugin: kernel settings of the container's network, and MAC, MTU, queue length and modes
 * of its interface. How the interface was is saved before (`/run/cni/tuning/<container>_<interface>.json`) and put back by DEL; settings go
 * with the namespace.
 */
import type { Link, LinkChange } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { type AttachmentKey, type AttachRequest, CNI_ERROR, CniError, type CniResult, type Plugin } from '../types.ts';
import { inContainer } from './container-interface.ts';
import { asCniError, broken } from './failure.ts';
import { collectBackups, readBackup, removeBackup, saveBackup, type TuningBackup } from './tuning-backup.ts';
import { ALLOWLIST_FILE, checkAllowlist, netSysctls, sameSysctlValue } from './tuning-sysctls.ts';

export interface TuningConfig {
  network: string;
  /** Of the backups. */
  dataDir: string;
  sysctls: Readonly<Record<string, string>>;
  mac: string | undefined;
  /** Only switches it on. */
  promiscuous: boolean;
  mtu: number | undefined;
  allMulticast: boolean | undefined;
  txQueueLength: number | undefined;
}

export function createTuning({ allowlist = ALLOWLIST_FILE }: { allowlist?: string } = {}): Plugin<TuningConfig> {
  return {
    type: 'tuning',

    async add(config, request, previous) {
      if (!previous)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, 'tuning: Required prevResult missing', {
          details: 'put it behind the plugin that brings the interface',
        });
      checkAllowlist(Object.keys(config.sysctls), allowlist);
      const sysctls = netSysctls(config.sysctls, request.ifname);
      const undo: (() => unknown)[] = [];
      try {
        await inContainer(request.netns, async (pod) => {
          writeSysctls(sysctls, request.netns, undo);
          await tune(pod, config, request, undo);
        });
      } catch (error) {
        await runAll('roll back', undo.toReversed()).catch(() => {});
        throw asCniError(error);
      }
      return withChanges(previous, config, request.ifname);
    },

    async del({ dataDir }, request) {
      const { netns } = request;
      const backup = readBackup(dataDir, request);
      if (backup && netns !== undefined && netnsExists(netns))
        await inContainer(netns, async (pod) => {
          if (await pod.getLink(request.ifname)) await restore(pod, request.ifname, backup);
        });
      removeBackup(dataDir, request);
    },

    async check(config, { netns, ifname }) {
      for (const [path, value] of netSysctls(config.sysctls, ifname)) {
        const has = readSysctl(path, { netns });
        if (!sameSysctlValue(has, value)) throw broken(`${path} is ${has ?? 'missing'}, not ${value}`);
      }
      await inContainer(netns, async (pod) => {
        const link = await pod.getLink(ifname);
        if (!link) throw broken(`Cannot find container link ${ifname}`);
        checkLink(config, link);
      });
    },

    async gc({ dataDir, network }, valid) {
      collectBackups(dataDir, network, valid);
    },
    async status() {},
  };
}

function writeSysctls(sysctls: ReadonlyMap<string, string>, netns: string, undo: (() => unknown)[]): void {
  for (const [path, value] of sysctls) {
    const changed = attempt(path, value, () => writeSysctl(path, value, { netns }));
    if (changed) undo.push(() => writeSysctl(path, changed.previous, { netns }));
  }
}

function attempt<T>(path: string, value: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'this kernel has no such key in the container' : (cause as Error).message;
    throw new CniError(CNI_ERROR.ioFailure, `sysctl ${path}=${value}: ${why}`, { cause });
  }
}

async function tune(
  pod: Rtnetlink,
  config: TuningConfig,
  request: AttachRequest,
  undo: (() => unknown)[],
): Promise<void> {
  const changes = changesOf(config);
  if (changes.length === 0) return;
  const { ifname } = request;
  const link = await pod.getLink(ifname);
  if (!link) throw broken(`failed to get ${JSON.stringify(ifname)} in ${request.netns}`);
  const backup = backupOf(config, link);
  saveBackup(config.dataDir, request, { ...backup, network: config.network });
  undo.push(() => removeBackup(config.dataDir, request));
  undo.push(() => restore(pod, ifname, backup));
  // The kernel tells the neighbours of a new MAC then.
  if (config.mac !== undefined) writeSysctl(`net/ipv4/conf/${ifname}/arp_notify`, '1', { netns: request.netns });
  for (const change of changes) await pod.setLink(link.index, change);
}

/** One after the other, so that an error names its own. Pure. */
function changesOf({ mac, promiscuous, mtu, allMulticast, txQueueLength }: TuningConfig): LinkChange[] {
  return [
    ...(mac === undefined ? [] : [{ mac }]),
    ...(promiscuous ? [{ promiscuous }] : []),
    ...(mtu === undefined ? [] : [{ mtu }]),
    ...(allMulticast === undefined ? [] : [{ allMulticast }]),
    ...(txQueueLength === undefined ? [] : [{ txQueueLength }]),
  ];
}

function backupOf(config: TuningConfig, link: Link): TuningBackup {
  return {
    ...(config.mac !== undefined && { mac: link.mac }),
    ...(config.promiscuous && { promisc: link.promiscuous }),
    ...(config.mtu !== undefined && { mtu: link.mtu }),
    ...(config.allMulticast !== undefined && { allmulti: link.allMulticast }),
    ...(config.txQueueLength !== undefined && { txQLen: link.txQueueLength }),
  };
}

async function restore(pod: Rtnetlink, ifname: string, backup: TuningBackup): Promise<void> {
  const before: LinkChange[] = [
    ...(backup.mtu ? [{ mtu: backup.mtu }] : []),
    ...(backup.mac ? [{ mac: backup.mac }] : []),
    ...(backup.promisc === undefined ? [] : [{ promiscuous: backup.promisc }]),
    ...(backup.allmulti === undefined ? [] : [{ allMulticast: backup.allmulti }]),
    ...(backup.txQLen === undefined ? [] : [{ txQueueLength: backup.txQLen }]),
  ];
  await runAll(
    `restore ${ifname}`,
    before.map((change) => () => pod.setLink(ifname, change)),
  );
}

function checkLink(config: TuningConfig, link: Link): void {
  const wanted: [string, unknown, unknown][] = [
    ['MAC', config.mac, link.mac],
    ['promiscuous mode', config.promiscuous || undefined, link.promiscuous],
    ['MTU', config.mtu, link.mtu],
    ['all-multicast mode', config.allMulticast, link.allMulticast],
    ['transmit queue length', config.txQueueLength, link.txQueueLength],
  ];
  for (const [what, value, has] of wanted)
    if (value !== undefined && value !== has) throw broken(`${what} of ${link.name} is ${has}, not ${value}`);
}

/** The chain's result tells the interface as it is now. */
function withChanges(previous: CniResult, { mac, mtu }: TuningConfig, ifname: AttachmentKey['ifname']): CniResult {
  return {
    ...previous,
    interfaces: previous.interfaces.map((one) =>
      one.name === ifname && one.sandbox !== ''
        ? { ...one, ...(mac && { mac }), ...(mtu !== undefined && one.mtu !== undefined && { mtu }) }
        : one,
    ),
  };
}
