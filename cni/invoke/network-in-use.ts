import { parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { PluginCaller } from '../wire/plugin-caller.ts';
import { buildBuiltinNetwork } from './builtin-network.ts';
import { type CapabilitySource, computeCapabilityArgs } from './capability-args.ts';
import { createConfigurationSource } from './configuration-source.ts';
import { explain } from './explain.ts';
import type { NetworkMetrics } from './metrics.ts';
import type { CniMode } from './network-choice.ts';
import type { NetworkConfiguration } from './network-configuration.ts';
import type { NetworkReadiness } from './network-readiness.ts';

export interface NetworkInUseOptions {
  mode: CniMode;
  confDir: string;
  /** Of the built-in network: names the lease directory and the links. */
  networkName: string;
  bridge: string;
  dataDir: string;
  /** The node's pod CIDRs, as soon as they are known (`spec.podCIDRs`, or fixed by configuration). */
  podCidrs: () => readonly string[];
  /** All pods of the cluster; a podCIDR outside of it is a configuration error. */
  clusterCidrs: readonly string[];
  /** What goes to Services is never a host port's. */
  serviceCidrs: readonly string[];
  mtu: () => number | undefined | 'pending';
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
}

export interface NetworkInUseDependencies {
  caller: PluginCaller;
  readiness: NetworkReadiness;
  metrics: NetworkMetrics;
  log: Logger;
  clock: Clock;
  beat?(): void;
  tell?(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

/** Which network new pods get, and whether they can. */
export interface NetworkInUse {
  current(): NetworkConfiguration | undefined;
  builtin(needs?: readonly string[]): NetworkConfiguration;
  /** The current one, as one pod needs it. */
  forPod(source: CapabilitySource): NetworkConfiguration | undefined;
  /** Why no pod can be attached now. */
  problem(): string | undefined;
  /** Some of its plugins are programs: a call costs a process. */
  isForeign(network: NetworkConfiguration): boolean;
  /** Told when the network or what is wrong with it has changed. */
  onChange(handler: () => void): void;
  run(signal: AbortSignal): Promise<void>;
}

const EARLY_PERIOD_MS = 250;
const UNREADY_PERIOD_MS = 2_000;
const STATUS_PERIOD_MS = 10_000;
const FOREIGN_STATUS_PERIOD_MS = 60_000;

export function createNetworkInUse(options: NetworkInUseOptions, deps: NetworkInUseDependencies): NetworkInUse {
  const { log, clock, caller, readiness, metrics } = deps;
  const { mode, confDir } = options;
  const directory =
    mode === 'builtin'
      ? undefined
      : createConfigurationSource(
          { directory: confDir, mode },
          {
            clock,
            log,
            onChange: () => wake(),
            onPassedOver: (problem) => deps.tell?.('Warning', 'NetworkConfigurationFailed', problem),
          },
        );
  const handlers: (() => void)[] = [];
  const built = new Map<string, NetworkConfiguration>();
  /** The device of the proxy's mode ipvs. */
  const hasIpvs = () => readSysctl('net/ipv4/conf/kube-ipvs0/forwarding', { netns: options.hostNetns }) !== undefined;
  /** What plugins said against the network in use, by its text. */
  let said: { text: string; problem: string | undefined } | undefined;
  let shown = '';
  let wake = () => {};

  function builtin(needs?: readonly string[]): NetworkConfiguration {
    const mtu = options.mtu();
    const podCidrs = options.podCidrs();
    const ipvs = (needs?.includes('portMappings') ?? true) && hasIpvs();
    const key = [mtu, ipvs, ...podCidrs, needs?.join('+') ?? 'all'].join();
    const known = built.get(key);
    if (known) return known;
    const network = buildBuiltinNetwork(
      { ...options, name: options.networkName, podCidrs, mtu: mtu === 'pending' ? undefined : mtu, hasIpvs: ipvs },
      needs,
    );
    // A handful: the node's ranges and its MTU hardly ever change.
    built.set(key, network);
    return network;
  }

  function current(): NetworkConfiguration | undefined {
    return directory?.current() ?? (mode === 'directory' || directory?.isAwaited() ? undefined : builtin());
  }

  function isForeign(network: NetworkConfiguration): boolean {
    return network.plugins.some(({ type }) => {
      try {
        return caller.locate(type, network.isBuiltin) !== undefined;
      } catch {
        return true;
      }
    });
  }

  function builtinProblem(): string | undefined {
    const podCidrs = options.podCidrs();
    if (podCidrs.length === 0) return 'cni config uninitialized: the node has no pod CIDR (spec.podCIDR) yet';
    const { clusterCidrs } = options;
    const isInside = (podCidr: string) =>
      clusterCidrs.some((cidr) => prefixContains(parsePrefix(cidr), parsePrefix(podCidr)));
    const outside = clusterCidrs.length > 0 ? podCidrs.find((podCidr) => !isInside(podCidr)) : undefined;
    if (outside) return `the node's pod CIDR ${outside} is not inside the cluster CIDR ${clusterCidrs.join(',')}`;
    return options.mtu() === 'pending' ? 'cni config uninitialized: the overlay has not said its MTU yet' : undefined;
  }

  function directoryProblem({ plugins }: NetworkConfiguration): string | undefined {
    const needsRanges = plugins.some(({ capabilities }) => capabilities.includes('ipRanges'));
    return needsRanges && options.podCidrs().length === 0 ? 'cni config needs ipRanges but no PodCIDR set' : undefined;
  }

  /** What is no plugin's to say, and costs nothing to look at. */
  const earlyProblem = (network: NetworkConfiguration) =>
    network.isBuiltin ? builtinProblem() : directoryProblem(network);

  function checkFiles(network: NetworkConfiguration): string | undefined {
    try {
      readiness.check(network);
      return undefined;
    } catch (error) {
      return explain(error);
    }
  }

  function problem(): string | undefined {
    const network = current();
    if (!network) {
      const why = directory?.problems().map(({ file, message }) => `; ${file}: ${message}`) ?? [];
      return `cni config uninitialized: no usable network configuration in ${confDir}${why.join('')}`;
    }
    const early = earlyProblem(network);
    if (early !== undefined) return early;
    if (said?.text !== network.text) said = { text: network.text, problem: checkFiles(network) };
    return said.problem && `${network.file ?? 'built-in network'}: ${said.problem}`;
  }

  /** Tells those who follow when something is otherwise than the last time. */
  function show(): void {
    const network = current();
    const wrong = problem();
    const now = JSON.stringify([network?.name, network?.file, wrong]);
    if (now === shown) return;
    shown = now;
    metrics.configuration(network && { network: network.name, file: network.file ?? '' });
    const what = network && {
      network: network.name,
      file: network.file ?? 'built-in',
      plugins: network.plugins.map(({ type }) => type).join(', '),
    };
    if (wrong !== undefined) log.warn({ ...what, problem: wrong }, 'the pod network is not ready');
    else log.info(what, 'the pod network is ready');
    if (wrong !== undefined && mode !== 'builtin') deps.tell?.('Warning', 'NetworkConfigurationFailed', wrong);
    if (wrong === undefined && what)
      deps.tell?.('Normal', 'NetworkConfigured', `Pods get network ${what.network} (${what.file}: ${what.plugins})`);
    for (const handler of handlers) handler();
  }

  async function ask(): Promise<void> {
    const network = current();
    if (!network || earlyProblem(network) !== undefined) return;
    const wrong = await metrics
      .operation('status', () => readiness.ask(network))
      .then(
        () => undefined,
        (error) => explain(error),
      );
    said = { text: network.text, problem: wrong };
  }

  /** Programs are copied after the configuration that names them, MTU and ranges come from others: what is not ready is looked at sooner. */
  function periodMs(): number {
    const network = current();
    if (!network) return STATUS_PERIOD_MS;
    if (earlyProblem(network) !== undefined) return EARLY_PERIOD_MS;
    if (problem() !== undefined) return UNREADY_PERIOD_MS;
    return isForeign(network) ? FOREIGN_STATUS_PERIOD_MS : STATUS_PERIOD_MS;
  }

  return {
    current,
    builtin,
    forPod(source) {
      const network = current();
      return network?.isBuiltin ? builtin(Object.keys(computeCapabilityArgs(network, source))) : network;
    },
    problem,
    isForeign,
    onChange: (handler) => void handlers.push(handler),

    async run(signal) {
      const following = directory?.run(signal);
      while (!signal.aborted) {
        // From here on: a change while plugins are asked counts too.
        const changed = new AbortController();
        wake = () => changed.abort();
        deps.beat?.();
        await ask();
        show();
        await clock.sleep(periodMs(), AbortSignal.any([signal, changed.signal])).catch(() => {});
      }
      await following;
    },
  };
}
