import type { Command } from 'commander';
import { defineTest } from './test.ts';

/** One file a subcommand; this list is what `berth --help` shows, in its order. */
export const commands: ((program: Command) => void)[] = [defineTest];
