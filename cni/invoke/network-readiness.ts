import { statSync } from 'node:fs';
import type { Run } from '../../src/netfilter/iptables.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { askVersions } from '../wire/exec-plugin.ts';
import type { PluginCaller } from '../wire/plugin-caller.ts';
import { type Chain, callOf } from './chain.ts';
import type { NetworkConfiguration } from './network-configuration.ts';

/** Whether pods could be attached to a network now. */
export interface NetworkReadiness {
  /** Plugins that are missing, values that ours refuse. Looks at files only. @throws CniError */
  check(network: NetworkConfiguration): void;
  /** That, versions, and STATUS. @throws CniError */
  ask(network: NetworkConfiguration): Promise<void>;
}

export function createNetworkReadiness(
  options: { path: readonly string[] },
  deps: { caller: PluginCaller; chain: Chain; run: Run },
): NetworkReadiness {
  const { caller, chain, run } = deps;
  /** Versions by program and the time of its last change: it is asked once. */
  const versions = new Map<string, string[]>();

  async function checkVersion(type: string, network: NetworkConfiguration): Promise<void> {
    const program = caller.locate(type, network.isBuiltin);
    if (program === undefined) return;
    const key = `${program} ${statSync(program).mtimeMs}`;
    const { name, cniVersion } = network;
    const supported =
      versions.get(key) ?? (await askVersions(type, { path: options.path, conf: { name, cniVersion, type } }, run));
    versions.set(key, supported);
    if (!supported.includes(cniVersion))
      throw new CniError(CNI_ERROR.incompatibleVersion, 'incompatible CNI versions', {
        details: `config is "${cniVersion}", plugin ${type} supports ${JSON.stringify(supported)}`,
      });
  }

  function check(network: NetworkConfiguration): void {
    for (const [index, plugin] of network.plugins.entries()) {
      try {
        caller.parse(callOf(network, plugin, {}));
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        throw new CniError(error.code, `plugins[${index}] (${plugin.type}): ${error.message}`, {
          details: error.details,
          cause: error,
        });
      }
    }
  }

  return {
    check,
    async ask(network) {
      check(network);
      for (const { type } of network.plugins) await checkVersion(type, network);
      await chain.status(network);
    },
  };
}
