import type { ServiceState } from '../state/model.ts';
import { renderServicePort, type ServicePortRules, type ServiceRenderOptions } from './service-rules.ts';

/** The rules of one service: all its ports. None for a service that is not there. */
export function renderService(state: ServiceState | undefined, options: ServiceRenderOptions): ServicePortRules[] {
  return state?.ports.map((port) => renderServicePort(port, options)) ?? [];
}
