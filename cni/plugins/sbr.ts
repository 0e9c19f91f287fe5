/**
 * The sbr plugin, chained behind an interface plugin: what a container sends from that interface's addresses is routed by tables of
 * their own, so that answers leave by the interface that was asked.
 */
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { addRule, deleteRule, listRules } from '../../src/linux/netlink/rules.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { type AttachmentKey, CNI_ERROR, CniError, type CniIp, type CniResult, type Plugin } from '../types.ts';
import { inContainer } from './container-interface.ts';
import { asCniError, broken } from './failure.ts';
import { withNetnsLock } from './netns-lock.ts';
import { computeSourceRouting, ruleOf, type SourceRoutingOptions, type SourceRoutingPlan } from './source-routing.ts';

export interface SbrConfig extends SourceRoutingOptions {
  /** The result of the ADD, where the runtime gives it with DEL: the interface may be gone then. */
  previous: CniResult | undefined;
}

export interface SbrDependencies {
  sleep(ms: number): Promise<void>;
}

export function createSbr({ sleep }: SbrDependencies): Plugin<SbrConfig> {
  return {
    type: 'sbr',

    async add(config, request, previous) {
      if (!previous) throw unchained();
      const ips = ipsOf(previous, request.ifname);
      if (previous.ips.length === 0)
        throw new CniError(CNI_ERROR.invalidNetworkConfig, `No IP addresses supplied on interface: ${request.ifname}`);
      try {
        await inContainer(request.netns, (pod) =>
          withNetnsLock(request.netns, sleep, async () => {
            const link = await pod.getLink(request.ifname);
            if (!link) throw broken(`Cannot find network interface ${request.ifname} in ${request.netns}`);
            const have = { rules: await listRules(pod), routes: await pod.listRoutes() };
            await carryOut(pod, computeSourceRouting(ips, link.index, have, config));
          }),
        );
      } catch (error) {
        throw asCniError(error);
      }
      return previous;
    },

    /** The tables' routes go with the link. */
    async del(config, { netns, ifname }) {
      if (netns === undefined || !netnsExists(netns)) return;
      await inContainer(netns, (pod) =>
        withNetnsLock(netns, sleep, async () => {
          const link = await pod.getLink(ifname);
          const addresses = link ? await pod.listAddresses({ linkIndex: link.index }) : [];
          const known = [...addresses, ...(config.previous ? ipsOf(config.previous, ifname) : [])];
          const sources = new Set(known.map((one) => ruleOf(one, 0).source));
          const stale = (await listRules(pod)).filter(
            ({ source, table }) =>
              source !== undefined && sources.has(source) && (config.table === undefined || table === config.table),
          );
          await runAll(
            `remove rules of ${ifname}`,
            stale.map(({ source, table, priority }) => async () => {
              await deleteRule(pod, { source: source!, table, priority }).catch(ignoreAbsent);
            }),
          );
        }),
      );
    },

    async check(config, { netns, ifname }, result) {
      await inContainer(netns, async (pod) => {
        const [rules, routes] = [await listRules(pod), await pod.listRoutes()];
        for (const ip of ipsOf(result, ifname)) {
          const { source } = ruleOf(ip, 0);
          const rule = rules.find(
            (one) => one.source === source && (config.table === undefined || one.table === config.table),
          );
          if (!rule) throw broken(`${netns} has no routing rule for what comes from ${source}`);
          if (config.table === undefined && !routes.some(({ table }) => table === rule.table))
            throw broken(`the routing table ${rule.table} of ${source} is empty in ${netns}`);
        }
      });
    },

    async gc(_config: SbrConfig, _valid: readonly AttachmentKey[]) {},
    async status() {},
  };
}

/** Undone in reverse when a step fails. */
async function carryOut(pod: Rtnetlink, { replace, rules, remove }: SourceRoutingPlan): Promise<void> {
  const undo: (() => Promise<unknown>)[] = [];
  try {
    for (const route of replace) {
      await pod.replaceRoute(route);
      if (route.table !== TABLE_MAIN) undo.unshift(() => pod.deleteRoute(route).catch(ignoreAbsent));
    }
    for (const rule of rules) {
      await addRule(pod, rule);
      undo.unshift(() => deleteRule(pod, rule).catch(ignoreAbsent));
    }
    for (const route of remove) {
      await pod.deleteRoute(route).catch(ignoreAbsent);
      undo.unshift(() => pod.replaceRoute(route));
    }
  } catch (error) {
    await runAll('roll back', undo);
    throw error;
  }
}

const TABLE_MAIN = 254;

/** Those on the interface; one that says no interface is on it. */
export function ipsOf({ ips, interfaces }: CniResult, ifname: string): CniIp[] {
  return ips.filter(({ interface: index }) => index === undefined || interfaces[index]?.name === ifname);
}

function unchained(): CniError {
  return new CniError(CNI_ERROR.invalidNetworkConfig, 'sbr: this plugin must be called as chained plugin', {
    details: 'put it behind the plugin that brings the interface',
  });
}

function ignoreAbsent(error: unknown): void {
  if (!isNetlinkError(error, 'ENOENT', 'ESRCH')) throw error;
}
