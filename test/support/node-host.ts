import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { imagesFolder } from '../../cli/cluster/images-folder.ts';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { installPodRuntime } from '../../cli/engine/pod-runtime.ts';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import type { Switch } from '../../cli/hosts/switch.ts';
import { recipes } from '../../cli/images/catalog.ts';
import { ensureImage } from '../../cli/images/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { type CommandResult, until } from './cluster-host.ts';

const SOCKET = '/run/docker.sock';
const CREDENTIALS = '/etc/berth';
/** Where static pods are read from. */
export const MANIFESTS = '/etc/berth/manifests';
/** An Engine of an operator's own, as `berth engine-runtime` has it. */
const POD_RUNTIME = '/usr/local/bin/berth-runtime';
const PID = '/run/berth-node.pid';
const LOG = '/var/log/berth-node.log';

/** A host that runs `berth node` for a control plane elsewhere, beside a Docker Engine of its own with the demo's images. */
export interface NodeHost {
  readonly host: Host;
  readonly address: string;
  readonly engine: DockerEngine;
  /** Runs a shell script inside, to its end, whatever its exit code. */
  sh(script: string): Promise<CommandResult>;
  /**
   * Starts `berth node` with these credentials (texts of kubeconfigs; the node's stand for those that are left out; with `bootstrap` it asks for its own) and a
   * KubeletConfiguration.
   */
  start(
    credentials: { node: string; proxy?: string; overlay?: string } | { bootstrap: string },
    config?: string,
    flags?: readonly string[],
  ): void;
  /** Starts it as it was started last. */
  restart(): void;
  /** SIGKILL: it has no time to say anything. */
  kill(): Promise<void>;
  /** What it logged. */
  log(): Promise<string>;
  close(): Promise<void>;
}

export async function createNodeHost(name: string, net: Switch): Promise<NodeHost> {
  const host = await createHost(name);
  const address = await net.plug(host);
  const problem = installPodRuntime(host.path(POD_RUNTIME));
  if (problem) throw new Error(`the runtime of pods does not run: ${problem}`);
  const flags = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-masq=false', '--ip-forward=false'];
  host.spawn(
    [
      'sh',
      '-c',
      'exec dockerd "$@" >/var/log/dockerd.log 2>&1',
      'sh',
      ...flags,
      '--live-restore',
      `--add-runtime=berth=${POD_RUNTIME}`,
    ],
    {
      stdio: 'ignore',
    },
  );
  const endpoint = `unix://${host.path(SOCKET)}`;
  const engine = connectDocker(endpoint);
  await until(`the Docker Engine of host ${name} answers`, async () => (await engine.info()) !== undefined);
  for (const recipe of recipes) await ensureImage(engine, endpoint, recipe, imagesFolder());

  let files: string[] = [];
  const sh = (script: string) => host.run(['sh', '-euc', script], { timeoutMs: 60_000 });
  const node: NodeHost = {
    host,
    address,
    engine,
    sh,
    start(credentials, config, flags = []) {
      mkdirSync(host.path(MANIFESTS), { recursive: true });
      files = ['--pod-manifest-path', MANIFESTS, ...flags];
      const give = (flag: string, name: string, text: string) => {
        writeFileSync(host.path(`${CREDENTIALS}/${name}`), text, { mode: 0o600 });
        files.push(flag, `${CREDENTIALS}/${name}`);
      };
      for (const [who, text] of Object.entries(credentials))
        give(who === 'node' ? '--kubeconfig' : `--${who}-kubeconfig`, `${who}.kubeconfig`, text);
      if (config !== undefined) give('--config', 'kubelet.yaml', config);
      node.restart();
    },
    restart() {
      host.spawn(
        [
          ...['sh', '-c', `echo $$ >${PID}; exec "$0" "$@" >>${LOG} 2>&1`],
          ...[join(CHECKOUT, 'berth'), 'node', '--node-ip', address, ...files],
        ],
        { stdio: 'ignore' },
      );
    },
    async kill() {
      await sh(`kill -9 "$(cat ${PID})"; while kill -0 "$(cat ${PID})" 2>/dev/null; do sleep 0.05; done`);
    },
    log: async () => (await sh(`cat ${LOG} 2>/dev/null || true`)).stdout,
    async close() {
      engine.close();
      await host.close();
    },
  };
  return node;
}
