/** A process whose monitor of nf_tables does not read while `nft` makes more changes than its buffer holds; prints what it was told. */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { openNftMonitor } from '../../src/netfilter/nfnetlink/monitor.ts';

const nft = (input: string) => spawnSync('/usr/sbin/nft', ['-f', '-'], { input, encoding: 'utf8' });
const told: string[] = [];
nft('add table ip flood; add set ip flood addresses { type ipv4_addr; }');
const monitor = openNftMonitor({ isForeign: () => false, onChanged: (why) => told.push(why) });
// The event loop stands still, so that nothing is read meanwhile.
const elements = Array.from({ length: 4000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`).join(', ');
for (let round = 0; round < 30; round++)
  for (const verb of ['add', 'delete']) nft(`${verb} element ip flood addresses { ${elements} }`);
await sleep(2500);
nft('delete table ip flood');
monitor.close();
process.stdout.write(`${[...new Set(told)].join(' ')}\n`);
