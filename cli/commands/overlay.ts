import { type Command, InvalidArgumentError, Option } from 'commander';
import { BACKENDS } from '../../cni/overlay/backends.ts';

type Flag = [flags: string, text: string, fallback?: string | boolean];

/** flanneld's, each also as FLANNELD_… in the environment. */
const FLANNEL_FLAGS: Flag[] = [
  ['--net-config-path <file>', "flannel's net-conf.json (default: /etc/kube-flannel/net-conf.json where there is one)"],
  ['--iface-can-reach <ip>', 'the link to the other nodes: the one that leads to this address'],
  ['--public-ip <ip>', 'what other nodes are told instead of its address'],
  ['--public-ipv6 <ip>', 'what other nodes are told instead of its IPv6 address'],
  ['--subnet-file <file>', "what the CNI plugin flannel reads: this node's pod network", '/run/flannel/subnet.env'],
  ['--ip-masq [bool]', 'pods that leave the cluster take the address of the node', false],
  ['--ip-blackhole-route [bool]', "what is for this node's pods and finds no bridge ends here", false],
  ['--iptables-forward-rules [bool]', "accept pods' packets in the FORWARD chain", true],
  ['--iptables-resync <seconds>', 'how often these rules are looked at', '5'],
  ['--set-node-network-unavailable [bool]', 'set the condition NetworkUnavailable of the node to False', true],
  ['--kube-annotation-prefix <prefix>', "of the nodes' annotations", 'flannel.alpha.coreos.com'],
  ['--healthz-ip <ip>', 'where /healthz, /readyz, /metrics and /peers listen', '0.0.0.0'],
  ['--healthz-port <port>', '0: nowhere', '0'],
];

/** `berth overlay`: ways between the nodes' pods, with credentials of its own. */
export function defineOverlay(program: Command): void {
  const command = program
    .command('overlay')
    .description("run the ways between the nodes' pods alone, in flanneld's place")
    .option('--kubeconfig <file>', "credentials at the API server (default: the pod's service account)")
    .addOption(named('--kubeconfig-file <file>', "flanneld's name of --kubeconfig").hideHelp())
    .addOption(new Option('--node-name <name>', "the node's name (default: the host name)").env('NODE_NAME'))
    .option(
      '--backend <name>',
      `without a net-conf.json: ${[...BACKENDS].map(([type, { summary }]) => `${type} (${summary})`).join('; ')} (default: host-gw)`,
    )
    .option(
      '--cluster-cidr <cidrs>',
      "without a net-conf.json: all pods' addresses, one range of each family",
      '10.244.0.0/16',
    )
    .addOption(
      named(
        '--iface <link>',
        'the link to the other nodes, by name or address; several times: the first that is there',
      ).argParser(collect),
    )
    .addOption(named('--iface-regex <regex>', 'the same by an expression for addresses or names').argParser(collect))
    .addOption(named('--kube-subnet-mgr [bool]', 'accepted: there is no other').hideHelp());
  for (const [flags, text, fallback] of FLANNEL_FLAGS) {
    const option = named(flags, text);
    if (typeof fallback === 'boolean') option.argParser(parseBool(option.long!)).preset('true');
    command.addOption(option.default(fallback));
  }
  command
    .option('--root-dir <dir>', "where the host's state before the first change is kept", '/var/lib/berth/overlay')
    .option(
      '--cleanup',
      "remove the links, routes, rules and files of an overlay of this node (flanneld's too), and exit",
    )
    .option('-v, --verbose', 'log more')
    .action(async ({ kubeconfigFile, ...values }) => {
      const { runOverlayDaemon } = await import('../daemon/overlay-daemon.ts');
      await runOverlayDaemon({ ...values, kubeconfig: values.kubeconfig ?? kubeconfigFile });
    });
}

/** With its variable: `--ip-masq` is FLANNELD_IP_MASQ. */
function named(flags: string, text: string): Option {
  const option = new Option(flags, text);
  return option.env(`FLANNELD_${option.long!.slice(2).replaceAll('-', '_').toUpperCase()}`);
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...value.split(',')];
}

/** As Go writes them. */
const BOOLS = new Map(
  ['1', 't', 'T', 'true', 'TRUE', 'True']
    .map((text): [string, boolean] => [text, true])
    .concat(['0', 'f', 'F', 'false', 'FALSE', 'False'].map((text): [string, boolean] => [text, false])),
);

function parseBool(flag: string): (value: string) => boolean {
  return (value) => {
    const bool = BOOLS.get(value);
    if (bool === undefined) throw new InvalidArgumentError(`${flag} ${value}: true or false`);
    return bool;
  };
}
