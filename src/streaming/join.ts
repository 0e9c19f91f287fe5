import type { Duplex } from 'node:stream';

/**
 * Joins two connections and resolves when both are closed. Nothing of what is said is read or held here, so that one side's slowness is felt by the
 * other; the end of one direction is passed on by itself, and who is gone for good takes the other with it.
 */
export function joinConnections(one: Duplex, other: Duplex, signal: AbortSignal): Promise<void> {
  const end = () => {
    one.destroy();
    other.destroy();
  };
  for (const side of [one, other]) side.on('error', end);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  pass(one, other);
  pass(other, one);
  one.once('close', () => endSoon(other));
  other.once('close', () => endSoon(one));
  return Promise.all([closed(one), closed(other)]).then(() => signal.removeEventListener('abort', end));
}

/** As `pipe`, but what comes in one turn leaves in one write: a frame's head and its payload are one TLS record, and one system call. */
function pass(from: Duplex, to: Duplex): void {
  let isCorked = false;
  from.on('data', (chunk: Buffer) => {
    if (!isCorked) {
      isCorked = true;
      to.cork();
      process.nextTick(() => {
        isCorked = false;
        to.uncork();
      });
    }
    if (!to.write(chunk)) from.pause();
  });
  to.on('drain', () => from.resume());
  to.on('close', () => from.resume());
  from.on('end', () => to.end());
}

/** What was written still goes out; what comes in is nobody's any more, and may come for ever. */
function endSoon(side: Duplex): void {
  if (side.destroyed) return;
  if (side.writableFinished) side.destroy();
  else side.once('finish', () => side.destroy()).end();
}

const closed = (side: Duplex) =>
  new Promise<void>((resolve) => {
    if (side.closed) resolve();
    else side.once('close', () => resolve());
  });
