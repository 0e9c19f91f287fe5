import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a pod that goes may still take: enough to end in order, nothing that matters to the node. */
const HEADROOM_BYTES = 16 * 2 ** 20;
const PAGE_BYTES = 4096;

/**
 * Limits a cgroup to what it has now and a little more. Within the second that an evicted pod gets to end it could else take what the node
 * has left; so it is its own processes that the kernel ends. A limit that is lower already stays.
 * @param directory of the cgroup in the memory hierarchy
 */
export async function holdMemory(directory: string, version: 1 | 2): Promise<void> {
  const [usageFile, limitFile] =
    version === 1 ? ['memory.usage_in_bytes', 'memory.limit_in_bytes'] : ['memory.current', 'memory.max'];
  const read = async (name: string) => (await readFile(join(directory, name), 'utf8')).trim();
  const limit = await read(limitFile!);
  const heldBytes = Math.ceil((Number(await read(usageFile!)) + HEADROOM_BYTES) / PAGE_BYTES) * PAGE_BYTES;
  if (limit !== 'max' && Number(limit) <= heldBytes) return;
  await writeFile(join(directory, limitFile!), String(heldBytes));
}
