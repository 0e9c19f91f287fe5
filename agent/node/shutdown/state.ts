import { readFile, rename, rm, writeFile } from 'node:fs/promises';

/** The last graceful shutdown, as it is kept across one: wall clock, absent until it happened. */
export interface ShutdownState {
  startMs?: number;
  endMs?: number;
}

/** Upstream's name and shape: `{"startTime":"…","endTime":"…"}`, below the agent's root; Go's zero time stands for none. */
export const SHUTDOWN_STATE_FILE = 'graceful_node_shutdown_state';
const GO_ZERO_TIME = '0001-01-01T00:00:00Z';

/** @throws Error that names the file when it holds something else. */
export async function readShutdownState(path: string): Promise<ShutdownState> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  try {
    const { startTime, endTime } = JSON.parse(text) as Record<string, unknown>;
    const [startMs, endMs] = [parseTime(startTime), parseTime(endTime)];
    return { ...(startMs !== undefined && { startMs }), ...(endMs !== undefined && { endMs }) };
  } catch (error) {
    throw new Error(`${path} does not hold the times of a shutdown: ${(error as Error).message}`);
  }
}

/** Atomic: a node that loses its power keeps the old one or the new one. */
export async function writeShutdownState(path: string, state: ShutdownState): Promise<void> {
  const time = (ms: number | undefined) => (ms === undefined ? GO_ZERO_TIME : new Date(ms).toISOString());
  const temporary = `${path}.tmp`;
  try {
    await writeFile(temporary, JSON.stringify({ startTime: time(state.startMs), endTime: time(state.endMs) }), {
      mode: 0o644,
      flush: true,
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function parseTime(value: unknown): number | undefined {
  if (value === undefined || value === GO_ZERO_TIME) return undefined;
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw new Error(`${JSON.stringify(value)} is no time`);
  return ms;
}
