import { readFile, writeFile } from 'node:fs/promises';
import type { Pod } from '../../src/kube/types.ts';
import type { EventSink } from '../pods/ports.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import { computePodDns, NO_RESOLVER, parseResolvConf, renderResolvConf } from './dns.ts';
import { computeHostname, type PodHostname, requireUsableHostname } from './hostname.ts';
import { renderHostNetworkHosts, renderHosts } from './hosts.ts';

export interface PodFileOptions {
  nodeHostname: string;
  clusterDns: string[];
  clusterDomain: string;
  /** The node's own resolver configuration (`resolvConf`); empty string: none. */
  resolvConfPath: string;
  /** /etc/hosts of the node. */
  hostsPath: string;
}

/** resolv.conf and hosts of a pod: files of the pod directory that its containers mount. */
export function createPodFiles(options: PodFileOptions, deps: { directories: PodDirectories; events: EventSink }) {
  const { directories } = deps;
  return {
    /** Throws when the kernel cannot have it. */
    hostname(pod: Pod): PodHostname {
      requireUsableHostname(pod, options);
      return computeHostname(pod, options);
    },

    /** Written before the first container is made; the addresses come later into the same inode. `announce`: what is missing becomes an event. */
    async ensure(pod: Pod, podIps: readonly string[], { announce }: { announce: boolean }): Promise<void> {
      await Promise.all([this.writeHosts(pod, podIps), writeResolvConf(pod, announce)]);
    },

    async writeHosts(pod: Pod, podIps: readonly string[]): Promise<void> {
      const { hostNetwork, hostAliases } = pod.spec;
      const text = hostNetwork
        ? renderHostNetworkHosts(await readFile(options.hostsPath, 'utf8').catch(() => ''), hostAliases)
        : renderHosts(computeHostname(pod, options), podIps, hostAliases);
      await writeFile(directories.hosts(pod.metadata.uid), text, { mode: 0o644 });
    },
  };

  async function writeResolvConf(pod: Pod, announce: boolean): Promise<void> {
    const host = options.resolvConfPath
      ? parseResolvConf(await readFile(options.resolvConfPath, 'utf8').catch(() => ''))
      : NO_RESOLVER;
    const { config, warnings } = computePodDns(pod, host, options);
    if (announce) for (const { reason, message } of warnings) deps.events.event(pod, 'Warning', reason, message);
    await writeFile(directories.resolvConf(pod.metadata.uid), renderResolvConf(config), { mode: 0o644 });
  }
}

export type PodFilesWriter = ReturnType<typeof createPodFiles>;
