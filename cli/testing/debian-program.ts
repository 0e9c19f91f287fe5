import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { unpackPackages } from '../debian/packages.ts';

/** A program of Debian's that tests use and that need not be installed: kept below .toolchain for the next run. */
export interface DebianProgram {
  package: string;
  /** Packages of libraries that it needs and a small Debian lacks: unpacked into the same folder. */
  libraries?: readonly string[];
  /** The file or folder of it that is kept, without a leading slash. */
  keeps: string;
  /** Its name below .toolchain/debian. */
  as: string;
}

export const dockerRegistry: DebianProgram = {
  package: 'docker-registry',
  keeps: 'usr/bin/docker-registry',
  as: 'docker-registry',
};

/** The reference plugins of CNI. */
export const cniPlugins: DebianProgram = {
  package: 'containernetworking-plugins',
  keeps: 'usr/lib/cni',
  as: 'cni-plugins',
};

/** The routing daemon that backend bgp drives. */
export const bird: DebianProgram = {
  package: 'bird2',
  libraries: [
    'libssh-gcrypt-4',
    'libgssapi-krb5-2',
    'libkrb5-3',
    'libk5crypto3',
    'libkrb5support0',
    'libkeyutils1',
    'libcom-err2',
  ],
  keeps: 'usr',
  as: 'bird',
};

/** The firewall service of many distributions, with what it needs of Python beyond the interpreter. */
export const firewalld: DebianProgram = {
  package: 'firewalld',
  libraries: [
    'python3-firewall',
    'python3-nftables',
    'python3-cap-ng',
    'python3-dbus',
    'python3-gi',
    'gir1.2-glib-2.0',
    'libgirepository-1.0-1',
  ],
  keeps: 'usr',
  as: 'firewalld',
};

/** A DHCP server of another make than BusyBox's. */
export const iscDhcpServer: DebianProgram = {
  package: 'isc-dhcp-server',
  keeps: 'usr/sbin/dhcpd',
  as: 'isc-dhcpd',
};

export function debianProgramPath(checkout: string, { as }: DebianProgram): string {
  return join(checkout, '.toolchain/debian', as);
}

/** Unpacks it beside the system unless it is there; hosts of tests have no network to get it. */
export async function fetchDebianProgram(checkout: string, program: DebianProgram): Promise<string> {
  const kept = debianProgramPath(checkout, program);
  if (existsSync(kept)) return kept;
  const unpacked = mkdtempSync(join(tmpdir(), 'berth-program-'));
  const partial = `${kept}.${process.pid}`;
  try {
    await unpackPackages([program.package, ...(program.libraries ?? [])], unpacked);
    mkdirSync(dirname(kept), { recursive: true });
    cpSync(join(unpacked, program.keeps), partial, { recursive: true, verbatimSymlinks: true });
    renameSync(partial, kept);
  } finally {
    for (const rest of [unpacked, partial]) rmSync(rest, { recursive: true, force: true });
  }
  return kept;
}
