import type { Logger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { CNI_ERROR, CniError, type CniResult } from '../types.ts';
import { parseResult, renderResult } from '../wire/result.ts';
import type { AttachmentCache, CachedAttachment } from './attachment-cache.ts';
import type { Chain } from './chain.ts';
import { type NetworkConfiguration, parseKeptConfiguration } from './network-configuration.ts';

/** Upstream's name of a pod's interface. */
export const POD_INTERFACE = 'eth0';

/** What is to be attached: one sandbox, with what its network is told of it. */
export interface PodAttachmentRequest {
  sandboxId: string;
  netns: string;
  args: Readonly<Record<string, string>>;
  capabilityArgs: Readonly<Record<string, unknown>>;
  /** What it has already, as far as anything tells. */
  known: readonly CachedAttachment[];
}

/** Attachments of sandboxes: made, checked and undone by the configuration that they were made with. The caller sees to it that there is one call a sandbox at a time. */
export interface PodAttachments {
  /** An earlier attachment that is whole is taken as it is; what half a one left is removed first. Undoes what it did when it throws. */
  add(network: NetworkConfiguration, request: PodAttachmentRequest, signal: AbortSignal): Promise<{ ips: string[] }>;
  /** Idempotent. `netns` absent: the namespace is gone, or nobody knows it. */
  remove(attachment: CachedAttachment, netns: string | undefined): Promise<void>;
  /** Of Berth's own network. */
  isBuiltin(attachment: CachedAttachment): boolean;
}

/** As many as a node usually has room for. */
const MOST_REFUSED = 256;

export function createPodAttachments(deps: {
  chain: Chain;
  cache: AttachmentCache;
  log: Logger;
  /** What files of attachments without a configuration are undone with. */
  current(): NetworkConfiguration | undefined;
  /** All that is attached on this host, as far as anything tells. */
  all(): Iterable<CachedAttachment>;
}): PodAttachments {
  const { chain, cache, log } = deps;

  function networkOf(attachment: CachedAttachment): NetworkConfiguration | undefined {
    return attachment.configuration ? parseKeptConfiguration(attachment.configuration) : deps.current();
  }

  function resultOf(attachment: CachedAttachment, network: NetworkConfiguration): CniResult | undefined {
    return attachment.result && parseResult(attachment.result, network.cniVersion);
  }

  async function remove(attachment: CachedAttachment, netns: string | undefined): Promise<void> {
    const network = networkOf(attachment);
    if (network) {
      const { containerId, ifname, args, capabilityArgs } = attachment;
      const request = { containerId, ifname, args, ...(netns !== undefined && { netns }) };
      await chain.del(network, { request, capabilityArgs }, resultOf(attachment, network));
    }
    await cache.remove(attachment);
  }

  /** Made by this process or one before it that did not get to say so. */
  async function isWhole(attachment: CachedAttachment, network: NetworkConfiguration, netns: string): Promise<boolean> {
    if (!attachment.result || attachment.network !== network.name) return false;
    const { containerId, ifname, args, capabilityArgs } = attachment;
    try {
      const made = networkOf(attachment) ?? network;
      const result = resultOf(attachment, made)!;
      const interfaces = result.interfaces.map((one) => (one.sandbox === '' ? one : { ...one, sandbox: netns }));
      const request = { containerId, ifname, args, netns };
      await chain.check(made, { request, capabilityArgs }, { ...result, interfaces });
      return true;
    } catch (error) {
      log.info({ sandbox: containerId, err: error }, 'an earlier network set-up is incomplete: doing it again');
      return false;
    }
  }

  async function addFresh(
    network: NetworkConfiguration,
    whole: CachedAttachment,
    signal: AbortSignal,
  ): Promise<CniResult> {
    const { containerId, ifname, netns, args, capabilityArgs } = whole;
    const attachment = { request: { containerId, ifname, netns, args }, capabilityArgs };
    // Killed from here on, the next process knows what to undo. The built-in network's leases and links tell that by themselves.
    if (!network.isBuiltin) await cache.put(whole);
    try {
      return await chain.add(network, attachment, signal);
    } catch (error) {
      const undone = chain.del(network, attachment).then(() => cache.remove(whole));
      await undone.catch(async (cleanup) => {
        log.warn(
          { sandbox: containerId, err: cleanup },
          'a failed network set-up could not be undone; tried again later',
        );
        await cache.put(whole);
      });
      throw error;
    }
  }

  /** Of other networks: within one its address manager sees to it. */
  function holderOf(ips: readonly string[], { network, containerId }: CachedAttachment): CachedAttachment | undefined {
    for (const other of deps.all())
      if (other.network !== network && other.containerId !== containerId)
        if (ipsOf(other).some((ip) => ips.includes(ip))) return other;
    return undefined;
  }

  /**
   * A network that takes another's place on the node (a node's own, then an add-on's) gives addresses out of the same range, and does not know
   * of those that pods still have of the one before: these are given back, and the next is taken.
   */
  async function addUnheld(
    network: NetworkConfiguration,
    whole: CachedAttachment,
    signal: AbortSignal,
  ): Promise<CachedAttachment> {
    const refused = new Set<string>();
    for (;;) {
      signal.throwIfAborted();
      const result = await addFresh(network, whole, signal).catch((error) => {
        // A leftover that no file tells of: it was removed with the failed try.
        if (!(error instanceof CniError) || error.code !== CNI_ERROR.alreadyAttached) throw error;
        return addFresh(network, whole, signal);
      });
      const made = { ...whole, result: renderResult(result, network.cniVersion) };
      const ips = ipsOf(made);
      const holder = holderOf(ips, made);
      if (!holder) return made;
      await remove(made, whole.netns);
      log.info(
        { sandbox: whole.containerId, ips, holder: holder.containerId },
        'an address of another network’s pod is passed over',
      );
      if (refused.size >= MOST_REFUSED || ips.every((ip) => refused.has(ip)))
        throw new CniError(CNI_ERROR.addressTaken, `network ${network.name} gave ${ips.join(', ')}, which is in use`, {
          details: `${holder.containerId} ${holder.ifname} has it of network ${holder.network}`,
        });
      for (const ip of ips) refused.add(ip);
    }
  }

  return {
    remove,
    isBuiltin: (attachment) => networkOf(attachment)?.isBuiltin === true,

    async add(network, { sandboxId, netns, args, capabilityArgs, known }, signal) {
      const whole: CachedAttachment = {
        network: network.name,
        containerId: sandboxId,
        ifname: POD_INTERFACE,
        netns,
        configuration: network.text,
        args,
        capabilityArgs,
        result: undefined,
        isOurs: true,
        isOfEarlierBoot: false,
      };
      for (const earlier of known) {
        if (await isWhole(earlier, network, netns)) {
          await cache.put(earlier);
          return { ips: ipsOf(earlier) };
        }
        await remove(earlier, netns);
      }
      const made = await addUnheld(network, whole, signal);
      try {
        const ips = ipsOf(made);
        if (ips.length === 0)
          throw new CniError(CNI_ERROR.unknown, `network ${network.name} gave ${POD_INTERFACE} no address`, {
            details: `result: ${JSON.stringify(made.result)}`,
          });
        await cache.put(made);
        signal.throwIfAborted();
        return { ips };
      } catch (error) {
        await runAll(`undo the network set-up of ${sandboxId}`, [() => remove(made, netns)]);
        throw error;
      }
    },
  };
}

/** Addresses of the pod's interface, without lengths; those of other interfaces of the result are not the pod's. */
export function ipsOf({ result, ifname }: CachedAttachment): string[] {
  if (!result) return [];
  const { ips, interfaces } = parseResult(result, '0.1.0');
  const isPods = (index: number | undefined) => {
    const one = index === undefined ? undefined : interfaces[index];
    return one === undefined || (one.name === ifname && one.sandbox !== '');
  };
  return ips.filter((ip) => isPods(ip.interface)).map(({ address }) => address.split('/')[0]!);
}
