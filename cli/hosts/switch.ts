import { createHost, type Host } from './host.ts';

/** Addresses of test networks: RFC 5737's documentation block, which no route of a real machine uses. */
const SWITCH_NETWORK = '198.51.100';

/** An Ethernet switch between hosts: a bridge in a host of its own, without an uplink. */
export interface Switch {
  readonly host: Host;
  /** Plugs a host in as `eth0` and returns the address it got: 198.51.100.10 for the first, .11 for the next. */
  plug(host: Host): Promise<string>;
  close(): Promise<void>;
}

export async function createSwitch(name = 'switch'): Promise<Switch> {
  const host = await createHost(name);
  await must(host, ['ip', 'link', 'add', 'br0', 'type', 'bridge']);
  await must(host, ['ip', 'link', 'set', 'br0', 'up']);
  let plugged = 0;
  return {
    host,
    async plug(other) {
      const address = `${SWITCH_NETWORK}.${10 + plugged}`;
      const port = `p${plugged++}`;
      // Both ends are made inside the switch's namespace; `netns` then names the other host by its init's pid, which only
      // this machine's /proc knows: so this one command runs outside the switch's mount and pid namespaces.
      await must(
        host,
        ['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(other.initPid)],
        { networkOnly: true },
      );
      await must(host, ['ip', 'link', 'set', port, 'master', 'br0', 'up']);
      await must(other, ['ip', 'link', 'set', 'eth0', 'up']);
      await must(other, ['ip', 'address', 'add', `${address}/24`, 'dev', 'eth0']);
      return address;
    },
    close: () => host.close(),
  };
}

async function must(host: Host, argv: string[], options: { networkOnly?: boolean } = {}): Promise<void> {
  const { code, stderr } = await host.run(argv, options);
  if (code !== 0) throw new Error(`host ${host.name}: ${argv.join(' ')}: ${stderr.trim()}`);
}
