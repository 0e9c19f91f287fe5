import test from 'ava';
import { readNft } from '../../../../proxy/trace/nft-text.ts';
import type { Packet, TraceHost } from '../../../../proxy/trace/packet.ts';
import { walkPacket } from '../../../../proxy/trace/walk.ts';

/** As nft prints it: chains of single services, as kube-proxy lays them out. */
const CHAINS = `table ip kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips {
		type ipv4_addr
		elements = { 10.96.0.1, 10.96.0.2 }
	}

	set hairpin {
		type ipv4_addr . ipv4_addr . inet_proto . inet_service
		elements = { 10.244.0.1 . 10.244.0.1 . tcp . 8080 }
	}

	set affinity-a {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 3h
		elements = { 10.244.0.7 expires 2h59m58s }
	}

	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 80 comment "ns/a" : goto service-a,
			     10.96.0.2 . udp . 53 : goto service-b, 198.51.100.1 . tcp . 80 : goto external-a }
	}

	map none {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.9 . tcp . 80 : goto reject-chain, 10.96.0.10 . tcp . 80 : drop }
	}

	map firewall {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 198.51.100.1 . tcp . 80 : goto firewall-a }
	}

	chain pre {
		type filter hook prerouting priority -110; policy accept;
		ct state new ip daddr . meta l4proto . th dport vmap @firewall
	}

	chain nat-pre {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}

	chain nat-out {
		type nat hook output priority -100; policy accept;
		jump services
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state new ip daddr . meta l4proto . th dport vmap @none
		ip daddr @cluster-ips reject with icmp type port-unreachable comment "undefined port"
	}

	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
		ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin masquerade fully-random
	}

	chain services {
		ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000
		ip daddr . meta l4proto . th dport vmap @services
		fib daddr type local ip daddr != 127.0.0.0/8 tcp dport 30080 goto external-a
	}

	chain service-a {
		ip saddr @affinity-a goto endpoint-2
		numgen random mod 4 vmap { 0 : goto endpoint-1,
			1-3 : goto endpoint-2 }
	}

	chain service-b {
		meta l4proto udp dnat ip to numgen random mod 2 map { 0 : 10.244.0.3 . 5353, 1 : 10.244.0.4 . 5353 }
	}

	chain endpoint-1 {
		update @affinity-a { ip saddr timeout 3h }
		meta l4proto tcp dnat to 10.244.0.1:8080
	}

	chain endpoint-2 {
		counter packets 3 bytes 180
		meta l4proto tcp dnat to 10.244.0.2:8080
	}

	chain external-a {
		meta mark set meta mark | 0x00004000
		goto service-a
	}

	chain firewall-a {
		ip saddr != { 203.0.113.0/24, 192.0.2.5-192.0.2.7 } drop
	}

	chain reject-chain {
		reject
	}
}
table ip6 kube-proxy {
	chain pre {
		type nat hook prerouting priority dstnat; policy drop;
	}
}
`;

/** Another layout: one map holds all endpoints, by service and index. */
const MAPS = `table ip berth-proxy {
	map endpoints {
		type ipv4_addr . inet_proto . inet_service . integer : ipv4_addr . inet_service
		elements = { 10.96.0.1 . tcp . 80 . 0 : 10.244.0.1 . 8080,
			     10.96.0.1 . tcp . 80 . 1 : 10.244.0.2 . 8080 }
	}
	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 80 : goto pick-2 }
	}
	chain nat-pre {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @services
	}
	chain pick-2 {
		dnat ip addr . port to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints
	}
}
`;

const HOST: TraceHost = { localAddresses: ['192.168.0.2'] };
const POD = { source: '10.244.0.9', inInterface: 'cni0' };
const OUTSIDE = { source: '203.0.113.9', inInterface: 'eth0' };

function endsOf(text: string, packet: Partial<Packet> & { source: string; to: string }, host = HOST): string[] {
  const [destination, port] = packet.to.split(':') as [string, string];
  const asked: Packet = { protocol: 'TCP', ...packet, destination, destinationPort: Number(port) };
  return walkPacket([readNft('IPv4', text)], asked, host).map(({ verdict, probability, isMasqueraded, ...end }) => {
    const what = verdict === 'ACCEPT' ? end.destination : verdict;
    return `${what}${isMasqueraded ? ' masqueraded' : ''} ${probability}`;
  });
}

const CASES: [what: string, text: string, packet: Parameters<typeof endsOf>[1], ends: string[]][] = [
  ['numgen and ranges', CHAINS, { ...POD, to: '10.96.0.1:80' }, ['10.244.0.1:8080 0.25', '10.244.0.2:8080 0.75']],
  [
    'an affinity set in the kernel',
    CHAINS,
    { ...POD, source: '10.244.0.7', to: '10.96.0.1:80' },
    ['10.244.0.2:8080 1'],
  ],
  [
    'hairpin by set',
    CHAINS,
    { ...POD, source: '10.244.0.1', to: '10.96.0.1:80' },
    ['10.244.0.1:8080 masqueraded 0.25', '10.244.0.2:8080 0.75'],
  ],
  [
    'a mark, and its removal',
    CHAINS,
    { ...OUTSIDE, to: '10.96.0.1:80' },
    ['10.244.0.1:8080 masqueraded 0.25', '10.244.0.2:8080 masqueraded 0.75'],
  ],
  [
    'dnat by map',
    CHAINS,
    { ...POD, protocol: 'UDP', to: '10.96.0.2:53' },
    ['10.244.0.3:5353 0.5', '10.244.0.4:5353 0.5'],
  ],
  ['reject by chain', CHAINS, { ...POD, to: '10.96.0.9:80' }, ['REJECT 1']],
  ['drop by map', CHAINS, { ...POD, to: '10.96.0.10:80' }, ['DROP 1']],
  ['reject with a reason and a comment', CHAINS, { ...POD, to: '10.96.0.1:81' }, ['REJECT 1']],
  ['a range of addresses', CHAINS, { ...OUTSIDE, source: '192.0.2.8', to: '198.51.100.1:80' }, ['DROP 1']],
  [
    'within the range',
    CHAINS,
    { ...OUTSIDE, source: '192.0.2.7', to: '198.51.100.1:80' },
    ['10.244.0.1:8080 masqueraded 0.25', '10.244.0.2:8080 masqueraded 0.75'],
  ],
  [
    'fib and tcp dport',
    CHAINS,
    { ...OUTSIDE, to: '192.168.0.2:30080' },
    ['10.244.0.1:8080 masqueraded 0.25', '10.244.0.2:8080 masqueraded 0.75'],
  ],
  [
    'tcp dport is not for UDP',
    CHAINS,
    { ...OUTSIDE, protocol: 'UDP', to: '192.168.0.2:30080' },
    ['192.168.0.2:30080 1'],
  ],
  ['one map for all endpoints', MAPS, { ...POD, to: '10.96.0.1:80' }, ['10.244.0.1:8080 0.5', '10.244.0.2:8080 0.5']],
];

for (const [what, text, packet, ends] of CASES)
  test(`nft: ${what}`, (t) => {
    t.deepEqual(endsOf(text, packet), ends);
  });

test('nft: a client that the caller says is remembered', (t) => {
  const host = { ...HOST, remembered: ['affinity-a'] };
  t.deepEqual(endsOf(CHAINS, { ...POD, to: '10.96.0.1:80' }, host), ['10.244.0.2:8080 1']);
});

test('nft: what the trace cannot judge is said, and the rule taken not to hold', (t) => {
  const text = `table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		meta cgroup 5 accept
		tcp dport { 22, 8000-8080 } ct state new limit rate 5/second accept
		iifname "cni*" meta l4proto { tcp, udp } ct state { new, established } accept
	}
}
`;
  const packet: Packet = { protocol: 'TCP', ...POD, destination: '192.168.0.2', destinationPort: 8001 };
  const [outcome] = walkPacket([readNft('IPv4', text)], packet, HOST);
  t.is(outcome?.verdict, 'ACCEPT');
  t.is(outcome?.doubts.length, 2);
  t.regex(outcome!.doubts[0]!, /^inet filter input meta cgroup 5 accept: cannot judge/);
  const [dropped] = walkPacket([readNft('IPv4', text)], { ...packet, inInterface: 'eth0' }, HOST);
  t.is(dropped?.verdict, 'DROP');
});
