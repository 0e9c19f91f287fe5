/** No vowels and no look-alikes, as upstream. */
const SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const SUFFIX_LENGTH = 5;
const GENERATED_BASE_LIMIT = 63 - SUFFIX_LENGTH;

/** Keeps at most 58 characters of the base, so that the name fits everywhere. `random` is below 1. */
export function generateName(base: string, random: () => number): string {
  let name = base.slice(0, GENERATED_BASE_LIMIT);
  for (let count = 0; count < SUFFIX_LENGTH; count++)
    name += SUFFIX_ALPHABET[Math.floor(random() * SUFFIX_ALPHABET.length)];
  return name;
}
