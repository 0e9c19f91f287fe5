import { openAddressHolder } from '../../src/linux/netlink/dummy.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ModeDependencies, NodeRenderOptions, ProxyMode } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { renderIpvsChains } from './chains.ts';
import { removeIpvs } from './cleanup.ts';
import { LINK_NAME, openIpvsKernel, readAddresses } from './kernel.ts';
import { createIpvsSettings } from './prepare.ts';
import { createIpvsProxier } from './proxier.ts';
import { renderIpvsSteps } from './render.ts';
import { renderIpvsText } from './text.ts';
import { whyNotUsable } from './usable.ts';

/** The kernel's load balancer, with kube-proxy's link, sets and chains around it. */
export function createIpvsMode(deps: ModeDependencies): ProxyMode {
  const { config, log, sysctls } = deps;
  const scheduler = config.ipvs.scheduler;
  const isExcluded = (address: string) => config.ipvs.excludeCIDRs.some((cidr) => cidrContains(cidr, address));
  const settings = createIpvsSettings(config, sysctls, log);

  return {
    name: 'ipvs',
    usable: (family) => whyNotUsable(family, scheduler, deps),
    proxier: (family) =>
      createIpvsProxier({
        family,
        scheduler,
        isExcluded,
        open: () => openIpvsKernel(family, deps),
        prepare: ({ ipvs }) => settings.apply(ipvs),
        clock: deps.clock,
        log,
      }),
    cleanup: (family, successor) => removeIpvs(family, deps, isExcluded, successor),
    async renderText(snapshot: ProxySnapshot, node: NodeRenderOptions) {
      const holder = openAddressHolder(LINK_NAME, deps.netns);
      try {
        const { host } = await readAddresses({ holder }, snapshot.family);
        const options = { ...node, scheduler, hostAddresses: host, hasRandomFully: true };
        const wanted = await runInSlices(renderIpvsSteps(snapshot, options));
        return renderIpvsText(wanted, renderIpvsChains(wanted, snapshot.family, options), snapshot.family);
      } finally {
        holder.close();
      }
    },
  };
}
