/** Progress for people: one line a step, with the time it took. On a terminal the running step shows at once. */
export function createSteps(out: NodeJS.WriteStream = process.stderr) {
  const terminal = out.isTTY === true;
  const green = (text: string) => (terminal ? `\x1b[32m${text}\x1b[0m` : text);
  return {
    /** Runs one step; its line ends with ✓ and the seconds, or stays open for the error that follows. */
    async run<T>(title: string, work: () => Promise<T>): Promise<T> {
      const started = performance.now();
      if (terminal) out.write(`  … ${title}`);
      try {
        const result = await work();
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        out.write(terminal ? `\r  ${green('✓')} ${title} (${seconds} s)\x1b[K\n` : `  ✓ ${title} (${seconds} s)\n`);
        return result;
      } catch (error) {
        out.write(terminal ? `\r  ✗ ${title}\x1b[K\n` : `  ✗ ${title}\n`);
        throw error;
      }
    },
    say(line: string) {
      out.write(`${line}\n`);
    },
  };
}

export type Steps = ReturnType<typeof createSteps>;
