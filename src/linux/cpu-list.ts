/** CPUs (or NUMA nodes) by number. */
export type CpuSet = ReadonlySet<number>;

/**
 * Reads the kernel's list format: `0-3,8,10-11`; "" is the empty set.
 * @throws Error that quotes what is not a number, a range, or the right way round.
 */
export function parseCpuList(text: string): CpuSet {
  const cpus = new Set<number>();
  const trimmed = text.trim();
  if (trimmed === '') return cpus;
  for (const part of trimmed.split(',')) {
    const range = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(part);
    if (!range) throw new Error(`${JSON.stringify(part)} is not a CPU number or a range such as 0-3`);
    const first = Number(range[1]);
    const last = Number(range[2] ?? first);
    if (last < first) throw new Error(`the range ${JSON.stringify(part)} ends before it begins`);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return cpus;
}

/** The kernel's list format, ascending, neighbours joined to ranges: equal sets give equal text. */
export function formatCpuList(cpus: Iterable<number>): string {
  const parts: string[] = [];
  let first: number | undefined;
  let last: number | undefined;
  const close = () => {
    if (first !== undefined) parts.push(first === last ? `${first}` : `${first}-${last}`);
  };
  for (const cpu of [...cpus].sort((left, right) => left - right)) {
    if (last !== undefined && cpu === last + 1) {
      last = cpu;
      continue;
    }
    close();
    first = cpu;
    last = cpu;
  }
  close();
  return parts.join(',');
}

/** Whether both hold the same. */
export function sameCpus(left: CpuSet, right: CpuSet): boolean {
  return left.size === right.size && left.isSubsetOf(right);
}
