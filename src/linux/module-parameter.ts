import { readFileSync, writeFileSync } from 'node:fs';

const pathOf = (module: string, parameter: string) => `/sys/module/${module}/parameters/${parameter}`;

/** A parameter of a kernel module that is a number; undefined when the module is not there. */
export function readModuleParameter(module: string, parameter: string): number | undefined {
  try {
    return Number(readFileSync(pathOf(module, parameter), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** @throws EROFS where /sys is read-only, EOPNOTSUPP in a network namespace that is not the first for what all share */
export function writeModuleParameter(module: string, parameter: string, value: number): void {
  writeFileSync(pathOf(module, parameter), String(value));
}
