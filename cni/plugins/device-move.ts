/**
 * Moves a device of the host's into a container, and back. Its name on the host is kept as its alias, where the reference plugin looks
 * for it too. Going in is one message to the kernel: the device has moved, with new name and alias, or not. On its way out it gets its
 * name back in the container, where nobody of the host watches it (udev would rename what appears under another name); whatever
 * instant a process is killed at, the alias says where it belongs as long as it is in the container.
 */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { AttachRequest } from '../types.ts';
import { taken } from './container-link.ts';
import { broken } from './failure.ts';
import type { DeviceSelector } from './host-device-search.ts';

export interface MovePlaces {
  host: Rtnetlink;
  /** Path of the host's namespace. */
  hostNetns: string;
  pod: Rtnetlink;
}

/** The device is up in the container under its new name. @throws what the kernel says; the device is on the host then, as it was. */
export async function moveIntoContainer(device: Link, request: AttachRequest, places: MovePlaces): Promise<void> {
  const { host, pod } = places;
  const { ifname, netns } = request;
  if (await pod.getLink(ifname)) throw taken(request);
  try {
    await host.setLink(device.index, { netns, name: ifname, alias: device.name, up: true });
  } catch (error) {
    await runAll('roll back', [
      () => returnUnfinished(device, ifname, places),
      () => host.setLink(device.name, { alias: device.alias ?? '', ...(device.up && { up: true }) }),
    ]).catch(() => {});
    throw error;
  }
}

/** The kernel does the parts of a message one after the other: it may have moved the device before it refused something. */
async function returnUnfinished(device: Link, ifname: string, { host, hostNetns, pod }: MovePlaces): Promise<void> {
  if (await host.getLink(device.index)) return;
  const links = await pod.listLinks();
  const moved = links.find(({ name, mac }) => (name === ifname || name === device.name) && mac === device.mac);
  if (moved) await pod.setLink(moved.index, { netns: hostNetns, name: device.name });
}

/** Down on the host, under its name of before, without the alias; nothing when the container has no device of the host's under that name. */
export async function moveOutOfContainer(
  { ifname, netns }: Pick<AttachRequest, 'netns' | 'ifname'>,
  selector: DeviceSelector,
  places: MovePlaces,
): Promise<void> {
  const links = await places.pod.listLinks();
  const device =
    links.find((link) => link.name === ifname && isOfHost(link)) ?? links.find((link) => isHalfMoved(link, selector));
  if (device) await moveBack(device, netns, places);
}

async function moveBack(device: Link, netns: string, { host, hostNetns, pod }: MovePlaces): Promise<void> {
  const before = device.alias!;
  if (await host.getLink(before))
    throw broken(`cannot move ${device.name} of ${netns} back: the host has another link ${before} meanwhile`);
  if (device.up) await pod.setLink(device.index, { up: false });
  // Unless the container has a link of that name: then it is renamed on the host.
  if (device.name !== before && !(await pod.getLink(before))) await pod.setLink(device.index, { name: before });
  await pod.setLink(device.index, { netns: hostNetns, name: before, alias: '' });
}

/** What a killed DEL has left: in the container, down, with its name of before. Which one is meant a path or bus address does not tell here. */
function isHalfMoved(link: Link, { device, mac }: DeviceSelector): boolean {
  const isMeant = device !== '' ? link.name === device : mac === '' || link.mac === mac;
  return isMeant && !link.up && link.alias === link.name;
}

/** An alias that can be a link's name; those of our other plugins have colons. */
const isOfHost = ({ alias }: Link) => alias !== undefined && /^[^/:\s]{1,15}$/.test(alias);

/**
 * Gives a device its name back that the kernel has returned to the host, under the container's name for it, when a container's namespace
 * ended without DEL (those of hardware come back so; virtual ones are gone). Only what is meant by name or MAC is known here.
 */
export async function restoreReturned(host: Rtnetlink, { device, mac }: DeviceSelector): Promise<void> {
  if (device === '' && mac === '') return;
  const links = await host.listLinks();
  const returned = links.find(
    (link) =>
      isOfHost(link) &&
      !link.up &&
      link.alias !== link.name &&
      (device === '' ? link.mac === mac : link.alias === device),
  );
  if (returned && !links.some(({ name }) => name === returned.alias))
    await host.setLink(returned.index, { name: returned.alias!, alias: '' });
}
