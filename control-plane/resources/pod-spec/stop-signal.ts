import type { PodSpec } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, notSupported } from '../../apiserver/field-error.ts';

const NAMED =
  'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX';
const REAL_TIME = [
  ...Array.from({ length: 15 }, (_, above) => `RTMIN+${above + 1}`),
  ...Array.from({ length: 14 }, (_, below) => `RTMAX-${below + 1}`),
];
const LINUX_SIGNALS = [...NAMED.split(' '), ...REAL_TIME].map((name) => `SIG${name}`).sort();
const WINDOWS_SIGNALS = ['SIGKILL', 'SIGTERM'];

/** lifecycle.stopSignal (upstream's gate ContainerStopSignals): which signals there are depends on the pod's OS. */
export function validateStopSignal(signal: string | undefined, os: PodSpec['os'], field: string): FieldError[] {
  if (!signal) return [];
  if (!os?.name) return [forbidden(field, 'may not be set for containers with empty `spec.os.name`')];
  const known = os.name === 'windows' ? WINDOWS_SIGNALS : LINUX_SIGNALS;
  return known.includes(signal) ? [] : [notSupported(field, signal, known)];
}
