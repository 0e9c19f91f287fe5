const BLOCK = 512;

/** One entry of a tar archive (ustar, as the Engine writes it). */
export type TarEntry = { type: 'file'; data: Buffer } | { type: 'link'; target: string } | { type: 'other' };

/** The first entry of an archive, after the headers that only extend it. undefined: the archive is empty. */
export function firstTarEntry(archive: Buffer): TarEntry | undefined {
  let longTarget: string | undefined;
  for (let at = 0; at + BLOCK <= archive.length; ) {
    const header = archive.subarray(at, at + BLOCK);
    if (header[0] === 0) return undefined;
    const size = Number.parseInt(text(header, 124, 12), 8) || 0;
    const data = archive.subarray(at + BLOCK, at + BLOCK + size);
    const flag = String.fromCharCode(header[156]!);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    if (flag === 'x') longTarget = paxValue(data.toString(), 'linkpath') ?? longTarget;
    else if (flag === '0' || flag === '\0') return { type: 'file', data };
    else if (flag === '2') return { type: 'link', target: longTarget ?? text(header, 157, 100) };
    else if (flag !== 'g') return { type: 'other' };
  }
  return undefined;
}

/** A field of a header, up to its NUL. */
function text(header: Buffer, start: number, length: number): string {
  const field = header.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.subarray(0, end === -1 ? length : end).toString();
}

/** A value of a pax extended header: lines `<length> <key>=<value>`. */
function paxValue(records: string, key: string): string | undefined {
  return new RegExp(`^\\d+ ${key}=(.*)$`, 'm').exec(records)?.[1];
}
