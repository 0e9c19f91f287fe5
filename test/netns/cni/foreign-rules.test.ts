/** Host ports, the firewall plugin and the node's own rules on a host that others have rules on: both work, and theirs stay as they were. */
import test from 'ava';
import { readForwardDroppers } from '../../../cli/doctor/forward-droppers.ts';
import { createNodeNetwork } from '../../../cni/node/node-network.ts';
import { firewallProgram } from '../../../cni/programs/firewall.ts';
import { portmapProgram } from '../../../cni/programs/portmap.ts';
import { hasProgram, run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { callOurs } from '../../support/cni-calls.ts';
import { NODE_ADDRESS, portmapConf } from '../../support/host-ports.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { createWorld } from '../../support/proxy-world.ts';

/** As Docker's Engine leaves them with a published port, of pod 1 here. */
const DOCKER = `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9999 -j DNAT --to-destination 10.244.0.11:8080
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -d 10.244.0.11/32 -p tcp -m tcp --dport 8080 -j ACCEPT
-A DOCKER-USER -j RETURN
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
COMMIT
`;

/** As ufw has them: what is not let in or through is dropped at the end. */
const UFW = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw-before-input - [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-after-forward -j RETURN
COMMIT
`;

const NFT = `table inet admin {
  set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24 } }
  chain forward { type filter hook forward priority filter; policy accept; ct state invalid drop; ip saddr @blocked drop; }
  chain input { type filter hook input priority filter; policy accept; ct state established,related accept; }
}
table ip admin_nat {
  chain pre { type nat hook prerouting priority dstnat; tcp dport 9999 dnat to 10.244.0.11:8080; }
  chain post { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 masquerade; }
}
`
  .replaceAll('; ', '\n')
  .replaceAll('{ type', '{\ntype')
  .replaceAll('; }', '\n}')
  .replaceAll(/ \}$/gm, '\n}');

interface Foreigner {
  name: string;
  program: string;
  args: string[];
  rules: string;
  /** What stays as it was, in one text. */
  list: string[][];
}

const SAVED = [
  ['iptables-save', '-t', 'filter'],
  ['iptables-save', '-t', 'nat'],
];
const FOREIGNERS: Foreigner[] = [
  { name: 'Docker’s', program: 'iptables-restore', args: [], rules: DOCKER, list: SAVED },
  { name: 'ufw’s', program: 'iptables-restore', args: [], rules: UFW, list: SAVED },
  {
    name: 'an administrator’s nft tables',
    program: 'nft',
    args: ['-f', '-'],
    rules: NFT,
    list: [
      ['nft', 'list', 'table', 'inet', 'admin'],
      ['nft', 'list', 'table', 'ip', 'admin_nat'],
    ],
  },
  {
    name: 'iptables-legacy’s beside iptables-nft',
    program: 'iptables-legacy-restore',
    args: [],
    rules: DOCKER.replace(':FORWARD DROP', ':FORWARD ACCEPT'),
    list: [
      ['iptables-legacy-save', '-t', 'filter'],
      ['iptables-legacy-save', '-t', 'nat'],
    ],
  },
];

/** Without counters and times. */
const listed = async (node: TestNetns, { list }: Foreigner) =>
  (await Promise.all(list.map(([program, ...args]) => node.run(program!, args))))
    .join('')
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\[\d+:\d+\]/g, '');

for (const foreigner of FOREIGNERS)
  (hasProgram(foreigner.program) ? test.serial : test.serial.skip)(`beside ${foreigner.name} rules`, async (t) => {
    const world = await createWorld(t);
    const { node, client, host, pods } = world;
    const deps = { run, sleep: async () => {}, hostNetns: node.path, systemBus: 'unix:path=/nowhere' };
    const call = callOurs(
      new Map<string, never>([
        ['portmap', portmapProgram(deps)],
        ['firewall', firewallProgram(deps)],
      ] as never),
    );
    await node.run(foreigner.program, foreigner.args, { input: foreigner.rules });
    const before = await listed(node, foreigner);
    const nodeNetwork = createNodeNetwork(
      {
        clusterCidrs: ['10.244.0.0/16'],
        serviceCidrs: ['10.96.0.0/12'],
        stateFile: `${node.path}.json`,
        hostNetns: node.path,
      },
      { log: silentLogger, clock: systemClock },
    );
    t.teardown(() => nodeNetwork.remove());
    await nodeNetwork.ensure();
    const ports = { iptables: 9090, nftables: 9091 };
    const each = async (commands: readonly string[]) => {
      for (const command of commands)
        for (const [backend, hostPort] of Object.entries(ports)) {
          const conf = portmapConf('10.244.0.12/24', [{ hostPort, containerPort: 8080 }], { name: backend, backend });
          const filter = { ...conf, backend: 'iptables' };
          for (const [type, own] of [
            ['portmap', conf],
            ['firewall', filter],
          ] as const) {
            const netns = world.podPaths[1]!;
            const { failed, out } = await call({ command, type, id: 'two', netns, conf: own });
            t.false(failed, `${command} ${type} ${backend}: ${JSON.stringify(out)}`);
          }
        }
    };
    await each(['ADD', 'CHECK']);
    const ask = (peer: typeof client, address: string, port: number) =>
      peer.ask({ protocol: 'tcp', host: address, port, timeoutMs: 3000 });
    for (const port of Object.values(ports)) {
      t.is(await ask(client, NODE_ADDRESS, port), 'pod2 192.168.50.9', `${port} from outside`);
      t.regex(await ask(host, NODE_ADDRESS, port), /^pod2 /, `${port} from the node`);
      t.regex(await ask(pods[0], NODE_ADDRESS, port), /^pod2 /, `${port} from a pod`);
    }
    t.regex(await ask(pods[0], '10.244.0.12', 8080), /^pod2 /, 'pods among themselves');
    if (foreigner.rules.includes('9999')) t.regex(await ask(client, NODE_ADDRESS, 9999), /^pod1 /, 'theirs works on');
    await each(['DEL']);
    for (const port of Object.values(ports)) t.not((await ask(client, NODE_ADDRESS, port)).slice(0, 4), 'pod2');
    await nodeNetwork.remove();
    t.is(await listed(node, foreigner), before);
  });

test.serial('what the node’s accepts cannot overrule is found for `berth doctor`', async (t) => {
  const node = await createTestNetns(t, 'node');
  await node.run('iptables-restore', [], { input: DOCKER });
  await node.run('nft', ['-f', '-'], { input: NFT });
  t.deepEqual(await readForwardDroppers(node.path), [], 'a DROP that they are in, and others that accept');
  const chain = 'chain forward { type filter hook forward priority 0; policy drop; }';
  await node.run('nft', ['-f', '-'], { input: `table inet filter { ${chain}\n}` });
  const found = ['nft chain inet filter forward'];
  t.deepEqual(await readForwardDroppers(node.path), found);
  if (!hasProgram('iptables-legacy')) return;
  await node.run('iptables-legacy', ['-P', 'FORWARD', 'DROP']);
  t.deepEqual(await readForwardDroppers(node.path), [...found, 'iptables-legacy']);
});
