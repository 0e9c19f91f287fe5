/** What becomes of one field of a pod's spec on this node. */
export type FieldSupport =
  /** Happens as the kubelet does it; `note` tells what is special here. */
  | { kind: 'supported'; note?: string }
  /** A pod that sets it (to one of those values, in that way) is rejected by name: running without it would break what its author relies on. */
  | { kind: 'refused'; why: string; when?: Condition; values?: string }
  /** Set or not, the pod runs as it would without; an event says so. */
  | { kind: 'no effect'; why: string; when?: Condition; values?: string }
  /** Somebody else reads it: nothing is left to do on the node. */
  | { kind: 'elsewhere'; owner: string };

/** Whether a value that is there asks for what cannot be had. */
export type Condition = (value: unknown) => boolean;

/** By field name; `*` stands for all fields of a type that nobody here looks into. */
export type StructSupport = Readonly<Record<string, FieldSupport>>;

export const supported = (note?: string): FieldSupport => ({ kind: 'supported', ...(note && { note }) });
export const refused = (why: string): FieldSupport => ({ kind: 'refused', why });
export const noEffect = (why: string): FieldSupport => ({ kind: 'no effect', why });
export const elsewhere = (owner: string): FieldSupport => ({ kind: 'elsewhere', owner });
export const whole = (support: FieldSupport): StructSupport => ({ '*': support });

/** Only these values are refused; the others are supported. */
export const refusedValues = (values: readonly unknown[], why: string): FieldSupport => ({
  kind: 'refused',
  why,
  when: (value) => values.includes(value),
  values: values.map((value) => `\`${value}\``).join(', '),
});
