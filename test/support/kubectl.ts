import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';

const exec = promisify(execFile);

/** Older ones send no protobuf and can't talk to a server of 1.36. */
const LEAST_MINOR = 32;

/** The kubectl of BERTH_KUBECTL, else of PATH; `skip` says why there is none that will do. */
export async function findKubectl(): Promise<{ program: string } | { skip: string }> {
  const program = process.env.BERTH_KUBECTL ?? 'kubectl';
  try {
    const { stdout } = await exec(program, ['version', '--client', '-o', 'json']);
    const minor = Number.parseInt(JSON.parse(stdout).clientVersion.minor, 10);
    return minor >= LEAST_MINOR ? { program } : { skip: `kubectl 1.${minor} is older than 1.${LEAST_MINOR}` };
  } catch (error) {
    return { skip: `no kubectl (${(error as Error).message.split('\n')[0]})` };
  }
}

export interface KubectlResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** A kubectl with a home and kubeconfig of its own. */
export async function createKubectl(program: string, target: { url: string; caPem: string; pair: CertificatePair }) {
  const home = await mkdtemp(join(tmpdir(), 'berth-kubectl-'));
  const kubeconfig = join(home, 'config');
  await writeFile(
    kubeconfig,
    renderKubeconfig({
      server: target.url,
      caPem: target.caPem,
      certPem: target.pair.certPem,
      keyPem: target.pair.keyPem,
    }),
    { mode: 0o600 },
  );
  const env = { PATH: process.env.PATH, HOME: home, KUBECONFIG: kubeconfig };

  /** Runs to the end, whatever the exit code; `input` goes to stdin. */
  function run(args: string[], input?: string): Promise<KubectlResult> {
    return new Promise((resolve) => {
      const child = execFile(program, args, { env, timeout: 60_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) =>
        resolve({ code: error ? ((error.code as unknown as number) ?? 1) : 0, stdout, stderr }),
      );
      child.stdin?.end(input ?? '');
    });
  }

  return {
    run,
    env,
    program,
    /** Runs and returns stdout; throws with stderr when it fails. */
    async ok(args: string[], input?: string): Promise<string> {
      const result = await run(args, input);
      if (result.code !== 0) throw new Error(`kubectl ${args.join(' ')} exited ${result.code}: ${result.stderr}`);
      return result.stdout;
    },
    dispose: () => rm(home, { recursive: true, force: true }),
  };
}
