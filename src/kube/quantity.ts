/**
 * resource.Quantity: exact decimal arithmetic over nano units. A quantity travels as its string; it is parsed where it is
 * used and written back in canonical form: an integer mantissa with the largest suffix that keeps it an integer.
 */

/** How a quantity was written, and so how its sum with another is written. */
export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

export interface ParsedQuantity {
  /** The exact value in units of 10⁻⁹ (finer input is rounded away from zero, as upstream does). */
  readonly nano: bigint;
  /** Thousandths, rounded away from zero: millicores of a CPU quantity. */
  readonly milli: bigint;
  /** Whole units, rounded away from zero: bytes of a memory quantity. */
  readonly value: bigint;
  readonly format: QuantityFormat;
}

export class QuantityError extends Error {
  constructor() {
    // The API's own words: they stand in Status messages that people search for.
    super("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    this.name = 'QuantityError';
  }
}

const NANO = 1_000_000_000n;
const LARGEST_BINARY_NANO = (2n ** 63n - 1n) * NANO;
/** Longer exponents would only serve to make the server compute; no real quantity comes near. */
const LARGEST_EXPONENT = 300;

const DECIMAL_EXPONENT_OF: Record<string, number> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const BINARY_POWER_OF: Record<string, bigint> = { Ki: 1n, Mi: 2n, Gi: 3n, Ti: 4n, Pi: 5n, Ei: 6n };
const DECIMAL_SUFFIXES = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY_SUFFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** Parses `100m`, `1.5Gi`, `2e3`, `1E`; a JSON number is taken as its text. Throws QuantityError. */
export function parseQuantity(text: string | number): ParsedQuantity {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?([a-zA-Z]*)([+-]?\d*)$/.exec(String(text));
  if (!match) throw new QuantityError();
  const [, sign, whole = '', fraction = '', letters = '', digits = ''] = match;
  if (whole === '' && fraction === '') throw new QuantityError();
  const mantissa = BigInt(whole + fraction);
  const { numerator, denominator, format } = scaleOf(letters, digits);
  // Rounded away from zero: whoever asks for a little gets a little, never nothing.
  let nano = divideUp(mantissa * numerator * NANO, denominator * 10n ** BigInt(fraction.length));
  if (format === 'BinarySI' && nano > LARGEST_BINARY_NANO) nano = LARGEST_BINARY_NANO;
  return quantityOf(sign === '-' ? -nano : nano, format);
}

function scaleOf(letters: string, digits: string): { numerator: bigint; denominator: bigint; format: QuantityFormat } {
  if (digits !== '') {
    const exponent = Number(digits);
    if ((letters !== 'e' && letters !== 'E') || !/\d/.test(digits) || Math.abs(exponent) > LARGEST_EXPONENT)
      throw new QuantityError();
    return { ...decimalScale(exponent), format: 'DecimalExponent' };
  }
  const power = BINARY_POWER_OF[letters];
  if (power !== undefined) return { numerator: 1024n ** power, denominator: 1n, format: 'BinarySI' };
  const exponent = DECIMAL_EXPONENT_OF[letters];
  if (exponent === undefined) throw new QuantityError();
  return { ...decimalScale(exponent), format: 'DecimalSI' };
}

function decimalScale(exponent: number) {
  return exponent >= 0
    ? { numerator: 10n ** BigInt(exponent), denominator: 1n }
    : { numerator: 1n, denominator: 10n ** BigInt(-exponent) };
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

function roundAway(nano: bigint, unit: bigint): bigint {
  return nano < 0n ? -divideUp(-nano, unit) : divideUp(nano, unit);
}

/** A quantity from its exact value. */
export function quantityOf(nano: bigint, format: QuantityFormat = 'DecimalSI'): ParsedQuantity {
  return { nano, milli: roundAway(nano, 1_000_000n), value: roundAway(nano, NANO), format };
}

/** Whether `parseQuantity` takes it. */
export function isQuantity(text: string | number): boolean {
  try {
    parseQuantity(text);
    return true;
  } catch {
    return false;
  }
}

/** Canonical text: `1000m` → `1`, `0.5` → `500m`, `1024Ki` → `1Mi`, `1.5Gi` → `1536Mi`, `512Ki`+format BinarySI below 1024 → decimal. */
export function formatQuantity(quantity: Pick<ParsedQuantity, 'nano' | 'format'>): string {
  const { nano, format } = quantity;
  if (nano === 0n) return '0';
  const magnitude = nano < 0n ? -nano : nano;
  // Small or fractional numbers would be rounded in binary units.
  if (format === 'BinarySI' && magnitude >= 1024n * NANO && magnitude % NANO === 0n) {
    const { mantissa, steps } = removeFactors(nano / NANO, 1024n, BINARY_SUFFIXES.length - 1);
    return `${mantissa}${BINARY_SUFFIXES[steps]}`;
  }
  if (format === 'DecimalExponent') {
    const { mantissa, steps } = removeFactors(nano, 1000n, LARGEST_EXPONENT);
    const exponent = steps * 3 - 9;
    return exponent === 0 ? `${mantissa}` : `${mantissa}e${exponent}`;
  }
  const { mantissa, steps } = removeFactors(nano, 1000n, DECIMAL_SUFFIXES.length - 1);
  return `${mantissa}${DECIMAL_SUFFIXES[steps]}`;
}

function removeFactors(value: bigint, factor: bigint, most: number): { mantissa: bigint; steps: number } {
  let mantissa = value;
  let steps = 0;
  while (steps < most && mantissa % factor === 0n) {
    mantissa /= factor;
    steps++;
  }
  return { mantissa, steps };
}

/** The canonical text of a quantity, as the API stores and shows it. */
export function canonicalQuantity(text: string | number): string {
  return formatQuantity(parseQuantity(text));
}

/** Millicores of a CPU quantity, rounded up; undefined counts as 0. */
export function cpuMillis(quantity: string | number | undefined): number {
  return quantity === undefined ? 0 : Number(parseQuantity(quantity).milli);
}

/** Bytes (or any whole unit) of a quantity, rounded up; undefined counts as 0. */
export function bytes(quantity: string | number | undefined): number {
  return quantity === undefined ? 0 : Number(parseQuantity(quantity).value);
}

/** −1, 0 or 1 by value: `compareQuantities('1000m', '1')` is 0. */
export function compareQuantities(left: string | number, right: string | number): -1 | 0 | 1 {
  const difference = parseQuantity(left).nano - parseQuantity(right).nano;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** The sum, written in the format of the first operand that is not zero. */
export function addQuantities(...quantities: (string | number)[]): string {
  return sum(quantities.map(parseQuantity));
}

/** left − right, in the left one's format (the right one's when left is zero). */
export function subtractQuantities(left: string | number, right: string | number): string {
  const subtrahend = parseQuantity(right);
  return sum([parseQuantity(left), quantityOf(-subtrahend.nano, subtrahend.format)]);
}

function sum(parsed: ParsedQuantity[]): string {
  const format = (parsed.find((one) => one.nano !== 0n) ?? parsed[0])?.format ?? 'DecimalSI';
  return formatQuantity({ nano: parsed.reduce((total, one) => total + one.nano, 0n), format });
}

/** `1500` → `1500m`, `2000` → `2`. */
export function formatCpuMillis(millis: number): string {
  return formatQuantity({ nano: BigInt(Math.round(millis)) * 1_000_000n, format: 'DecimalSI' });
}

/** `1073741824` → `1Gi`. */
export function formatBytes(byteCount: number): string {
  return formatQuantity({ nano: BigInt(Math.round(byteCount)) * NANO, format: 'BinarySI' });
}
