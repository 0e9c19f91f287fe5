import { readFile } from 'node:fs/promises';

/** One line of /proc/swaps. */
export interface SwapDevice {
  /** Device or file. */
  name: string;
  sizeBytes: number;
}

/** What this machine swaps to; empty where it does not, or the kernel cannot. */
export async function readSwapDevices(file = '/proc/swaps'): Promise<SwapDevice[]> {
  const text = await readFile(file, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return parseSwaps(text);
}

/** `Filename Type Size Used Priority`, sizes in KiB, after a line of headings. */
export function parseSwaps(text: string): SwapDevice[] {
  const lines = text.split('\n').slice(1).filter(Boolean);
  return lines.map((line) => {
    const [name = '', , sizeKib = '0'] = line.split(/\s+/);
    return { name, sizeBytes: Number(sizeKib) * 1024 };
  });
}
