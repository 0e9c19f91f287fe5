import koffi from 'koffi';

const RLIMIT_NOFILE = 7;
const EPERM = 1;

export interface OpenFilesLimit {
  soft: number;
  hard: number;
}

function limits() {
  const libc = koffi.load('libc.so.6');
  return {
    get: libc.func('int getrlimit(int resource, _Out_ void *limit)'),
    set: libc.func('int setrlimit(int resource, const void *limit)'),
  };
}

/** How many files this process may have open; what it starts from now on inherits that. Infinity: no limit. */
export function openFilesLimit(): OpenFilesLimit {
  const buffer = Buffer.alloc(16);
  if (limits().get(RLIMIT_NOFILE, buffer) !== 0) throw new Error(`getrlimit RLIMIT_NOFILE: errno ${koffi.errno()}`);
  return { soft: toNumber(buffer.readBigUInt64LE(0)), hard: toNumber(buffer.readBigUInt64LE(8)) };
}

/**
 * Lets this process open so many files. Beyond the hard limit that takes CAP_SYS_RESOURCE; without it the hard limit is what it gets.
 * @returns the limits in force afterwards
 */
export function setOpenFilesLimit(wanted: number): OpenFilesLimit {
  const { hard } = openFilesLimit();
  if (wanted > hard && !trySet(wanted, wanted)) trySet(hard, hard);
  else if (wanted <= hard) trySet(wanted, hard);
  return openFilesLimit();
}

function trySet(soft: number, hard: number): boolean {
  const buffer = Buffer.alloc(16);
  buffer.writeBigUInt64LE(fromNumber(soft), 0);
  buffer.writeBigUInt64LE(fromNumber(hard), 8);
  if (limits().set(RLIMIT_NOFILE, buffer) === 0) return true;
  // Also more than the kernel allows anybody (fs.nr_open).
  if (koffi.errno() === EPERM) return false;
  throw new Error(`setrlimit RLIMIT_NOFILE ${soft}: errno ${koffi.errno()}`);
}

const UNLIMITED = 0xffff_ffff_ffff_ffffn;

function toNumber(value: bigint): number {
  return value === UNLIMITED ? Number.POSITIVE_INFINITY : Number(value);
}

function fromNumber(value: number): bigint {
  return Number.isFinite(value) ? BigInt(value) : UNLIMITED;
}
