import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createCgroupBranch, removeCgroupBranch } from './cgroup-branch.ts';

/** Where hosts keep their folders: a real disk that survives nothing but the run. */
const HOSTS_FOLDER = '/var/tmp/berth-hosts';
const CHECKOUT = dirname(dirname(import.meta.dirname));

/**
 * A "host": a machine's worth of namespaces on this machine. It has its own network, mounts (an overlay over `/`), host name, processes
 * and a branch of every cgroup hierarchy as its root, and no way out of the machine. What a node writes there stays there.
 */
export interface Host {
  readonly name: string;
  /** The host's init as this machine sees it. */
  readonly initPid: number;
  readonly netnsPath: string;
  /** A path inside the host, as this machine reaches it. */
  path(inside: string): string;
  /** Runs a program inside, to its end. Never throws for an exit code. */
  run(argv: string[], options?: HostRunOptions): Promise<{ code: number; stdout: string; stderr: string }>;
  /** Starts a program inside. */
  spawn(argv: string[], options?: SpawnOptions): ChildProcess;
  /** Kills everything inside and removes what the host was made of. Idempotent. */
  close(): Promise<void>;
}

export interface HostRunOptions {
  /** Enter the host's network namespace only: files and pids are this machine's. */
  networkOnly?: boolean;
  env?: Record<string, string>;
  cwd?: string;
  input?: string;
  timeoutMs?: number;
}

/** What makes a host more than a test's: a disk that a later host of the same name finds again. */
export interface HostDisk {
  /** The host's folder, on a real disk. What was on `kept` stays there after `close()`. */
  folder: string;
  /** Folders of the host, without the leading slash, that are on the disk beside those that always are. */
  kept: readonly string[];
  /** Of the host's branch of the cgroup hierarchies; one host at a time may have it. */
  cgroupBranch: string;
}

/**
 * Makes a host. `name` is its host name. Without a `disk` nothing of it stays: the folder and the cgroup branch also carry this
 * process's pid, so that runs don't meet.
 */
export async function createHost(name: string, disk?: HostDisk): Promise<Host> {
  const id = disk?.cgroupBranch ?? `berth-host-${name}-${process.pid}-${Math.random().toString(36).slice(2, 7)}`;
  const folder = disk?.folder ?? join(HOSTS_FOLDER, id);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, 'owner'), processIdentity(process.pid) ?? '');
  const { procsFiles, rootProcsFile = '' } = createCgroupBranch(id);
  // setpriv and --kill-child: a host never outlives the process that made it, however that dies.
  const enter = procsFiles.map((file) => `echo 0 >'${file}'`).join('\n');
  const launcher = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', '--', 'sh', '-euc', `${enter}\nexec "$@"`, 'sh'],
      ...['unshare', '--mount', '--net', '--uts', '--ipc', '--pid', '--fork', '--kill-child', '--'],
      ...['sh', join(CHECKOUT, 'cli/hosts/setup.sh'), folder, name, CHECKOUT, 'catatonit', '-P'],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, BERTH_HOST_KEPT: disk?.kept.join(' ') ?? '', BERTH_HOST_CGROUP: rootProcsFile },
    },
  );
  const closed = once(launcher, 'close');
  let stderr = '';
  launcher.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const close = async () => {
    launcher.kill('SIGKILL');
    await closed;
    await removeCgroupBranch(id);
    if (!disk) rmSync(folder, { recursive: true, force: true });
  };
  const ready = await Promise.race([once(launcher.stdout, 'data').then(() => true), closed.then(() => false)]);
  if (!ready) {
    await close();
    throw new Error(
      `host ${name}: could not be set up (namespaces, overlayfs and cgroups are needed): ${stderr.trim()}`,
    );
  }
  const initPid = Number(
    readFileSync(`/proc/${launcher.pid}/task/${launcher.pid}/children`, 'utf8').trim().split(' ')[0],
  );
  const enterArgs = ['--target', String(initPid), '--mount', '--net', '--uts', '--ipc', '--pid', '--cgroup'];
  const host: Host = {
    name,
    initPid,
    netnsPath: `/proc/${initPid}/ns/net`,
    path: (inside) => join(`/proc/${initPid}/root`, inside),
    spawn(argv, options = {}) {
      // The cgroup must be joined by the process itself, before it enters the cgroup namespace.
      const cwd = typeof options.cwd === 'string' ? options.cwd : CHECKOUT;
      const script = `${enter}\nexec nsenter ${enterArgs.join(' ')} --wdns="$0" -- "$@"`;
      return spawn('sh', ['-euc', script, cwd, ...argv], {
        ...options,
        cwd: '/',
        env: { ...process.env, ...options.env },
      });
    },
    async run(argv, options = {}) {
      const inside = options.networkOnly ? ['nsenter', `--net=${host.netnsPath}`, ...argv] : argv;
      const child = (options.networkOnly ? spawnOutside : host.spawn)(inside, {
        env: options.env,
        cwd: options.cwd,
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: options.timeoutMs,
        killSignal: 'SIGKILL',
      });
      let out = '';
      let err = '';
      child.stdout?.setEncoding('utf8').on('data', (chunk) => {
        out += chunk;
      });
      child.stderr?.setEncoding('utf8').on('data', (chunk) => {
        err += chunk;
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input ?? '');
      const [code] = await once(child, 'close');
      return { code: code ?? -1, stdout: out, stderr: err };
    },
    close,
  };
  return host;
}

function spawnOutside(argv: string[], options: SpawnOptions): ChildProcess {
  return spawn(argv[0]!, argv.slice(1), { ...options, env: { ...process.env, ...options.env } });
}

/** Removes what runs that were killed left behind; hosts whose maker lives stay. */
export async function collectDeadHosts(): Promise<void> {
  if (!existsSync(HOSTS_FOLDER)) return;
  for (const id of readdirSync(HOSTS_FOLDER)) {
    const owner = join(HOSTS_FOLDER, id, 'owner');
    const identity = existsSync(owner) ? readFileSync(owner, 'utf8') : '';
    const pid = Number(identity.split(' ')[0]);
    if (identity !== '' && processIdentity(pid) === identity) continue;
    await removeCgroupBranch(basename(id));
    rmSync(join(HOSTS_FOLDER, id), { recursive: true, force: true });
  }
}

/** `pid starttime`: a pid alone may have been given out again. */
function processIdentity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return undefined;
  }
}
