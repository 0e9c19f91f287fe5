import type { ProxySnapshot } from '../state/model.ts';
import { type IpvsRenderOptions, renderIpvsService } from './service-rules.ts';
import { createWanted, type Wanted } from './wanted.ts';

/** Everything that a snapshot wants in the kernel, in steps of a Service. Pure. */
export function* renderIpvsSteps(snapshot: ProxySnapshot, options: IpvsRenderOptions): Generator<void, Wanted> {
  const wanted = createWanted();
  for (const [name, state] of snapshot.services) {
    wanted.replace(name, renderIpvsService(state, options));
    yield;
  }
  return wanted;
}
