import type { IpFamily } from '../src/netfilter/tables.ts';
import { ExplainedError } from '../src/runtime/explained-error.ts';
import type { ModeName, ProxyMode } from './mode.ts';

/** Best first: cost independent of the number of services; then what everybody knows; then what needs nothing of the kernel. */
export const AUTO_ORDER: readonly ModeName[] = ['nftables', 'iptables', 'ipvs', 'userspace'];

export interface SelectedMode {
  mode: ProxyMode;
  /** Those of `families` that the host can do in this mode; never empty. */
  families: readonly IpFamily[];
  /** For people: what was tried before and why it cannot be. */
  reason: string;
}

export interface ModeChoice {
  wanted: ModeName | 'auto';
  modes: Partial<Record<ModeName, ProxyMode>>;
  families: readonly IpFamily[];
  /** The family of the node's own address: a mode that lacks it is of no use. */
  primary: IpFamily;
}

/**
 * Picks the mode that runs. A mode that was asked for by name is never replaced by another one in silence; `auto` takes the best that
 * the kernel proves to have.
 * @throws ExplainedError when there is none, with every reason.
 */
export async function selectMode({ wanted, modes, families, primary }: ModeChoice): Promise<SelectedMode> {
  const candidates = wanted === 'auto' ? AUTO_ORDER : [wanted];
  const failures: string[] = [];
  for (const name of candidates) {
    const mode = modes[name];
    if (!mode) {
      failures.push(`${name}: this version does not have it`);
      continue;
    }
    const why = new Map<IpFamily, string | undefined>();
    for (const family of families) why.set(family, await mode.usable(family));
    const usable = families.filter((family) => why.get(family) === undefined);
    const lacking = families.flatMap((family) => (why.get(family) ? [`no ${family}: ${why.get(family)}`] : []));
    if (usable.length > 0 && (usable.includes(primary) || !families.includes(primary)))
      return { mode, families: usable, reason: [...(wanted === 'auto' ? failures : []), ...lacking].join('; ') };
    failures.push(`${name}: ${lacking.join(', ')}`);
  }
  throw new ExplainedError(
    wanted === 'auto'
      ? `no proxy mode can run on this host: ${failures.join('; ')}`
      : `proxy mode ${JSON.stringify(wanted)} cannot run on this host: ${failures.join('; ')}; set mode to another one, or to "auto"`,
  );
}
