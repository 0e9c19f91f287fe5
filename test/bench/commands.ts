/** Programs that benches of streams run inside their host. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findKubectl } from '../../cli/kubectl/find-kubectl.ts';
import { CHECKOUT, rssMebibytes } from './support.ts';

/** The Engine that `berth up` runs. */
export const DOCKER = 'docker -H unix:///run/berth/docker.sock';
const KUBECONFIG = '/var/lib/berth/kubeconfig';
const SAMPLE_MS = 100;

/** Puts kubectl and its credentials where `shell` finds them. */
export async function prepareKubectl(): Promise<void> {
  const program = await findKubectl(join(CHECKOUT, '.toolchain/kubectl'), () => {});
  process.env['PATH'] = `${dirname(program)}:${process.env['PATH']}`;
  process.env['KUBECONFIG'] = KUBECONFIG;
}

/** Runs a shell script to its end and returns what it printed; throws with its errors when it fails. */
export async function shell(script: string, input = ''): Promise<string> {
  const child = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${script} exited ${code}: ${stderr}`);
  return stdout;
}

/** Milliseconds that the script took. */
export async function timed(script: string): Promise<number> {
  const startMs = performance.now();
  await shell(script);
  return performance.now() - startMs;
}

/** Looks at the processes' resident memory, all together, from a moment of calm on. */
export async function watchRss(pids: readonly number[]): Promise<{ growthMebibytes(): number }> {
  const now = () => pids.reduce((sum, pid) => sum + rssMebibytes(pid), 0);
  // What was measured before may be collected yet: the lowest of some seconds is where it starts.
  let before = now();
  for (let look = 0; look < 30; look++) {
    await sleep(SAMPLE_MS);
    before = Math.min(before, now());
  }
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, now());
  }, SAMPLE_MS);
  return {
    growthMebibytes() {
      clearInterval(timer);
      return Math.max(most, now()) - before;
    },
  };
}
