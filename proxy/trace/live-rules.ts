import type { Run } from '../../src/netfilter/iptables.ts';
import { NoIpvsError, openIpvs } from '../../src/netfilter/ipvs.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import { joinHostPort } from '../state/addresses.ts';
import { readRulesSteps } from './rules-text.ts';
import type { Ruleset } from './ruleset.ts';

export interface LiveRules {
  rulesets: Ruleset[];
  /** What could not be read, in sentences: a trace over the rest may miss something. */
  gaps: string[];
}

/** Tables that belong to iptables' nft backend; iptables-save prints them. */
const IPTABLES_TABLES = ['filter', 'nat', 'mangle', 'raw', 'security'];

/** The rules that the kernel of a network namespace holds now, whoever wrote them. Reads only. */
export async function readLiveRules(
  family: IpFamily,
  { run, netns, signal }: { run: Run; netns?: string; signal?: AbortSignal },
): Promise<LiveRules> {
  const gaps: string[] = [];
  const tryTo = async (what: string, read: () => Promise<string>): Promise<string> => {
    try {
      return await read();
    } catch (error) {
      if (signal?.aborted) throw error;
      gaps.push(`${what} could not be read: ${(error as Error).message}`);
      return '';
    }
  };
  const print = async (program: string, args: readonly string[]) =>
    (await run(program, args, { netns, signal, timeoutMs: READ_TIMEOUT_MS })).stdout;

  const prefix = family === 'IPv4' ? 'iptables' : 'ip6tables';
  const texts = [await tryTo('iptables rules', () => print(`${prefix}-save`, []))];
  if (texts[0]?.includes(`${prefix}-legacy tables present`))
    texts.push(await tryTo('rules of the legacy iptables', () => print(`${prefix}-legacy-save`, [])));
  if (texts.some((text) => text.includes('--match-set')))
    texts.push(await tryTo('ipsets', () => print('ipset', ['save'])));
  for (const table of await nftTables(family, { run, netns, signal }, gaps))
    texts.push(await tryTo(`table ${table.join(' ')}`, () => print('nft', ['list', 'table', ...table])));
  texts.push(await tryTo('virtual servers of IPVS', () => printIpvs(netns)));
  return { rulesets: await runInSlices(readRulesSteps(family, texts.join('\n')), signal), gaps };
}

const READ_TIMEOUT_MS = 60_000;

/** One table at a time: a newer program's may hold what this nft cannot read, and must not hide the others. */
async function nftTables(
  family: IpFamily,
  options: { run: Run; netns?: string; signal?: AbortSignal },
  gaps: string[],
): Promise<[family: string, name: string][]> {
  const own = family === 'IPv4' ? 'ip' : 'ip6';
  try {
    const tables = await createNft(options).tables();
    return tables.flatMap(({ family: kind, name }) => {
      const isOfIptables = kind === own && IPTABLES_TABLES.includes(name);
      return (kind === own && !isOfIptables) || kind === 'inet' ? [[kind, name] as [string, string]] : [];
    });
  } catch (error) {
    gaps.push(`nft tables could not be listed: ${(error as Error).message}`);
    return [];
  }
}

/** As `ipvsadm -Sn` prints it; that program need not be installed. Empty on a kernel without IPVS. */
async function printIpvs(netns?: string): Promise<string> {
  try {
    const ipvs = await openIpvs(netns);
    try {
      const lines: string[] = [];
      for (const server of await ipvs.listServers()) {
        const { protocol, address, port, scheduler } = server;
        const at = `${KIND[protocol]} ${joinHostPort(address, port)}`;
        lines.push(`-A ${at} -s ${scheduler}`);
        for (const real of await ipvs.listRealServers(server))
          lines.push(`-a ${at} -r ${joinHostPort(real.address, real.port)} -m -w ${real.weight}`);
      }
      return `${lines.join('\n')}\n`;
    } finally {
      ipvs.close();
    }
  } catch (error) {
    if (error instanceof NoIpvsError) return '';
    throw error;
  }
}

const KIND = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' } as const;
