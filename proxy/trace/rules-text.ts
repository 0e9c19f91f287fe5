import { type IpFamily, parseIptablesSaveSteps } from '../../src/netfilter/tables.ts';
import { readIptables } from './iptables-text.ts';
import { readIpsets, readIpvs } from './ipvs-text.ts';
import { readNftSteps } from './nft-text.ts';
import type { Ruleset } from './ruleset.ts';

/**
 * Reads what iptables-save, nft list, ipset save and ipvsadm -Sn print, one behind the other in any order: which program it was
 * shows at each line. In steps of some lines. Of ipvsadm's text only the family's servers are taken.
 */
export function* readRulesSteps(family: IpFamily, text: string): Generator<void, Ruleset[]> {
  const iptables: string[] = [];
  const nft: string[] = [];
  const ipsets: string[] = [];
  const ipvs: string[] = [];
  let isInNft = false;
  let count = 0;
  for (const line of text.split('\n')) {
    if (++count % LINES_A_STEP === 0) yield;
    if (/^table \S+ \S+ \{/.test(line)) isInNft = true;
    if (isInNft) nft.push(line);
    else if (/^-[Aa] (-[tu]|--sctp-service) /.test(line)) ipvs.push(line);
    else if (/^(create|add) \S+ /.test(line)) ipsets.push(line);
    else if (line.startsWith('*')) iptables.push(line, ...BUILT_IN_CHAINS);
    // Addresses of kube-ipvs0: the virtual servers tell them.
    else if (!line.startsWith('addr add ')) iptables.push(line);
    if (line === '}') isInNft = false;
  }
  const rulesets: Ruleset[] = [];
  const tables = yield* parseIptablesSaveSteps(iptables.join('\n'));
  if (tables.size > 0) rulesets.push(readIptables(family, tables, readIpsets(ipsets)));
  if (nft.length > 0) rulesets.push(yield* readNftSteps(family, nft.join('\n')));
  if (ipvs.length > 0) rulesets.push(readIpvs(family, ipvs));
  return rulesets;
}

const LINES_A_STEP = 500;

/** Rendered text may leave out what every table has; where the text tells them, with their policy, that counts. */
const BUILT_IN_CHAINS = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'].map(
  (chain) => `:${chain} ACCEPT [0:0]`,
);
