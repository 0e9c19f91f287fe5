/** The number of the ruleset after one transaction more: generations count to 2^32 and pass over 0. */
export function nextGeneration(id: number): number {
  return id === 0xffff_ffff ? 1 : id + 1;
}

/** Whether `one` was before `other`, within half the numbers there are. */
export function isBefore(one: number, other: number): boolean {
  return one !== other && (other - one) >>> 0 < 0x8000_0000;
}
