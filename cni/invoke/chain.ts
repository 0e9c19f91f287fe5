import type { AttachmentKey, AttachRequest, CniResult, DetachRequest } from '../types.ts';
import type { PluginCaller } from '../wire/plugin-caller.ts';
import { isAtLeast } from '../wire/versions.ts';
import type { NetworkConfiguration, PluginConfiguration } from './network-configuration.ts';

/** What the runtime tells plugins that declare the capability. */
export type CapabilityArgs = Readonly<Record<string, unknown>>;

interface Attachment<Request> {
  request: Request;
  capabilityArgs: CapabilityArgs;
}

/** Carries out a network's chain of plugins, in the orders and with the results that CNI 1.1 lays down. */
export interface Chain {
  /** Stops at the first plugin that fails; undoing is the caller's. */
  add(network: NetworkConfiguration, attachment: Attachment<AttachRequest>, signal?: AbortSignal): Promise<CniResult>;
  /** In reverse; stops at the first that fails: an address must not be free while a plugin before it still leads to it. */
  del(network: NetworkConfiguration, attachment: Attachment<DetachRequest>, result?: CniResult): Promise<void>;
  /** Nothing where the network is older than CHECK (0.4.0) or disables it. */
  check(network: NetworkConfiguration, attachment: Attachment<AttachRequest>, result: CniResult): Promise<void>;
  /** Nothing where the network is older than GC (1.1.0) or disables it. All plugins are called; then what failed is thrown. */
  gc(network: NetworkConfiguration, valid: readonly AttachmentKey[]): Promise<void>;
  /** Nothing where the network is older than STATUS (1.1.0). */
  status(network: NetworkConfiguration): Promise<void>;
}

export function createChain(caller: PluginCaller): Chain {
  return {
    async add(network, { request, capabilityArgs }, signal) {
      let previous: CniResult | undefined;
      for (const plugin of network.plugins) {
        signal?.throwIfAborted();
        previous = await caller.add(request, { ...callOf(network, plugin, capabilityArgs), previous, signal });
      }
      // A network has one plugin at least.
      return previous!;
    },

    async del(network, { request, capabilityArgs }, result) {
      const previous = isAtLeast(network.cniVersion, '0.4.0') ? result : undefined;
      for (const plugin of network.plugins.toReversed())
        await caller.del(request, { ...callOf(network, plugin, capabilityArgs), previous });
    },

    async check(network, { request, capabilityArgs }, previous) {
      if (network.disableCheck || !isAtLeast(network.cniVersion, '0.4.0')) return;
      for (const plugin of network.plugins)
        await caller.check(request, { ...callOf(network, plugin, capabilityArgs), previous });
    },

    async gc(network, valid) {
      if (network.disableGC || !isAtLeast(network.cniVersion, '1.1.0')) return;
      const errors: unknown[] = [];
      for (const plugin of network.plugins)
        await caller.gc(valid, callOf(network, plugin, {})).catch((error) => errors.push(error));
      if (errors.length > 0)
        throw new AggregateError(errors, `collecting of network ${network.name}: ${errors.map(String).join('; ')}`);
    },

    async status(network) {
      if (!isAtLeast(network.cniVersion, '1.1.0')) return;
      for (const plugin of network.plugins) await caller.status(callOf(network, plugin, {}));
    },
  };
}

/** What a plugin gets on stdin, but for the previous result. Pure. */
export function callOf(
  network: NetworkConfiguration,
  { raw, capabilities }: PluginConfiguration,
  capabilityArgs: CapabilityArgs,
): { conf: Readonly<Record<string, unknown>>; isOwn: boolean } {
  const offered = capabilities.filter((name) => capabilityArgs[name] !== undefined);
  const runtimeConfig = Object.fromEntries(offered.map((name) => [name, capabilityArgs[name]]));
  const { name, cniVersion, isBuiltin: isOwn } = network;
  return { conf: { ...raw, name, cniVersion, ...(offered.length > 0 && { runtimeConfig }) }, isOwn };
}
