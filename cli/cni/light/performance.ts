const NS_PER_MS = 1e6;

/** Stands for the global one in the programs of network plugins, which want a clock and no observers of it. */
export const performance = { now: () => Number(process.hrtime.bigint()) / NS_PER_MS };
