import { duration, ignored, switches, text } from '../../../src/config/field.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

/** The container runtime and feature gates. */
export const runtimeFields = {
  // The container runtime is always Docker's Engine (--docker-endpoint); kubeadm writes a CRI socket here.
  containerRuntimeEndpoint: ignored(text()),
  imageServiceEndpoint: ignored(text()),
  runtimeRequestTimeout: duration(2 * MINUTE_MS, { minMs: SECOND_MS }),
  // Which of them do something here is told at start: cli/roots/feature-gates.ts.
  featureGates: switches(),
};
