import type { InformerHandlers } from '../src/kube/informer.ts';
import type { EndpointSlice, Service } from '../src/kube/types.ts';
import { SERVICE_NAME_LABEL } from './state/endpoints.ts';
import type { ChangeTracker } from './state/tracker.ts';

/** What the proxy needs of an informer. */
export interface ObjectSource<T> {
  /** Calls handlers for what exists and for every change; returns unsubscribe. */
  subscribe(handlers: InformerHandlers<T>): () => void;
  /** Resolves when everything that exists has been handed out. */
  synced(signal?: AbortSignal): Promise<void>;
}

/** Leads the events of Services and EndpointSlices into the trackers. @returns unsubscribe */
export function feedTrackers(
  sources: { services: ObjectSource<Service>; endpointSlices: ObjectSource<EndpointSlice> },
  trackers: readonly ChangeTracker[],
  on: { serviceChanged(): void; endpointsChanged(): void },
): () => void {
  const setService = (service: Service) => {
    for (const tracker of trackers) tracker.setService(service);
    on.serviceChanged();
  };
  const setSlice = (slice: EndpointSlice) => {
    for (const tracker of trackers) tracker.setSlice(slice);
    on.endpointsChanged();
  };
  const deleteSlice = (slice: EndpointSlice) => {
    for (const tracker of trackers) tracker.deleteSlice(slice);
  };
  const stops = [
    sources.services.subscribe({
      added: setService,
      updated: (_old, service) => setService(service),
      deleted({ metadata }) {
        for (const tracker of trackers) tracker.deleteService(`${metadata.namespace}/${metadata.name}`);
        on.serviceChanged();
      },
    }),
    sources.endpointSlices.subscribe({
      added: setSlice,
      updated(old, slice) {
        // A slice may be handed from one Service to another by its label.
        if (old.metadata.labels?.[SERVICE_NAME_LABEL] !== slice.metadata.labels?.[SERVICE_NAME_LABEL]) deleteSlice(old);
        setSlice(slice);
      },
      deleted(slice) {
        deleteSlice(slice);
        on.endpointsChanged();
      },
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
