import type { Express } from 'express';
import { plainText } from '../../src/diagnostics/plain-text.ts';
import { type Logger, setLogLevel } from '../../src/runtime/log.ts';

const MAX_BODY_BYTES = 16;
/** Upstream's levels from which on a log of ours tells more: 4 is "debug" in its conventions, 6 shows requests. */
const DEBUG_FROM = 4;
const TRACE_FROM = 6;

/** PUT /debug/flags/v with a number: how much the log tells from now on, of everything in this process, until it ends. */
export function serveVerbosity(app: Express, { log }: { log: Logger }): void {
  app.put('/debug/flags/v', async (request, response) => {
    let text = '';
    for await (const chunk of request) {
      text += chunk;
      if (text.length > MAX_BODY_BYTES) break;
    }
    const verbosity = /^\d{1,4}$/.test(text.trim()) ? Number(text) : undefined;
    if (verbosity === undefined)
      return plainText(
        response,
        400,
        `error setting value ${JSON.stringify(text)}: failed set klog.logging.verbosity: a number from 0 on is expected`,
      );
    setLogLevel(log, verbosity >= TRACE_FROM ? 'trace' : verbosity >= DEBUG_FROM ? 'debug' : 'info');
    log.info({ verbosity }, 'the verbosity of the log was set over the node API');
    plainText(response, 200, `successfully set klog.logging.verbosity to ${text.trim()}`);
  });
  app.all('/debug/flags/v', (_, response) => plainText(response, 406, 'unsupported http method'));
}
