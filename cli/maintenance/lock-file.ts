export interface LockEntry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

export interface LockFile {
  packages: Record<string, LockEntry>;
}

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32', 'aix'];
/** Longer names before those that they contain. */
const PROCESSORS = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'];

/** Optional dependencies, pinned to a version, that no entry of the lock file stands for; with the entries that would. Pure. */
export function missingOptionalPackages(lock: LockFile): { path: string; entry: LockEntry }[] {
  return Object.entries(lock.packages).flatMap(([parent, { optionalDependencies = {}, dev }]) =>
    Object.entries(optionalDependencies)
      .filter(
        ([name, version]) =>
          /^\d/.test(version) &&
          !lock.packages[`node_modules/${name}`] &&
          !lock.packages[`${parent}/node_modules/${name}`],
      )
      .map(([name, version]) => ({
        path: `node_modules/${name}`,
        entry: { version, ...platformOf(name), ...(dev && { dev }), optional: true },
      })),
  );
}

/** By the words of the package's name, as native packages are called: `@scope/binding-linux-arm64-musl`. */
function platformOf(name: string): LockEntry {
  const words = (name.split('/').at(-1) ?? '').split('-');
  const os = SYSTEMS.find((one) => words.includes(one));
  const cpu = PROCESSORS.find((one) => words.includes(one));
  return { ...(cpu && { cpu: [cpu] }), ...(words.includes('musl') && { libc: ['musl'] }), ...(os && { os: [os] }) };
}
