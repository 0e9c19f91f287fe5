import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { ExplainedError } from '../../src/runtime/explained-error.ts';

/**
 * What the host looked like before Berth's first change: written before each change, read by the removal. It holds for one boot
 * of one network namespace; after a reboot the kernel starts from its own values, and an old record would restore wrong ones.
 */
const recordSchema = z.object({
  bootId: z.string(),
  netns: z.string(),
  /** By key: the value before, and the one we wrote. */
  sysctls: z.record(z.string(), z.object({ previous: z.string(), written: z.string() })),
  /** Base chains by `<family> <table>`, as `readTableSkeleton` gives them. */
  tables: z.record(z.string(), z.array(z.string())),
  /** Global addresses of the bridge; null when there was no bridge. */
  bridgeAddresses: z.array(z.string()).nullable(),
  /** Names of all bridges; absent in records of earlier versions. */
  bridges: z.array(z.string()).optional(),
  /** What we gave firewalld's zone of trusted sources. */
  trustedSources: z.array(z.string()).optional(),
  /** Modules that we loaded; they stay. */
  modules: z.array(z.string()),
});

export type HostRecord = z.infer<typeof recordSchema>;

export interface HostRecordFile {
  /** undefined when there is none of this boot and namespace. */
  read(): HostRecord | undefined;
  /** Atomic; 0600. */
  write(record: HostRecord): void;
  remove(): void;
}

export function openHostRecord(path: string, identity: { bootId: string; netns: string }): HostRecordFile {
  return {
    read() {
      if (!existsSync(path)) return undefined;
      let record: HostRecord;
      try {
        record = recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      } catch (error) {
        throw new ExplainedError(
          `${path} (the host's state before Berth) can't be read: ${firstLine(error)}; ` +
            'remove the file if sysctls need not be restored',
          { cause: error },
        );
      }
      return record.bootId === identity.bootId && record.netns === identity.netns ? record : undefined;
    },
    write(record) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(`${path}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
    remove: () => rmSync(path, { force: true }),
  };
}

/** Zod lists every problem; the first is enough to see that the file is another version's. */
function firstLine(error: unknown): string {
  if (error instanceof z.ZodError) return z.prettifyError(error).split('\n')[0] ?? '';
  return (error as Error).message;
}
