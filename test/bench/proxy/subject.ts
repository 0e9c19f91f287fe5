import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findPeerProgram } from '../../../cli/kube-assets/assets.ts';
import { findProgram } from '../../../src/linux/exec.ts';
import { CHECKOUT } from '../support.ts';
import { API_PORT, METRICS_PORT } from './world.ts';

/** `berth:nftables`, `kube-proxy:iptables`: a program in a mode. */
export interface Subject {
  program: 'berth' | 'kube-proxy';
  mode: string;
}

export interface RunningSubject {
  pid: number;
  /** CPU seconds of the program and of the programs that it ran. */
  cpuSeconds(): number;
  /** Now, and at most since it began. */
  rssMib(): { now: number; peak: number };
  logs(): string;
  end(): Promise<void>;
}

const TICKS_PER_SECOND = 100;

/** Starts the program inside the namespace; both get the same KubeProxyConfiguration and the same API server. */
export function startSubject(
  { program, mode }: Subject,
  options: { netns: string; folder: string; nodeName: string; minSyncPeriodMs: number },
): RunningSubject {
  const { folder, nodeName } = options;
  const kubeconfig = join(folder, 'kubeconfig');
  const config = join(folder, `${program}.json`);
  const log = join(folder, `${program}-${mode}.log`);
  writeFileSync(kubeconfig, JSON.stringify(kubeconfigOf(`http://127.0.0.1:${API_PORT}`)));
  writeFileSync(config, JSON.stringify(configurationOf(mode, { ...options, kubeconfig })));
  const [file, ...args] =
    program === 'berth'
      ? [
          join(CHECKOUT, 'berth'),
          'proxy',
          '--config',
          config,
          '--node-name',
          nodeName,
          '--root-dir',
          join(folder, 'state'),
        ]
      : [kubeProxy(), '--config', config];
  const out = openSync(log, 'w');
  const child: ChildProcess = spawn(findProgram('nsenter'), [`--net=${options.netns}`, '--', file!, ...args], {
    stdio: ['ignore', out, out],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder },
  });
  const pid = child.pid!;
  const proc = (name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8');
  return {
    pid,
    cpuSeconds() {
      const fields = proc('stat')
        .replace(/^.*\) /, '')
        .split(' ')
        .map(Number);
      return (fields[11]! + fields[12]! + fields[13]! + fields[14]!) / TICKS_PER_SECOND;
    },
    rssMib() {
      const status = proc('status');
      const mib = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
      return { now: mib('VmRSS'), peak: mib('VmHWM') };
    },
    logs: () => readFileSync(log, 'utf8').slice(-2000),
    end: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

function kubeProxy(): string {
  const found = findPeerProgram('kube-proxy', process.env);
  if ('skip' in found) throw new Error(found.skip);
  return found.path;
}

function kubeconfigOf(server: string) {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'bench', cluster: { server } }],
    users: [{ name: 'bench', user: {} }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  };
}

/** What writes settings of the whole machine is off. */
function configurationOf(
  mode: string,
  { kubeconfig, nodeName, minSyncPeriodMs }: { kubeconfig: string; nodeName: string; minSyncPeriodMs: number },
) {
  const periods = { syncPeriod: '30s', minSyncPeriod: `${minSyncPeriodMs}ms` };
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode,
    hostnameOverride: nodeName,
    clusterCIDR: '10.128.0.0/9',
    clientConnection: { kubeconfig, contentType: 'application/json', acceptContentTypes: 'application/json' },
    metricsBindAddress: `127.0.0.1:${METRICS_PORT}`,
    healthzBindAddress: '127.0.0.1:10256',
    // kube-proxy 1.20 refuses to know of nftables' section.
    ...(mode === 'nftables' ? { nftables: periods } : { iptables: periods, ipvs: periods }),
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  };
}
