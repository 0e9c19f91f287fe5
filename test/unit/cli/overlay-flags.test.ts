import test from 'ava';
import { Command } from 'commander';
import { defineOverlay } from '../../../cli/commands/overlay.ts';

/** What `berth overlay` would run with. */
function parse(args: string[], environment: Record<string, string> = {}): Record<string, unknown> {
  const program = new Command();
  defineOverlay(program);
  const command = program.commands[0]!.exitOverride().configureOutput({ writeErr: () => {} });
  let given: Record<string, unknown> = {};
  command.action((values) => {
    given = values;
  });
  Object.assign(process.env, environment);
  try {
    program.parse(['overlay', ...args], { from: 'user' });
  } finally {
    for (const key of Object.keys(environment)) delete process.env[key];
  }
  return given;
}

test.serial('flanneld’s defaults', (t) => {
  t.like(parse([]), {
    subnetFile: '/run/flannel/subnet.env',
    ipMasq: false,
    iptablesForwardRules: true,
    iptablesResync: '5',
    ipBlackholeRoute: false,
    setNodeNetworkUnavailable: true,
    kubeAnnotationPrefix: 'flannel.alpha.coreos.com',
    healthzIp: '0.0.0.0',
    healthzPort: '0',
  });
});

test.serial('flags as flanneld’s manifest has them, and as Go takes them', (t) => {
  t.like(parse(['--ip-masq', '--kube-subnet-mgr', '--iface=eth1', '--iface', 'eth2,eth3']), {
    ipMasq: true,
    iface: ['eth1', 'eth2', 'eth3'],
  });
  t.like(parse(['--ip-masq=false', '--iptables-forward-rules=F', '--set-node-network-unavailable=0']), {
    ipMasq: false,
    iptablesForwardRules: false,
    setNodeNetworkUnavailable: false,
  });
  t.throws(() => parse(['--ip-masq=maybe']), { message: /--ip-masq maybe: true or false/ });
  t.throws(() => parse(['--etcd-endpoints', 'x']), { message: /unknown option/ });
});

test.serial('each flag also as FLANNELD_…; the command line stands above it', (t) => {
  const environment = {
    FLANNELD_IP_MASQ: 'true',
    FLANNELD_IFACE: 'eth7',
    FLANNELD_HEALTHZ_PORT: '8081',
    FLANNELD_NET_CONFIG_PATH: '/srv/net-conf.json',
    FLANNELD_IPTABLES_FORWARD_RULES: 'false',
    NODE_NAME: 'a',
  };
  t.like(parse([], environment), {
    ipMasq: true,
    iface: ['eth7'],
    healthzPort: '8081',
    netConfigPath: '/srv/net-conf.json',
    iptablesForwardRules: false,
    nodeName: 'a',
  });
  t.like(parse(['--healthz-port', '9', '--ip-masq=false'], environment), { healthzPort: '9', ipMasq: false });
});
