/** CHECK of the bridge plugin: what an administrator or another program may have changed since the ADD. */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { AttachRequest, CniResult } from '../types.ts';
import type { BridgeConfig, BridgeDependencies } from './bridge.ts';
import { checkInterface, inContainer } from './container-interface.ts';
import { broken } from './failure.ts';
import { vlanGatewayName } from './port-vlans.ts';
import { checkHostEnd } from './veth-attachment.ts';

/** @throws CniError 0 naming the first thing that is not as the ADD left it. */
export async function checkBridgeAttachment<Ipam>(
  config: BridgeConfig<Ipam>,
  request: AttachRequest,
  result: CniResult,
  deps: BridgeDependencies<Ipam>,
): Promise<void> {
  const { host } = deps;
  if (config.ipam !== undefined) await deps.ipam.check(config.ipam, request, result);
  const bridge = await host.getLink(config.bridge);
  if (bridge?.kind !== 'bridge') throw broken(`bridge ${config.bridge} is missing`);
  checkBridge(config, bridge, result);
  await checkGateways(config, bridge, result, host);
  await inContainer(request.netns, async (pod) => {
    const link = await checkInterface(pod, request, result, { isDown: config.disableContainerInterface });
    const port = await checkHostEnd(host, link, result);
    checkPort(config, bridge, port);
    if (config.macSpoofCheck) await deps.macSpoofCheck.check(request, port.name);
  });
  const addresses = result.ips.map(({ address }) => address);
  if (config.masquerade) await deps.masquerade.check(config.network, request, addresses);
}

function checkBridge(config: BridgeConfig<unknown>, bridge: Link, { interfaces }: CniResult): void {
  const { name, mac, up, promiscuous } = bridge;
  const said = interfaces.find((one) => one.name === name && one.sandbox === '');
  if (said?.mac && said.mac.toLowerCase() !== mac) throw broken(`bridge ${name} has MAC ${mac}, not ${said.mac}`);
  if (!up) throw broken(`bridge ${name} is down`);
  if (config.promiscuous && !promiscuous) throw broken(`bridge ${name} is not promiscuous any more`);
}

/** The containers' way out is the bridge's address, or that of its VLAN's link. */
async function checkGateways(
  config: BridgeConfig<unknown>,
  bridge: Link,
  { ips }: CniResult,
  host: Rtnetlink,
): Promise<void> {
  if (!config.isGateway && !config.isDefaultGateway) return;
  const access = config.vlans?.access;
  const link = access === undefined ? bridge : await host.getLink(vlanGatewayName(bridge, access));
  const present = link && (await host.listAddresses({ linkIndex: link.index }));
  for (const { gateway } of ips)
    if (gateway && !present?.some(({ address }) => address.split('/')[0] === gateway))
      throw broken(`${link?.name ?? bridge.name} lacks the gateway's address ${gateway}`);
}

function checkPort(config: BridgeConfig<unknown>, bridge: Link, { name, up, masterIndex, bridgePort }: Link): void {
  if (masterIndex !== bridge.index) throw broken(`${name} is no port of ${bridge.name}`);
  if (!up) throw broken(`${name} is down`);
  if (config.hairpinMode && !bridgePort?.hairpin) throw broken(`${name} is not in hairpin mode any more`);
  if (config.portIsolation && !bridgePort?.isolated) throw broken(`${name} is not isolated any more`);
}
