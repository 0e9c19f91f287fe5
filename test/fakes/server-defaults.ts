/** For servers whose tests open no streams: whoever tries is told. */
const refuse = async (): Promise<never> => {
  throw new Error('this test has no containers to connect to');
};

export const serverDefaults = {
  terminals: { exec: refuse, attach: refuse },
  connectToPod: refuse,
  streamingIdleTimeoutMs: 60_000,
  exec: { exec: refuse },
  debuggingHandlers: true,
  profilingHandler: true,
  debugFlagsHandler: true,
  program: { version: 'v1.36.0', flags: {} },
};
