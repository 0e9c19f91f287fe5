/** Reserves addresses as one of many processes: `node host-local-child.ts <config as JSON> <name> <count>`; prints them, one a line. */
import { createHostLocal } from '../../cni/ipam/host-local.ts';
import { systemClock } from '../../src/runtime/clock.ts';

const [config = '', name = '', count = ''] = process.argv.slice(2);
const ipam = createHostLocal(systemClock);
const ids = Array.from({ length: Number(count) }, (_, n) => `${name}-${n}`);
const results = await Promise.all(
  ids.map((containerId) => ipam.add(JSON.parse(config), { containerId, ifname: 'eth0', netns: '', args: {} })),
);
process.stdout.write(results.map(({ ips }) => `${ips[0]!.address}\n`).join(''));
