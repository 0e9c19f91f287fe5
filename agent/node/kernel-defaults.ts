import { readSysctl } from '../../src/linux/sysctl.ts';

/** What upstream expects of a node's kernel, and sets where protectKernelDefaults is false. */
const EXPECTED: Readonly<Record<string, string>> = {
  'vm.overcommit_memory': '1',
  'vm.panic_on_oom': '0',
  'kernel.panic': '10',
  'kernel.panic_on_oops': '1',
  'kernel.keys.root_maxkeys': '1000000',
  'kernel.keys.root_maxbytes': '25000000',
};

export interface KernelDefault {
  name: string;
  is: string;
  expected: string;
}

/** The settings that are otherwise; those that this kernel does not have are none. */
export function findKernelDefaults(read: (name: string) => string | undefined = readSysctl): KernelDefault[] {
  return Object.entries(EXPECTED).flatMap(([name, expected]) => {
    const is = read(name);
    return is === undefined || is === expected ? [] : [{ name, is, expected }];
  });
}

/** One line for all of them, with the way out. */
export function describeKernelDefaults(found: readonly KernelDefault[]): string {
  const values = found.map(({ name, is, expected }) => `${name} is ${is}, expected ${expected}`).join('; ');
  const remedy = found.map(({ name, expected }) => `${name}=${expected}`).join(' ');
  return `${values} (sysctl -w ${remedy})`;
}
