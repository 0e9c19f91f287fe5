import type { Event } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, invalid, required } from '../apiserver/field-error.ts';
import { labelKeyProblems } from '../apiserver/labels.ts';
import { age, column, nameColumn, wideColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { invalidFor } from './values.ts';

const LONGEST_REASON = 128;
const LONGEST_ACTION = 128;
const LONGEST_INSTANCE = 128;
const LONGEST_NOTE_BYTES = 1024;

/** core/v1 events. They live an hour; the controller that drops the old ones is control-plane/controllers'. */
export const events: ResourceDefinition<Event> = defineResource<Event>({
  kind: 'Event',
  plural: 'events',
  shortNames: ['ev'],
  columns: [
    column('Last Seen', 'string', 'The time at which the most recent occurrence was recorded.', lastSeen),
    column('Type', 'string', 'Type of this event (Normal, Warning).', (event) => event.type ?? ''),
    column('Reason', 'string', 'Why this happened, in a word.', (event) => event.reason ?? ''),
    column('Object', 'string', 'What this event is about.', describeObject),
    wideColumn('Subobject', 'string', 'The part of it.', (event) => event.involvedObject?.fieldPath ?? ''),
    wideColumn('Source', 'string', 'Who reports.', describeSource),
    column('Message', 'string', 'What happened.', (event) => (event.message ?? '').trim()),
    wideColumn('First Seen', 'string', 'The time at which the event was first recorded.', firstSeen),
    wideColumn('Count', 'string', 'How often it has occurred.', (event) =>
      String(event.series?.count || event.count || 1),
    ),
    { ...nameColumn, priority: 1 },
  ],
  validate: validateEvent,
  selectableFields: {
    'involvedObject.kind': (event) => event.involvedObject?.kind ?? '',
    'involvedObject.namespace': (event) => event.involvedObject?.namespace ?? '',
    'involvedObject.name': (event) => event.involvedObject?.name ?? '',
    'involvedObject.uid': (event) => event.involvedObject?.uid ?? '',
    'involvedObject.apiVersion': (event) => event.involvedObject?.apiVersion ?? '',
    'involvedObject.resourceVersion': (event) => event.involvedObject?.resourceVersion ?? '',
    'involvedObject.fieldPath': (event) => event.involvedObject?.fieldPath ?? '',
    reason: (event) => event.reason ?? '',
    reportingComponent: (event) => event.reportingComponent ?? '',
    source: (event) => event.source?.component || event.reportingComponent || '',
    type: (event) => event.type ?? '',
  },
  allowCreateOnUpdate: true,
});

function firstSeen(event: Event, nowMs: number): string {
  return age(event.firstTimestamp || event.eventTime, nowMs);
}

function lastSeen(event: Event, nowMs: number): string {
  return age(event.series?.lastObservedTime || event.lastTimestamp || event.firstTimestamp || event.eventTime, nowMs);
}

function describeObject({ involvedObject }: Event): string {
  const kind = (involvedObject?.kind ?? '').toLowerCase();
  return involvedObject?.name ? `${kind}/${involvedObject.name}` : kind;
}

function describeSource({ source, reportingComponent, reportingInstance }: Event): string {
  const component = source?.component || reportingComponent || '';
  const host = source?.host || reportingInstance || '';
  return host ? `${component}, ${host}` : component;
}

function validateEvent(event: Event): FieldError[] {
  const errors = validateEventNamespace(event);
  // Events of the old style carry no eventTime and were never checked further.
  if (!event.eventTime) return errors;
  const { reportingComponent = '', reportingInstance = '', action = '', reason = '', message = '' } = event;
  if (!reportingComponent) errors.push(required('reportingController'));
  errors.push(
    ...(reportingComponent
      ? invalidFor('reportingController', reportingComponent, labelKeyProblems(reportingComponent))
      : []),
    ...textErrors('reportingInstance', reportingInstance, LONGEST_INSTANCE),
    ...textErrors('action', action, LONGEST_ACTION),
    ...textErrors('reason', reason, LONGEST_REASON),
  );
  if (Buffer.byteLength(message) > LONGEST_NOTE_BYTES)
    errors.push(invalid('message', '', `can have at most ${LONGEST_NOTE_BYTES} characters`));
  return errors;
}

function textErrors(field: string, text: string, longest: number): FieldError[] {
  if (!text) return [required(field)];
  return text.length > longest ? [invalid(field, '', `can have at most ${longest} characters`)] : [];
}

/** An event lives beside what it is about; those of cluster-scoped objects live in `default`. */
function validateEventNamespace(event: Event): FieldError[] {
  const about = event.involvedObject?.namespace ?? '';
  const own = event.metadata.namespace ?? '';
  if (about === '') return own === 'default' || own === 'kube-system' || own === '' ? [] : [misplaced(about)];
  return about === own ? [] : [misplaced(about)];
}

const misplaced = (namespace: string) =>
  invalid('involvedObject.namespace', namespace, 'does not match event.namespace');
