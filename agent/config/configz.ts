import { renderConfig } from '../../src/config/render.ts';
import { type KubeletConfiguration, kubeletConfiguration } from './kubelet-configuration.ts';

/** What /configz shows: the configuration in force in the words of its file. Headers of a URL may hold credentials: their values are masked. */
export function renderConfigz(config: KubeletConfiguration): Record<string, unknown> {
  const { apiVersion, kind, fields } = kubeletConfiguration;
  const headers = Object.keys(config.staticPodURLHeader).map((name) => [name, ['<masked>']]);
  return { kind, apiVersion, ...renderConfig(fields, config), staticPodURLHeader: Object.fromEntries(headers) };
}
