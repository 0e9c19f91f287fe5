import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { KubeObject } from '../../src/kube/types.ts';
import { findProgram } from '../../src/linux/exec.ts';
import { NODE_NAME } from './proxy.ts';

const API_PORT = 18_080;

export interface PeerKubeProxy {
  put(...objects: readonly KubeObject[]): Promise<void>;
  remove(...objects: readonly KubeObject[]): Promise<void>;
  /** Begins to serve. */
  start(): void;
  /** The end of what it said. */
  logs(): string;
}

/** A real kube-proxy over a namespace, with an API server of a few objects in there; both end with the test. */
export async function createPeerKubeProxy(t: ExecutionContext, program: string, netns: string): Promise<PeerKubeProxy> {
  const folder = mkdtempSync(join(tmpdir(), 'kube-proxy-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const inside = [`--net=${netns}`, '--'];
  const api = spawn(
    findProgram('nsenter'),
    [...inside, process.execPath, join(import.meta.dirname, 'proxy-api-child.ts'), `${API_PORT}`],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  t.teardown(() => {
    api.kill('SIGKILL');
  });
  await once(api, 'message');
  const tell = async (message: object) => {
    api.send(message);
    await once(api, 'message');
  };
  return {
    put: (...put) => tell({ put }),
    remove: (...remove) => tell({ remove }),
    logs: () => readFileSync(join(folder, 'log'), 'utf8').slice(-3000),
    start() {
      const config = join(folder, 'config.json');
      writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(KUBECONFIG));
      writeFileSync(config, JSON.stringify(configuration(join(folder, 'kubeconfig'))));
      const log = openSync(join(folder, 'log'), 'w');
      const proxy = spawn(findProgram('nsenter'), [...inside, program, '--config', config], {
        stdio: ['ignore', log, log],
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder },
      });
      t.teardown(() => {
        proxy.kill('SIGKILL');
      });
    },
  };
}

const KUBECONFIG = {
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [{ name: 'peer', cluster: { server: `http://127.0.0.1:${API_PORT}` } }],
  users: [{ name: 'peer', user: {} }],
  contexts: [{ name: 'peer', context: { cluster: 'peer', user: 'peer' } }],
  'current-context': 'peer',
};

/** What writes settings of the whole machine is off. */
const configuration = (kubeconfig: string) => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  mode: 'iptables',
  hostnameOverride: NODE_NAME,
  clusterCIDR: '10.244.0.0/16',
  clientConnection: { kubeconfig, contentType: 'application/json', acceptContentTypes: 'application/json' },
  metricsBindAddress: '127.0.0.1:10249',
  healthzBindAddress: '127.0.0.1:10256',
  iptables: { syncPeriod: '5s', minSyncPeriod: '100ms' },
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
});
