import { kubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';
import { removeAllModes } from '../../proxy/leftovers.ts';
import { createModes } from '../../proxy/modes.ts';
import { loadConfig } from '../../src/config/load.ts';
import { run } from '../../src/linux/exec.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';

/** Takes away what the service proxy, in whichever mode, has put into the kernel. Idempotent. @throws AggregateError in the end */
export async function removeServiceRules(config = loadConfig(kubeProxyConfiguration)): Promise<void> {
  const modes = createModes({
    run,
    config,
    sysctls: { read: readSysctl, write: writeSysctl },
    clock: systemClock,
    log: silentLogger,
    metrics: new Registry(),
  });
  await removeAllModes(modes, ['IPv4', 'IPv6']);
}
