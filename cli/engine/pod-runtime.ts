import { spawnSync } from 'node:child_process';
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import type { EngineInfo } from '../../src/docker/engine.ts';
import { UserError } from '../output/failure.ts';
import { POD_RUNTIME_NAME, renderPodRuntimeScript } from './pod-runtime-script.ts';

/** What `--pod-runtime` takes beside the name of a runtime. */
export const POD_RUNTIME_AUTO = 'auto';
const POD_RUNTIME_NONE = 'none';

/**
 * The runtime that pods' containers get; undefined: the Engine's default.
 * @throws UserError when one was named that the Engine does not have.
 */
export function choosePodRuntime(
  choice: string,
  engine: Pick<EngineInfo, 'runtimes' | 'securityOptions'>,
): string | undefined {
  if (choice === POD_RUNTIME_NONE) return undefined;
  if (choice === POD_RUNTIME_AUTO) {
    // A container in a user namespace of its own may not mount what belongs to a network namespace of the host's user.
    const remapped = engine.securityOptions.some((option) => /name=(userns|rootless)/.test(option));
    return engine.runtimes.includes(POD_RUNTIME_NAME) && !remapped ? POD_RUNTIME_NAME : undefined;
  }
  if (engine.runtimes.includes(choice)) return choice;
  throw new UserError(
    `--pod-runtime ${choice}: the Docker Engine has no runtime of that name, only ${engine.runtimes.join(', ')}; 'berth engine-runtime' tells how Berth's own is registered`,
  );
}

/**
 * Writes the script, whole at any moment: shims of running containers call it too.
 * @returns why it cannot be used, if so (a file system mounted noexec, no runc).
 */
export function installPodRuntime(file: string): string | undefined {
  writeFileSync(`${file}.new`, renderPodRuntimeScript());
  chmodSync(`${file}.new`, 0o755);
  renameSync(`${file}.new`, file);
  const { status, error, stderr } = spawnSync(file, ['--version'], { encoding: 'utf8', env: { PATH: SYSTEM_PATH } });
  return status === 0 ? undefined : (error?.message ?? `exit code ${status}: ${stderr.trim()}`);
}

/** Where dockerd finds runc and the like, whoever started us with whatever. */
export const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
