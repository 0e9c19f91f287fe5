import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../../../src/runtime/log.ts';
import { type CdiSpec, type ContainerEdits, parseCdiName, parseCdiSpec } from './cdi-spec.ts';

/** Where CDI specifications are, as the CDI specification says: what stands in a later one counts more. */
export const CDI_DIRECTORIES = ['/etc/cdi', '/var/run/cdi'];

/** Looks up the edits of CDI devices, anew each time: specifications come and go with drivers and plugins. */
export function createCdiDirectories(directories: readonly string[], { log }: { log: Logger }) {
  async function read(directory: string): Promise<{ path: string; spec: CdiSpec }[]> {
    const names = await readdir(directory).catch(() => []);
    const specs: { path: string; spec: CdiSpec }[] = [];
    for (const name of names.sort()) {
      if (!/\.(json|ya?ml)$/.test(name)) continue;
      const path = join(directory, name);
      try {
        specs.push({ path, spec: parseCdiSpec(await readFile(path, 'utf8')) });
      } catch (error) {
        // Another vendor's mistake is no reason to refuse this one's devices.
        log.warn({ path, err: error }, 'CDI specification passed over');
      }
    }
    return specs;
  }

  /** @throws Error when nobody, or more than one, describes the device */
  async function find(name: string): Promise<{ path: string; spec: CdiSpec; edits: ContainerEdits | undefined }> {
    const { kind, device } = parseCdiName(name);
    for (const directory of directories.toReversed()) {
      const found = (await read(directory)).flatMap(({ path, spec }) => {
        const described = spec.kind === kind ? spec.devices.find((one) => one.name === device) : undefined;
        return described ? [{ path, spec, edits: described.containerEdits }] : [];
      });
      if (found.length > 1)
        throw new Error(`the CDI device ${name} is described twice: ${found.map(({ path }) => path).join(', ')}`);
      if (found[0]) return found[0];
    }
    throw new Error(`unresolvable CDI device ${name}: none of ${directories.join(', ')} describes it`);
  }

  return {
    /** Edits of the devices, and of the specifications that describe them, each once. */
    async resolve(names: readonly string[]): Promise<{ device: string; edits: ContainerEdits }[]> {
      const edits: { device: string; edits: ContainerEdits }[] = [];
      const specs = new Set<string>();
      for (const name of names) {
        const found = await find(name);
        if (found.edits) edits.push({ device: name, edits: found.edits });
        if (found.spec.containerEdits && !specs.has(found.path))
          edits.push({ device: name, edits: found.spec.containerEdits });
        specs.add(found.path);
      }
      return edits;
    },
  };
}

export type CdiDirectories = ReturnType<typeof createCdiDirectories>;
