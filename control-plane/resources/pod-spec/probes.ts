import type {
  Container,
  ExecAction,
  GRPCAction,
  HTTPGetAction,
  IntOrString,
  Lifecycle,
  Probe,
  SleepAction,
  TCPSocketAction,
} from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { httpHeaderProblems, invalidFor, nonNegative, portNameProblems, portNumberProblems } from '../values.ts';

/** Probes and lifecycle hooks. */

interface Handler {
  exec?: ExecAction;
  httpGet?: HTTPGetAction;
  tcpSocket?: TCPSocketAction;
  grpc?: GRPCAction;
  sleep?: SleepAction;
}

/** All three probes of a container that may have them. */
export function validateProbes(container: Container, graceSeconds: number | undefined, field: string): FieldError[] {
  const errors: FieldError[] = [];
  const { livenessProbe, readinessProbe, startupProbe } = container;
  if (livenessProbe) errors.push(...validateProbe(livenessProbe, graceSeconds, `${field}.livenessProbe`, true));
  if (readinessProbe) {
    errors.push(...validateProbe(readinessProbe, graceSeconds, `${field}.readinessProbe`, false));
    const seconds = readinessProbe.terminationGracePeriodSeconds;
    if (seconds !== undefined && seconds !== null)
      errors.push(
        invalid(
          `${field}.readinessProbe.terminationGracePeriodSeconds`,
          seconds,
          'must not be set for readinessProbes',
        ),
      );
  }
  if (startupProbe) errors.push(...validateProbe(startupProbe, graceSeconds, `${field}.startupProbe`, true));
  return errors;
}

function validateProbe(
  probe: Probe,
  graceSeconds: number | undefined,
  field: string,
  succeedsOnce: boolean,
): FieldError[] {
  const errors = [
    ...validateHandler(probe, graceSeconds, field),
    ...nonNegative(`${field}.initialDelaySeconds`, probe.initialDelaySeconds),
    ...nonNegative(`${field}.timeoutSeconds`, probe.timeoutSeconds),
    ...nonNegative(`${field}.periodSeconds`, probe.periodSeconds),
    ...nonNegative(`${field}.successThreshold`, probe.successThreshold),
    ...nonNegative(`${field}.failureThreshold`, probe.failureThreshold),
  ];
  const ownGrace = probe.terminationGracePeriodSeconds;
  if (typeof ownGrace === 'number' && ownGrace <= 0)
    errors.push(invalid(`${field}.terminationGracePeriodSeconds`, ownGrace, 'must be greater than 0'));
  if (succeedsOnce && probe.successThreshold !== 1)
    errors.push(invalid(`${field}.successThreshold`, probe.successThreshold, 'must be 1'));
  return errors;
}

export function validateLifecycle(lifecycle: Lifecycle, graceSeconds: number | undefined, field: string): FieldError[] {
  return [
    ...(lifecycle.postStart ? validateHandler(lifecycle.postStart, graceSeconds, `${field}.postStart`) : []),
    ...(lifecycle.preStop ? validateHandler(lifecycle.preStop, graceSeconds, `${field}.preStop`) : []),
  ];
}

function validateHandler(handler: Handler, graceSeconds: number | undefined, field: string): FieldError[] {
  const errors: FieldError[] = [];
  let handlers = 0;
  const one = <A>(name: string, action: A | undefined | null, validate: (action: A, at: string) => FieldError[]) => {
    if (action === undefined || action === null) return;
    if (handlers++ > 0) errors.push(forbidden(`${field}.${name}`, 'may not specify more than 1 handler type'));
    else errors.push(...validate(action, `${field}.${name}`));
  };
  one('exec', handler.exec, (action, at) => ((action.command ?? []).length > 0 ? [] : [required(`${at}.command`)]));
  one('httpGet', handler.httpGet, validateHttpGet);
  one('tcpSocket', handler.tcpSocket, (action, at) => validatePort(action.port, `${at}.port`));
  one('grpc', handler.grpc, (action, at) => validatePort(action.port, `${at}.port`));
  one('sleep', handler.sleep, (action, at) =>
    graceSeconds !== undefined && (action.seconds < 0 || action.seconds > graceSeconds)
      ? [
          invalid(
            at,
            action.seconds,
            `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`,
          ),
        ]
      : [],
  );
  if (handlers === 0) errors.push(required(field, 'must specify a handler type'));
  return errors;
}

function validateHttpGet(action: HTTPGetAction, field: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!action.path) errors.push(required(`${field}.path`));
  errors.push(...validatePort(action.port, `${field}.port`));
  if (action.scheme !== 'HTTP' && action.scheme !== 'HTTPS')
    errors.push(notSupported(`${field}.scheme`, action.scheme, ['HTTP', 'HTTPS']));
  for (const header of action.httpHeaders ?? [])
    errors.push(...invalidFor(`${field}.httpHeaders`, header.name, httpHeaderProblems(header.name)));
  return errors;
}

/** A port number or the name of one. */
export function validatePort(port: IntOrString | undefined, field: string): FieldError[] {
  return typeof port === 'string'
    ? invalidFor(field, port, portNameProblems(port))
    : invalidFor(field, port ?? 0, portNumberProblems(port ?? 0));
}
