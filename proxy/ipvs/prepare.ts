import { type Ipvs, openIpvs } from '../../src/netfilter/ipvs.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { KubeProxyConfiguration } from '../config/kube-proxy-configuration.ts';
import { ensureSysctls, type SysctlPort } from '../sysctls.ts';
import { computeIpvsSysctls, computeIpvsTimeouts } from './settings.ts';

/** Without it, what a pod answers to another one of its bridge passes by IPVS, which then cannot translate it back. */
const BRIDGE_NETFILTER = 'net.bridge.bridge-nf-call-iptables';

/** Sets kernel settings and timeouts as configured; what the kernel refuses is told once. */
export interface IpvsSettings {
  apply(ipvs: Pick<Ipvs, 'setTimeouts'>): Promise<void>;
}

export function createIpvsSettings(config: KubeProxyConfiguration, sysctls: SysctlPort, log: Logger): IpvsSettings {
  const told = new Set<string>();
  const once = (key: string, message: string, error?: unknown) => {
    if (!told.has(key)) log.warn({ sysctl: key, err: error }, message);
    told.add(key);
  };
  return {
    async apply(ipvs) {
      ensureSysctls(sysctls, computeIpvsSysctls(config.ipvs), (key, error) =>
        once(key, 'a kernel setting stays as it is', error),
      );
      if (sysctls.read(BRIDGE_NETFILTER) === '0')
        once(BRIDGE_NETFILTER, 'pods behind one bridge will not reach each other through Services: set it to 1');
      const timeouts = computeIpvsTimeouts(config.ipvs);
      if (timeouts)
        await ipvs
          .setTimeouts(timeouts)
          .catch((error: unknown) => once('timeouts', 'the IPVS timeouts stay as they are', error));
    },
  };
}

/** For `--init-only`: the settings and nothing else. @throws NoIpvsError */
export async function initializeIpvs(config: KubeProxyConfiguration, sysctls: SysctlPort, log: Logger): Promise<void> {
  const ipvs = await openIpvs();
  try {
    await createIpvsSettings(config, sysctls, log).apply(ipvs);
  } finally {
    ipvs.close();
  }
}
