import { field, flag, message, repeated, text, type ValueOf } from './message.ts';

/** How plugins of a node make themselves known: they serve this on a socket in `plugins_registry` (pluginregistration v1). */

const InfoRequest = message({});
const PluginInfo = message({
  /** `CSIPlugin`, `DevicePlugin`, `DRAPlugin`. */
  type: field(1, text),
  name: field(2, text),
  /** Socket of the service itself; empty: this one. */
  endpoint: field(3, text),
  supportedVersions: repeated(4, text),
});
export type PluginInfo = ValueOf<typeof PluginInfo>;
const RegistrationStatus = message({ pluginRegistered: field(1, flag), error: field(2, text) });

const SERVICE = '/pluginregistration.Registration';

export const pluginRegistration = {
  getInfo: { path: `${SERVICE}/GetInfo`, request: InfoRequest, response: PluginInfo },
  notifyRegistrationStatus: {
    path: `${SERVICE}/NotifyRegistrationStatus`,
    request: RegistrationStatus,
    response: message({}),
  },
};
