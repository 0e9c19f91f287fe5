import type { Container, LifecycleHandler, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { AgentMetrics, ContainerExec, EventSink } from '../pods/ports.ts';
import { sendHttpHook } from './http-hook.ts';
import { containerFieldPath } from './kill.ts';

export interface HookContext {
  pod: Pod;
  container: Container;
  containerId: string;
  podIp: string | undefined;
  signal: AbortSignal;
}

export interface HookDependencies {
  exec: ContainerExec;
  /** The address of pods with the host's network. */
  nodeIp: string | undefined;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'lifecycleHttpFallback'>;
  clock: Clock;
}

export interface LifecycleHooks {
  /** Runs a postStart or preStop handler to its end; throws when it fails. */
  run(handler: LifecycleHandler, context: HookContext): Promise<void>;
}

/** Lifecycle handlers: exec, httpGet, sleep (sheet §11). tcpSocket is in the API only and fails when it is to run. */
export function createLifecycleHooks({ exec, nodeIp, events, metrics, clock }: HookDependencies): LifecycleHooks {
  return {
    async run(handler, context) {
      const { pod, container, containerId, signal } = context;
      if (handler.exec) {
        const command = handler.exec.command ?? [];
        const { exitCode, output } = await exec.exec(containerId, command, { signal });
        if (exitCode !== 0)
          throw new Error(`command '${command.join(' ')}' exited with ${exitCode}: ${output.trim() || '(no output)'}`);
      } else if (handler.httpGet) {
        const fallback = await sendHttpHook(handler.httpGet, {
          ...context,
          podIp: pod.spec.hostNetwork ? nodeIp : context.podIp,
        });
        if (!fallback) return;
        metrics.lifecycleHttpFallback();
        const message = `request to HTTPS lifecycle hook ${fallback.fellBackFor} got HTTP response, retry with HTTP succeeded`;
        events.event(pod, 'Warning', 'LifecycleHTTPFallback', message, containerFieldPath(pod, container.name));
      } else if (handler.sleep) await clock.sleep(handler.sleep.seconds * 1000, signal);
      else
        throw new Error(
          `invalid handler: ${handler.tcpSocket ? 'tcpSocket' : 'none'}; lifecycle hooks are exec, httpGet or sleep`,
        );
    },
  };
}
