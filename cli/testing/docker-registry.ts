import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { unpackPackages } from '../debian/packages.ts';

/** Where the registry of the pull tests is kept for the next run. */
export function dockerRegistryProgram(checkout: string): string {
  return join(checkout, '.toolchain/docker-registry/docker-registry');
}

/** Debian's docker-registry (the program alone), unpacked beside the system unless it is there; hosts of tests have no network to get it. */
export async function fetchDockerRegistry(checkout: string): Promise<string> {
  const program = dockerRegistryProgram(checkout);
  if (existsSync(program)) return program;
  const folder = dirname(program);
  const unpacked = mkdtempSync(join(tmpdir(), 'berth-registry-'));
  const partial = `${folder}.${process.pid}`;
  try {
    await unpackPackages(['docker-registry'], unpacked);
    mkdirSync(partial, { recursive: true });
    copyFileSync(join(unpacked, 'usr/bin/docker-registry'), join(partial, 'docker-registry'));
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    for (const rest of [unpacked, partial]) rmSync(rest, { recursive: true, force: true });
  }
  return program;
}
