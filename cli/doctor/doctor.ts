import { stringify } from 'yaml';
import { connectDocker } from '../../src/docker/connect.ts';
import { hasProgram } from '../../src/linux/exec.ts';
import { UserError } from '../output/failure.ts';
import { renderTable } from '../output/table.ts';
import { engineEndpoint, readSettings } from '../settings.ts';
import { judgeDisk, readDisk } from './disk.ts';
import { type EngineUse, judgeEngine } from './engine.ts';
import type { Finding } from './finding.ts';
import { judgeKernel } from './kernel.ts';
import { readKernelFacts } from './kernel-facts.ts';
import { judgeNetwork } from './network.ts';
import { readNetworkFacts } from './network-facts.ts';

export interface DoctorOptions {
  rootDir: string;
  /** Absent: the Engine of the cluster in `rootDir`, else the host's. */
  dockerEndpoint?: string;
  podRuntime?: string;
  output?: string;
}

const HOST_ENGINE = 'unix:///var/run/docker.sock';
const ENGINE_TIMEOUT_MS = 5000;

/** Programs that node daemons start, and Debian's packages of them. */
const PROGRAMS: Record<string, string> = {
  'iptables-restore': 'iptables',
  nft: 'nftables',
  conntrack: 'conntrack',
  modprobe: 'kmod',
};

/** `berth doctor`: what of this host and its Engine keeps pods from running as they should. Looks only; exits 1 when it finds a problem. */
export async function doctor(options: DoctorOptions): Promise<void> {
  if (options.output !== undefined && options.output !== 'json' && options.output !== 'yaml')
    throw new UserError(`-o ${options.output}: json or yaml`, 2);
  const findings = await examine(options);
  if (options.output === 'json') process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
  else if (options.output === 'yaml') process.stdout.write(stringify({ findings }));
  else process.stdout.write(renderFindings(findings));
  if (findings.some(({ state }) => state === 'problem')) process.exitCode = 1;
}

async function examine(options: DoctorOptions): Promise<Finding[]> {
  const settings = readSettings(options.rootDir);
  const endpoint = options.dockerEndpoint ?? (settings ? engineEndpoint(settings) : HOST_ENGINE);
  const podRuntime = options.podRuntime ?? settings?.podRuntime ?? 'auto';
  const isOwn = settings !== undefined && settings.dockerEndpoint === undefined && !options.dockerEndpoint;
  const [engine, kernel] = await Promise.all([examineEngine(endpoint, { podRuntime, isOwn }), readKernelFacts()]);
  const pods = await readDisk(options.rootDir);
  return [
    ...engine,
    ...(pods ? [judgeDisk('disk of pods', pods, undefined, 10)] : []),
    ...judgeKernel(kernel),
    ...judgeNetwork(await readNetworkFacts(settings)),
    ...examinePrograms(),
  ];
}

async function examineEngine(endpoint: string, use: EngineUse): Promise<Finding[]> {
  const docker = connectDocker(endpoint);
  try {
    const signal = AbortSignal.timeout(ENGINE_TIMEOUT_MS);
    const info = await docker.info(signal);
    const images = await readDisk(info.dockerRootDir);
    return [
      ...judgeEngine(info, await docker.version(signal), use),
      ...(images ? [judgeDisk('disk of images', images, 85, 15)] : []),
    ];
  } catch (error) {
    return [
      {
        check: 'docker engine',
        state: 'problem',
        detail: `none answers on ${endpoint}: ${(error as Error).message}`,
        remedy: "'berth up' starts one of its own; another is named with --docker-endpoint unix:///path/to.sock",
      },
    ];
  } finally {
    docker.close();
  }
}

function examinePrograms(): Finding[] {
  return Object.entries(PROGRAMS).map(([name, debianPackage]) =>
    hasProgram(name)
      ? { check: name, state: 'ok', detail: 'installed' }
      : { check: name, state: 'problem', detail: 'not installed', remedy: `apt-get install ${debianPackage}` },
  );
}

function renderFindings(findings: Finding[]): string {
  const rows = findings.flatMap(({ check, state, detail, remedy }) => [
    [check, state, detail],
    ...(remedy ? [['', '', `→ ${remedy}`]] : []),
  ]);
  const count = (wanted: string) => findings.filter(({ state }) => state === wanted).length;
  return `${renderTable(['CHECK', 'STATE', 'DETAIL'], rows)}\n\n${count('problem')} problems, ${count('warning')} warnings, ${count('ok')} ok\n`;
}
