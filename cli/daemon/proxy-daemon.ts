import { runAll } from '../../src/runtime/run-all.ts';
import { checkRoot } from '../preflight/checks.ts';
import { createContext } from '../roots/context.ts';
import {
  createConfigWatch,
  initializeProxy,
  loadProxyConfig,
  setProxyOomScore,
  writeProxyConfig,
} from '../roots/proxy-config.ts';
import { removeServiceRules } from '../roots/service-rules.ts';
import { type ProxyFlags, prepareProxy, proxyHostState } from '../roots/standalone-proxy.ts';
import { serve, type Verbose } from './serve.ts';

/** `berth proxy`. In a file of its own, since its bundle does without the agent. */
export async function runProxyDaemon(
  flags: ProxyFlags & Verbose & { rootDir: string; cleanup?: boolean; initOnly?: boolean; writeConfigTo?: string },
): Promise<void> {
  if (flags.writeConfigTo) return writeProxyConfig(loadProxyConfig(flags), flags.writeConfigTo);
  const state = proxyHostState(flags.rootDir);
  if (flags.initOnly) {
    checkRoot('proxy');
    return initializeProxy(loadProxyConfig(flags), state.sysctls, createContext(flags));
  }
  if (!flags.cleanup) {
    return serve('proxy', flags, async (context, signal) => {
      setProxyOomScore(loadProxyConfig(flags), context.log);
      const parts = prepareProxy(flags, state.sysctls, context);
      await state.record(signal);
      return flags.config ? { ...parts, configuration: createConfigWatch(flags.config, context.clock) } : parts;
    });
  }
  checkRoot('proxy');
  await runAll('berth proxy --cleanup', [() => removeServiceRules(loadProxyConfig(flags)), state.restore]);
}
