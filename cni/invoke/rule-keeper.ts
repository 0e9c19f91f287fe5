import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { usableNetns } from '../wire/container-netns.ts';
import type { PluginCaller } from '../wire/plugin-caller.ts';
import { parseResult } from '../wire/result.ts';
import { isAtLeast } from '../wire/versions.ts';
import type { AttachmentCache, CachedAttachment } from './attachment-cache.ts';
import { callOf } from './chain.ts';
import {
  type NetworkConfiguration,
  type PluginConfiguration,
  parseConfigurationList,
} from './network-configuration.ts';

/** Plugins that write into tables which others flush (`iptables -F`, `nft flush ruleset`, a reload of firewalld), and whose ADD may be repeated. */
const KEPT: Record<string, (offered: CachedAttachment['capabilityArgs']) => boolean> = {
  portmap: ({ portMappings }) => Array.isArray(portMappings) && portMappings.length > 0,
  firewall: () => true,
};

const PERIOD_MS = 30_000;
/** Whatever calls for a look: not more often. */
const LEAST_PAUSE_MS = 1000;

/** Host ports and firewall rules of pods that run, kept in place. */
export interface RuleKeeper {
  /** One look. @returns how many attachments were written again */
  look(): Promise<number>;
  /** A look now and then until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** Something may have been flushed. */
  wake(): void;
}

export interface RuleKeeperDependencies {
  cache: AttachmentCache;
  caller: PluginCaller;
  /** One operation a sandbox at a time. */
  alone<T>(sandboxId: string, work: () => Promise<T>): Promise<T>;
  /** What the built-in network would give a pod with these capabilities today. */
  builtin(capabilities: readonly string[]): NetworkConfiguration;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string | undefined;
  log: Logger;
  clock: Clock;
}

interface Kept {
  attachment: CachedAttachment;
  network: NetworkConfiguration;
  plugin: PluginConfiguration;
}

/**
 * A look costs as much as one CHECK a network and plugin, however many pods there are: whoever flushes takes everything of a table, so one pod
 * tells of all, another one each time (kubelet's canary is a chain without rules; here it is a pod's own). Only where one has lost its
 * rules all are looked at.
 */
export function createRuleKeeper(deps: RuleKeeperDependencies): RuleKeeper {
  const { cache, caller, alone, log, clock } = deps;
  let turn = 0;
  let wake = () => {};
  /** Groups whose CHECK fails right behind an ADD: to write again would not help. */
  const hopeless = new Set<string>();

  function groups(): Map<string, Kept[]> {
    const networks = new Map<string, NetworkConfiguration>();
    const found = new Map<string, Kept[]>();
    for (const attachment of cache.list()) {
      const { isOurs, result, configuration, capabilityArgs } = attachment;
      if (!isOurs || !result || configuration === undefined) continue;
      const network = networks.get(configuration) ?? parseConfigurationList(configuration);
      networks.set(configuration, network);
      if (network.disableCheck || !isAtLeast(network.cniVersion, '0.4.0')) continue;
      for (const plugin of network.plugins) {
        const offered = Object.fromEntries(plugin.capabilities.map((name) => [name, capabilityArgs[name]]));
        if (!KEPT[plugin.type]?.(offered) || !runsHere(plugin.type, network)) continue;
        const key = `${plugin.type} ${configuration}`;
        const group = found.get(key) ?? [];
        group.push({ attachment, network, plugin });
        found.set(key, group);
      }
    }
    return found;
  }

  /** A program of somebody else's is not called for nothing, and its ADD may not be one to repeat. */
  function runsHere(type: string, { isBuiltin }: NetworkConfiguration): boolean {
    try {
      return caller.locate(type, isBuiltin) === undefined;
    } catch {
      return false;
    }
  }

  function mend({ attachment, network, plugin }: Kept): Promise<'right' | 'written' | 'hopeless'> {
    const { containerId, ifname, netns, args, capabilityArgs } = attachment;
    return alone(containerId, async () => {
      // Gone, or another one, since it was listed.
      if (!cache.of(containerId).includes(attachment) || !usableNetns(netns, deps.hostNetns)) return 'right';
      const request = { containerId, ifname, netns, args };
      const previous = parseResult(attachment.result!, network.cniVersion);
      const call = { ...callOf(network, plugin, capabilityArgs), previous };
      const wanted = wantedOf(attachment, network, plugin);
      if (wanted) {
        await caller.del(request, call);
        await caller.add(request, { ...callOf(network, wanted.plugin, capabilityArgs), previous });
        await cache.put({ ...attachment, configuration: wanted.configuration });
        return 'written';
      }
      const isRight = () =>
        caller.check(request, call).then(
          () => true,
          () => false,
        );
      if (await isRight()) return 'right';
      await caller.add(request, call);
      return (await isRight()) ? 'written' : 'hopeless';
    });
  }

  /** The built-in network gives host ports by other tables with another mode of the proxy; undefined while all is as it was. */
  function wantedOf({ capabilityArgs }: CachedAttachment, network: NetworkConfiguration, plugin: PluginConfiguration) {
    if (!network.isBuiltin) return undefined;
    const today = deps.builtin(Object.keys(capabilityArgs)).plugins.find(({ type }) => type === plugin.type);
    if (!today || today.raw['backend'] === plugin.raw['backend']) return undefined;
    const conf = JSON.parse(network.text) as { plugins: { type: string; capabilities?: unknown }[] };
    const plugins = conf.plugins.map((one) =>
      one.type === plugin.type ? { ...today.raw, capabilities: one.capabilities } : one,
    );
    const configuration = JSON.stringify({ ...conf, plugins });
    return { configuration, plugin: { ...today, capabilities: plugin.capabilities } };
  }

  async function lookAt(key: string, kept: readonly Kept[]): Promise<number> {
    const canary = kept[turn % kept.length]!;
    const found = await mend(canary);
    if (found === 'right') return 0;
    let count = 1;
    for (const one of kept) if (one !== canary && (await mend(one)) !== 'right') count++;
    if (found === 'hopeless') hopeless.add(key);
    log.warn(
      { network: canary.network.name, plugin: canary.plugin.type, pods: count, ...(found === 'hopeless' && { found }) },
      'rules of pods were gone, or for another mode of the proxy: written again',
    );
    return count;
  }

  async function look(): Promise<number> {
    let count = 0;
    turn++;
    for (const [key, kept] of groups()) {
      if (hopeless.has(key)) continue;
      try {
        count += await lookAt(key, kept);
      } catch (error) {
        log.warn({ err: error, plugin: kept[0]!.plugin.type }, 'rules of pods could not be written again');
      }
    }
    return count;
  }

  return {
    look,
    wake: () => wake(),
    async run(signal) {
      while (!signal.aborted) {
        // From here on: a call during the look counts too.
        const called = new AbortController();
        wake = () => called.abort();
        await look();
        await clock.sleep(LEAST_PAUSE_MS, signal).catch(() => {});
        await clock.sleep(PERIOD_MS - LEAST_PAUSE_MS, AbortSignal.any([signal, called.signal])).catch(() => {});
      }
    },
  };
}
