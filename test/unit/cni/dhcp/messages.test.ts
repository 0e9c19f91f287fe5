import test from 'ava';
import { CLIENT_FILTER, parseDatagram, renderDatagram } from '../../../../cni/ipam/dhcp/datagram.ts';
import { type DhcpMessage, parseMessage, renderMessage } from '../../../../cni/ipam/dhcp/message.ts';
import { parseClientOptions, resultOf, termsOf, withResultOptions } from '../../../../cni/ipam/dhcp/options.ts';
import type { FilterInstruction } from '../../../../src/linux/packet-socket.ts';

const HARDWARE = Uint8Array.from([2, 0, 0, 0, 0, 9]);

function ack(options: [number, number[]][], yourAddress = '10.5.0.9'): DhcpMessage {
  return {
    op: 'reply',
    transaction: 0x0102_0304,
    seconds: 3,
    broadcast: true,
    clientAddress: '0.0.0.0',
    yourAddress,
    hardwareAddress: HARDWARE,
    options: new Map(options.map(([code, bytes]) => [code, Buffer.from(bytes)])),
  };
}

test('a message is read as it was written, and is as long as a BOOTP message at least', (t) => {
  const message = ack([
    [53, [5]],
    [1, [255, 255, 255, 0]],
  ]);
  const bytes = renderMessage(message);
  t.is(bytes.length, 300);
  t.deepEqual(parseMessage(bytes), message);
});

test('an option longer than 255 bytes is split and joined (RFC 3396)', (t) => {
  const value = Array.from({ length: 600 }, (_, n) => n & 255);
  t.deepEqual([...parseMessage(renderMessage(ack([[121, value]])))!.options.get(121)!], value);
});

test('options go on in the fields of names (option 52); an empty one is kept', (t) => {
  const bytes = renderMessage(
    ack([
      [52, [3]],
      [80, []],
    ]),
  );
  Buffer.from([15, 2, 0x61, 0x62, 255]).copy(bytes, 108);
  Buffer.from([6, 4, 10, 0, 0, 1, 255]).copy(bytes, 44);
  const { options } = parseMessage(bytes)!;
  t.is(Buffer.from(options.get(15)!).toString(), 'ab');
  t.deepEqual([...options.get(6)!], [10, 0, 0, 1]);
  t.is(options.get(80)?.length, 0);
});

test('what is no message is none: too short, another cookie, an option over the end', (t) => {
  const bytes = renderMessage(ack([]));
  t.is(parseMessage(bytes.subarray(0, 239)), undefined);
  const otherCookie = Buffer.from(bytes);
  otherCookie[236] = 0;
  t.is(parseMessage(otherCookie), undefined);
  const over = Buffer.from(bytes.subarray(0, 243));
  over.set([6, 200, 1], 240);
  t.is(parseMessage(over), undefined);
  const longHardware = Buffer.from(bytes);
  longHardware[2] = 200;
  t.is(parseMessage(longHardware), undefined);
});

const DATAGRAM = {
  source: '10.5.0.1',
  destination: '255.255.255.255',
  sourcePort: 67,
  destinationPort: 68,
  payload: Buffer.from('odd'),
};

test('a datagram has the checksums of RFC 768 and 791', (t) => {
  const packet = renderDatagram(DATAGRAM);
  t.deepEqual(parseDatagram(packet), { ...DATAGRAM, payload: packet.subarray(28) });
  // By hand: the whole with its pseudo header sums to all ones.
  const pseudo = Buffer.concat([
    packet.subarray(12, 20),
    Buffer.from([0, 17, 0, 11]),
    packet.subarray(20),
    Buffer.alloc(1),
  ]);
  let sum = 0;
  for (let at = 0; at < pseudo.length; at += 2) sum += pseudo.readUInt16BE(at);
  t.is((sum & 0xffff) + (sum >> 16), 0xffff);
  const damaged = Buffer.from(packet);
  damaged[12]! ^= 1;
  t.is(parseDatagram(damaged), undefined);
  t.is(parseDatagram(packet.subarray(0, 25)), undefined);
});

/** Runs classic BPF as the kernel does, as far as the filter needs it. */
function accepts(packet: Buffer, program: readonly FilterInstruction[]): boolean {
  let [a, x, at] = [0, 0, 0];
  for (;;) {
    const [code, whenTrue, whenFalse, operand] = program[at]!;
    at += 1;
    if (code === 0x30) a = packet.readUInt8(operand);
    else if (code === 0x28) a = packet.readUInt16BE(operand);
    else if (code === 0x48) a = packet.readUInt16BE(x + operand);
    else if (code === 0xb1) x = (packet.readUInt8(operand) & 15) * 4;
    else if (code === 0x15) at += a === operand ? whenTrue : whenFalse;
    else if (code === 0x45) at += (a & operand) !== 0 ? whenTrue : whenFalse;
    else return operand > 0;
  }
}

test('the socket’s filter lets answers of servers through, and nothing else of a busy link', (t) => {
  const packet = renderDatagram(DATAGRAM);
  t.true(accepts(packet, CLIENT_FILTER));
  t.false(accepts(renderDatagram({ ...DATAGRAM, destinationPort: 53 }), CLIENT_FILTER));
  const tcp = Buffer.from(packet);
  tcp[9] = 6;
  t.false(accepts(tcp, CLIENT_FILTER));
  const fragment = Buffer.from(packet);
  fragment.writeUInt16BE(0x2001, 6);
  t.false(accepts(fragment, CLIENT_FILTER));
  const withOptions = Buffer.concat([
    Buffer.from([0x46]),
    packet.subarray(1, 20),
    Buffer.alloc(4),
    packet.subarray(20),
  ]);
  t.true(accepts(withOptions, CLIENT_FILTER));
});

const MASK: [number, number[]] = [1, [255, 255, 252, 0]];

test('an acknowledgement becomes address, gateway and routes', (t) => {
  t.deepEqual(resultOf(ack([MASK, [3, [10, 5, 0, 1, 10, 5, 0, 2]]])), {
    interfaces: [],
    ips: [{ address: '10.5.0.9/22', gateway: '10.5.0.1' }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.5.0.1' }],
  });
  t.throws(() => resultOf(ack([])), { message: 'DHCP option Subnet Mask not found in DHCPACK' });
  const one = resultOf(ack([[1, [255, 255, 255, 255]]]));
  t.deepEqual(one.ips, [{ address: '10.5.0.9/32' }]);
});

test('routes without classes stand above the others (RFC 3442); a router of zeros is the link', (t) => {
  const classless = [0, 10, 5, 0, 9, 24, 10, 6, 1, 10, 5, 0, 3, 12, 172, 16, 0, 0, 0, 0];
  const from = ack([MASK, [3, [10, 5, 0, 1]], [33, [10, 7, 0, 0, 10, 5, 0, 4]], [121, classless]]);
  t.deepEqual(resultOf(from).routes, [
    { dst: '0.0.0.0/0', gw: '10.5.0.9' },
    { dst: '10.6.1.0/24', gw: '10.5.0.3' },
    { dst: '172.16.0.0/12', gw: '0.0.0.0', scope: 253 },
  ]);
  t.deepEqual(
    withResultOptions(resultOf(from), { suppressGateway: true }).routes.map(({ dst }) => dst),
    ['10.6.1.0/24', '172.16.0.0/12'],
  );
  const torn = withResultOptions(resultOf(ack([MASK, [121, [24, 10, 6]], [33, [192, 168, 3, 7, 10, 5, 0, 4]]])), {
    priority: 5,
  });
  t.deepEqual(withResultOptions(torn, { priority: 5 }), torn, 'twice is as once');
  t.deepEqual(torn.routes, [{ dst: '192.168.3.0/24', gw: '10.5.0.4', priority: 5 }]);
});

test('how long a lease counts: what the server says if it is in order, else by RFC 2131', (t) => {
  const seconds = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  t.deepEqual(termsOf(ack([[51, seconds(1000)]])), { leaseMs: 1_000_000, renewMs: 500_000, rebindMs: 875_000 });
  t.deepEqual(
    termsOf(
      ack([
        [51, seconds(1000)],
        [58, seconds(100)],
        [59, seconds(200)],
      ]),
    ),
    {
      leaseMs: 1_000_000,
      renewMs: 100_000,
      rebindMs: 200_000,
    },
  );
  t.deepEqual(
    termsOf(
      ack([
        [51, seconds(1000)],
        [58, seconds(900)],
        [59, seconds(2000)],
      ]),
    ),
    {
      leaseMs: 1_000_000,
      renewMs: 500_000,
      rebindMs: 875_000,
    },
  );
  t.deepEqual(
    termsOf(
      ack([
        [51, seconds(1000)],
        [59, seconds(300)],
      ]),
    ),
    { leaseMs: 1_000_000, renewMs: 300_000, rebindMs: 300_000 },
  );
  t.is(termsOf(ack([[51, [255, 255, 255, 255]]])).renewMs, Infinity);
  t.is(termsOf(ack([])).leaseMs, 3_600_000);
});

test('what is asked for and told: names and numbers, values of the configuration and of CNI_ARGS', (t) => {
  const asked = parseClientOptions({ request: [{ option: 'host-name' }, { option: '42' }], provide: [] }, {});
  t.deepEqual(asked.request, [12, 42, 3, 1]);
  t.deepEqual(parseClientOptions({ request: [{ skipDefault: true }], provide: [] }, {}).request, []);
  const provide = [
    { option: 'host-name', value: 'a', fromArg: 'K8S_POD_NAME' },
    { option: 'vendor-class-identifier', value: 'berth' },
    { option: '77', fromArg: 'ABSENT' },
  ];
  const told = parseClientOptions({ request: [], provide }, { K8S_POD_NAME: 'web-0' }).provide;
  t.deepEqual(
    told.map(([code, value]) => [code, Buffer.from(value).toString()]),
    [
      [12, 'web-0'],
      [60, 'berth'],
    ],
  );
});

for (const [what, ipam, message] of [
  [
    'a name that nobody knows',
    { request: [{ option: 'colour' }], provide: [] },
    /ipam.request: "colour": options are numbers from 1 to 254, or .*routers/,
  ],
  ['a number that is none', { request: [{ option: '255' }], provide: [] }, /"255"/],
  [
    'a value that is too long',
    { request: [], provide: [{ option: '12', value: 'x'.repeat(256) }] },
    /256 bytes, 255 at most/,
  ],
  ['a value that is no text', { request: [], provide: [{ option: '12', value: 7 }] }, /no text/],
  [
    'an option of the protocol itself',
    { request: [], provide: [{ option: '53', value: 'x' }] },
    /53 is the client's own/,
  ],
  ['what is no object', { request: ['routers'], provide: [] }, /no object/],
] as const)
  test(`refuses ${what}`, (t) => {
    t.throws(() => parseClientOptions(ipam, {}), { code: 7, message });
  });

test('a domain that is none does not get into a resolv.conf', (t) => {
  const dnsOf = (domain: string) => resultOf(ack([MASK, [15, [...Buffer.from(domain)]]])).dns;
  t.deepEqual(dnsOf('a.example\0'), { domain: 'a.example' });
  t.is(dnsOf('a.example\nnameserver 6.6.6.6'), undefined);
});
