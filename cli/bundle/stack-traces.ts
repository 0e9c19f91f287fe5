import { readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { findSourcePositions, type SourceMapParts } from './source-positions.ts';

const MAX_KNOWN = 1000;
const PLACES = /file:\/\/([^\s()]+):(\d+):(\d+)/g;

/**
 * Makes stack traces of the bundle name the sources. The map is read when a trace is asked for and dropped again; `known` keeps an error
 * that is logged again and again from costing a walk each time.
 *
 * @param bundle absolute path of the bundle; its map lies beside it.
 */
export function createStackFormatter(bundle: string): (error: unknown, frames: readonly unknown[]) => string {
  const root = resolve(dirname(bundle), '../..');
  const known = new Map<string, string>();

  function learn(text: string): void {
    const missing = [...text.matchAll(PLACES)].filter(([place, file]) => file === bundle && !known.has(place));
    if (missing.length === 0) return;
    if (known.size > MAX_KNOWN) known.clear();
    const map = JSON.parse(readFileSync(`${bundle}.map`, 'utf8')) as SourceMapParts;
    const positions = missing.map(([, , line, column]) => ({ line: Number(line), column: Number(column) }));
    for (const [index, found] of findSourcePositions(map, positions).entries()) {
      const [place] = missing[index]!;
      const source = found && relative(root, resolve(dirname(bundle), found.source));
      known.set(place, found ? `${source}:${found.line}:${found.column}` : place);
    }
  }

  return (error, frames) => {
    const text = `${error}${frames.map((frame) => `\n    at ${frame}`).join('')}`;
    try {
      learn(text);
    } catch {
      // A map that is gone or of another build: the bundle's own positions are better than no trace.
    }
    return text.replace(PLACES, (place) => known.get(place) ?? place);
  };
}
