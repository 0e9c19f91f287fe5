import { type ChildProcess, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { imagesFolder } from '../../cli/cluster/images-folder.ts';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { createHost, type Host, type HostDisk } from '../../cli/hosts/host.ts';
import { createSwitch, type Switch } from '../../cli/hosts/switch.ts';
import { buildImage } from '../../cli/images/build.ts';
import { recipes } from '../../cli/images/catalog.ts';
import { ensureImage } from '../../cli/images/load.ts';
import { findKubectl } from '../../cli/kubectl/find-kubectl.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { ContainerDetail, DockerEngine } from '../../src/docker/engine.ts';
import { DockerError } from '../../src/docker/errors.ts';
import type { KubeObject, Pod } from '../../src/kube/types.ts';
import type { HostSnapshot } from './host-snapshot.ts';

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

const BERTH = join(CHECKOUT, 'berth');
/** Where a host's kubectl finds the administrator's credentials. */
export const KUBECONFIG = '/var/lib/berth/kubeconfig';
const OWN_ENGINE = '/run/berth/docker.sock';
const COMMAND_TIMEOUT_MS = 120_000;

/** Why no host can be made here, else undefined. Tests skip with these words. */
export function whyNoHost(): string | undefined {
  if (process.getuid?.() !== 0) return 'hosts need root';
  const { status, stderr } = spawnSync('unshare', ['--mount', '--net', '--pid', '--fork', 'true'], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `no namespaces here (${stderr.trim()})`;
}

/** Where a kubectl is that is new enough, else why there is none. */
export async function kubectlOrWhyNot(): Promise<{ program: string } | { skip: string }> {
  try {
    return { program: await findKubectl(join(CHECKOUT, '.toolchain/kubectl'), () => {}) };
  } catch (error) {
    return { skip: `no kubectl (${(error as Error).message.split('\n')[0]})` };
  }
}

/** A host on a switch, driven as a person would: by `./berth …` and kubectl. */
export interface ClusterHost {
  readonly host: Host;
  readonly net: Switch;
  /** The host's own address on the switch. */
  readonly address: string;
  /** The launcher, as the host sees it. */
  readonly berthPath: string;
  /** Runs a program inside, to its end, whatever its exit code. */
  try(argv: string[], input?: string): Promise<CommandResult>;
  /** Runs a shell script inside and returns what it printed; throws when it fails. */
  sh(script: string): Promise<string>;
  /** Runs `./berth …` whatever its exit code. */
  berth(...args: string[]): Promise<CommandResult>;
  /** Runs `./berth …`; throws when it fails. */
  berthOk(...args: string[]): Promise<CommandResult>;
  /** Runs kubectl with the cluster's kubeconfig; throws when it fails. */
  kubectl(...args: string[]): Promise<string>;
  /** Runs kubectl whatever its exit code. */
  tryKubectl(args: string[], input?: string): Promise<CommandResult>;
  /** A kubectl that keeps running. */
  spawnKubectl(...args: string[]): ChildProcess;
  /** `kubectl apply -f -` of these objects. */
  apply(...objects: object[]): Promise<string>;
  /** `kubectl get … -o json`. */
  get<T extends KubeObject>(...args: string[]): Promise<T>;
  /** `kubectl get … -o json` of a list. */
  list<T extends KubeObject>(...args: string[]): Promise<T[]>;
  /** The Engine that the cluster's containers are in. */
  engine(socket?: string): DockerEngine;
  /** Gives that Engine the images of the demo. */
  loadImages(socket?: string): Promise<void>;
  /** Runs a shell script in the first container of a pod, through the Engine; what it printed, whatever its exit code. */
  inPod(pod: string, script: string, socket?: string): Promise<{ code: number; output: string }>;
  /** Every container of the cluster, by name. */
  containers(): Promise<Map<string, ContainerDetail>>;
  snapshot(): Promise<HostSnapshot>;
  close(): Promise<void>;
}

/**
 * Makes the host and its switch; images are built before, outside, where they stay for the next run. With an earlier one's disk and switch it
 * is that machine after a reboot, with the switch's next address.
 */
export async function createClusterHost(
  name: string,
  machine: { disk?: HostDisk; net?: Switch } = {},
): Promise<ClusterHost> {
  const found = await kubectlOrWhyNot();
  const kubectlProgram = 'program' in found ? found.program : 'kubectl';
  for (const recipe of recipes) await buildImage(recipe, imagesFolder());
  const net = machine.net ?? (await createSwitch(`${name}-switch`));
  const host = await createHost(name, machine.disk);
  const address = await net.plug(host);
  const engines = new Map<string, DockerEngine>();

  const cluster: ClusterHost = {
    host,
    net,
    address,
    berthPath: BERTH,
    try: (argv, input) => host.run(argv, { timeoutMs: COMMAND_TIMEOUT_MS, input }),
    sh: async (script) => succeeded(script, await cluster.try(['sh', '-euc', script])),
    berth: (...args) => cluster.try([BERTH, ...args]),
    async berthOk(...args) {
      const result = await cluster.berth(...args);
      succeeded(`berth ${args.join(' ')}`, result);
      return result;
    },
    kubectl: async (...args) => succeeded(`kubectl ${args.join(' ')}`, await cluster.tryKubectl(args)),
    tryKubectl: (args, input) =>
      host.run([kubectlProgram, ...args], { timeoutMs: COMMAND_TIMEOUT_MS, env: { KUBECONFIG }, input }),
    spawnKubectl: (...args) => host.spawn([kubectlProgram, ...args], { env: { ...process.env, KUBECONFIG } }),
    async apply(...objects) {
      const text = objects.map((object) => `---\n${JSON.stringify(object)}\n`).join('');
      return succeeded('kubectl apply', await cluster.tryKubectl(['apply', '-f', '-'], text));
    },
    get: async (...args) => JSON.parse(await cluster.kubectl('get', '-o', 'json', ...args)),
    list: async (...args) => JSON.parse(await cluster.kubectl('get', '-o', 'json', ...args)).items,
    engine(socket = OWN_ENGINE) {
      // Sockets are reached through the host's root; its path is short enough for a socket's address.
      const engine = engines.get(socket) ?? connectDocker(`unix://${host.path(socket)}`);
      engines.set(socket, engine);
      return engine;
    },
    async loadImages(socket = OWN_ENGINE) {
      for (const recipe of recipes)
        await ensureImage(cluster.engine(socket), `unix://${host.path(socket)}`, recipe, imagesFolder());
    },
    async inPod(name, script, socket) {
      const pod = await cluster.get<Pod>('pod', name);
      const id = pod.status?.containerStatuses?.[0]?.containerID?.replace('docker://', '') ?? '';
      const command = ['sh', '-c', script];
      const { exitCode, output } = await cluster
        .engine(socket)
        .execInContainer(id, command, { maxOutputBytes: 1 << 20 });
      return { code: exitCode, output: output.toString() };
    },
    async containers() {
      const all = await cluster.engine().listContainers({ labels: ['io.kubernetes.pod.uid'] });
      // One that was removed since the list is none of them any more.
      const looks = await Promise.allSettled(all.map(({ id }) => cluster.engine().inspectContainer(id)));
      const gone = (reason: unknown) => reason instanceof DockerError && reason.kind === 'notFound';
      const found = looks.flatMap((look) => {
        if (look.status === 'fulfilled') return [look.value];
        if (gone(look.reason)) return [];
        throw look.reason;
      });
      return new Map(found.map((detail) => [detail.name, detail]));
    },
    async snapshot() {
      const script = join(import.meta.dirname, 'host-snapshot-child.ts');
      return JSON.parse(succeeded('snapshot', await cluster.try([process.execPath, script])));
    },
    async close() {
      for (const engine of engines.values()) engine.close();
      await host.close();
      await net.close();
    },
  };
  return cluster;
}

function succeeded(what: string, { code, stdout, stderr }: CommandResult): string {
  if (code !== 0) throw new Error(`${what} exited ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/**
 * Asks until `ask` gives something (not undefined, not false) and returns that; throws `what` when it does not in time,
 * with the last error or answer of `ask`.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let problem: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      problem = answer;
    } catch (error) {
      problem = error;
    }
    if (performance.now() > deadline) throw new Error(`not reached: ${what}`, { cause: problem });
    await sleep(100);
  }
}
