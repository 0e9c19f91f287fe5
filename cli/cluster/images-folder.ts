import { join } from 'node:path';
import { CHECKOUT } from '../daemon/launch.ts';

/** Where built images wait to be loaded. */
export function imagesFolder(): string {
  return join(CHECKOUT, '.toolchain/images');
}
