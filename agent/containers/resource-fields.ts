import { parseQuantity } from '../../src/kube/quantity.ts';

/** quantity ÷ divisor, rounded up to a whole number. A divisor of 0 or none is 1 (the API's default). */
export function divide(quantity: string, divisor: string | undefined): string {
  const by = parseQuantity(divisor ?? '1').nano || parseQuantity('1').nano;
  const value = parseQuantity(quantity).nano;
  return String((value + by - 1n) / by);
}
