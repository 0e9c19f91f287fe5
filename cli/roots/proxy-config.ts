import { readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { type KubeProxyConfiguration, kubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';
import { initializeIpvs } from '../../proxy/ipvs/prepare.ts';
import { createSysctlApplier, type SysctlPort } from '../../proxy/sysctls.ts';
import { type ConfigFlag, loadConfig } from '../../src/config/load.ts';
import { renderConfig } from '../../src/config/render.ts';
import { setOwnOomScore } from '../../src/linux/oom-score.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';

import type { ProgramContext } from './context.ts';
import { CONNTRACK_HASH } from './proxy-part.ts';

/** The file with the flags above it. @throws ConfigError with all problems at once */
export function loadProxyConfig(
  flags: { config?: string; overrides: ConfigFlag[] },
  onWarning?: (message: string) => void,
): KubeProxyConfiguration {
  return loadConfig(kubeProxyConfiguration, { file: flags.config, flags: flags.overrides, onWarning });
}

/** `--write-config-to`: a file that gives the same configuration again, with every default said. */
export function writeProxyConfig(config: KubeProxyConfiguration, file: string): void {
  const { apiVersion, kind, fields } = kubeProxyConfiguration;
  writeFileSync(file, stringify({ apiVersion, kind, ...renderConfig(fields, config) }), { mode: 0o644 });
}

const LOOK_EVERY_MS = 2000;

/**
 * Ends with an error once the file's content is another one, so that whoever keeps the process running starts it with the new
 * configuration, as kube-proxy does. A file that is gone, or is being replaced, is looked at again.
 */
export function createConfigWatch(file: string, clock: Clock): Runnable {
  const read = () => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return undefined;
    }
  };
  const before = read();
  return {
    async run(signal) {
      while (!signal.aborted) {
        await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
        const now = read();
        if (!signal.aborted && now !== undefined && now !== before)
          throw new ExplainedError(`${file} has changed: ending, to be started again with what it says now`);
      }
    },
  };
}

/** `--init-only`: what the proxy does with full root, so that later it needs CAP_NET_ADMIN only. Rules are not touched. */
export async function initializeProxy(
  config: KubeProxyConfiguration,
  sysctls: SysctlPort,
  { log }: ProgramContext,
): Promise<void> {
  setProxyOomScore(config, log);
  const warn = () => {};
  createSysctlApplier({ port: sysctls, hash: CONNTRACK_HASH, config, log, warn }).applyConntrack();
  if (config.mode === 'ipvs') await initializeIpvs(config, sysctls, log);
}

/** For a process that is the proxy alone. */
export function setProxyOomScore(config: KubeProxyConfiguration, log: Logger): void {
  if (!setOwnOomScore(config.oomScoreAdj))
    log.debug({ oomScoreAdj: config.oomScoreAdj }, 'CAP_SYS_RESOURCE is missing: the proxy keeps its oom_score_adj');
}
