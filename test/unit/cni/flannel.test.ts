import test from 'ava';
import { buildDelegate, type FlannelConfig } from '../../../cni/plugins/flannel.ts';
import { parseSubnetFile } from '../../../cni/plugins/flannel-subnet.ts';
import { flannelProgram } from '../../../cni/programs/flannel.ts';
import { parseNetConf } from '../../../cni/wire/net-conf.ts';
import { run } from '../../../src/linux/exec.ts';

const ENV = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:244::/32
FLANNEL_IPV6_SUBNET=fd00:244:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;
const config: FlannelConfig = {
  network: 'cbr0',
  cniVersion: '0.3.1',
  subnetFile: '/run/flannel/subnet.env',
  dataDir: '/var/lib/cni/flannel',
  ipam: {},
  delegate: {},
  runtimeConfig: {},
};

test('subnet.env: both families, MTU, masquerade; several networks behind commas', (t) => {
  t.deepEqual(parseSubnetFile(ENV, 'subnet.env'), {
    networks: ['10.244.0.0/16', 'fd00:244::/32'],
    subnets: ['10.244.1.1/24', 'fd00:244:1::1/64'],
    mtu: 1450,
    ipMasq: true,
  });
  t.is(parseSubnetFile(ENV.replace('=10.244.0.0/16', '=10.244.0.0/16,10.245.0.0/16'), '').networks.length, 3);
  const wrong: [string, RegExp][] = [
    [
      '',
      /^f is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ$/,
    ],
    [ENV.replace('FLANNEL_MTU=1450\n', ''), /^f is missing FLANNEL_MTU$/],
    [ENV.replace('1450', 'big'), /FLANNEL_MTU=big: not a number/],
    [ENV.replace('10.244.1.1/24', '10.244.1/24'), /FLANNEL_SUBNET=10\.244\.1\/24/],
  ];
  for (const [text, message] of wrong) t.throws(() => parseSubnetFile(text, 'f'), { code: 5, message });
});

test('the delegate is filled in; what the network says itself stands', (t) => {
  const subnet = parseSubnetFile(ENV, '');
  t.deepEqual(buildDelegate(config, subnet), {
    type: 'bridge',
    name: 'cbr0',
    cniVersion: '0.3.1',
    ipMasq: false,
    mtu: 1450,
    isGateway: true,
    ipam: {
      type: 'host-local',
      ranges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:244:1::/64' }]],
      routes: [{ dst: '10.244.0.0/16' }, { dst: 'fd00:244::/32' }],
    },
  });
  const own = buildDelegate(
    {
      ...config,
      delegate: { type: 'ptp', mtu: 1300, ipMasq: true },
      ipam: { type: 'theirs', routes: [{ dst: '0.0.0.0/0' }] },
      runtimeConfig: { mac: 'x' },
    },
    { ...subnet, networks: ['10.244.0.0/16'], subnets: ['10.244.1.1/24'] },
  );
  t.deepEqual(own, {
    type: 'ptp',
    name: 'cbr0',
    cniVersion: '0.3.1',
    ipMasq: true,
    mtu: 1300,
    runtimeConfig: { mac: 'x' },
    ipam: {
      type: 'theirs',
      ranges: [[{ subnet: '10.244.1.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '10.244.0.0/16' }],
    },
  });
});

for (const [delegate, message] of [
  [{ name: 'x' }, /must not have 'name' field/],
  [{ ipam: {} }, /must not have 'ipam' field/],
  [{ type: 7 }, /must have \(string\) 'type' field/],
  ['bridge', /delegate: "bridge" is not an object/],
] as const)
  test(`refused: delegate ${JSON.stringify(delegate)}`, (t) => {
    const program = flannelProgram({ run, sleep: async () => {} }, () => undefined);
    const conf = parseNetConf(JSON.stringify({ cniVersion: '1.0.0', name: 'cbr0', type: 'flannel', delegate }));
    t.throws(() => program.parse(conf, {}), { code: 7, message });
  });
