/**
 * `node cli/maintenance/pod-fields-page.ts` writes the tables of docs/pods.md anew: every field of a pod's spec and what
 * becomes of it. A unit test fails when the page is not what this makes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FieldSupport } from '../../agent/pods/field-support/entry.ts';
import { supportOf } from '../../agent/pods/field-support/field-support.ts';
import { type StructSchema, structSchema, type TypeSchema } from '../../src/kube/schema/tables.ts';

const BEGIN = '<!-- fields: begin (made by cli/maintenance/pod-fields-page.ts) -->';
const END = '<!-- fields: end -->';

export const PAGE_PATH = join(import.meta.dirname, '../../docs/pods.md');

/** The types of a pod's spec in the order in which one meets them. */
export function podSpecTypes(): StructSchema[] {
  const found = new Map<string, StructSchema>();
  const visit = (type: TypeSchema) => {
    if (type.kind === 'list') visit(type.element);
    else if (type.kind === 'map') visit(type.value);
    else if (type.kind === 'struct' && !found.has(type.name)) {
      found.set(type.name, type);
      for (const field of type.fields.values()) visit(field.type);
    }
  };
  visit(structSchema('core/v1', 'PodSpec'));
  return [...found.values()];
}

/** One Markdown table a type; a type that nobody looks into has one row. */
export function renderFieldTables(): string {
  const opened = new Set(['PodSpec']);
  const tables: string[] = [];
  for (const type of podSpecTypes()) {
    if (!opened.has(type.name)) continue;
    const rows = [...type.fields.values()].map((field) => {
      const support = supportOf(type.name, field.name);
      if (!support) throw new Error(`agent/pods/field-support says nothing of ${type.name}.${field.name}`);
      const inner = structOf(field.type);
      if (inner && (support.kind === 'supported' || valuesOf(support))) opened.add(inner.name);
      return `| \`${field.name}\` | ${describe(support)} |`;
    });
    tables.push(`### ${type.name}\n\n| field | |\n| --- | --- |\n${rows.join('\n')}\n`);
  }
  return tables.join('\n');
}

/** The page with its tables made anew. */
export function renderPage(page: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`docs/pods.md: the lines "${BEGIN}" and "${END}" are gone`);
  return `${page.slice(0, from)}${BEGIN}\n\n${renderFieldTables()}\n${page.slice(to)}`;
}

function structOf(type: TypeSchema): StructSchema | undefined {
  if (type.kind === 'struct') return type;
  if (type.kind === 'list') return structOf(type.element);
  return type.kind === 'map' ? structOf(type.value) : undefined;
}

const valuesOf = (support: FieldSupport) => ('values' in support ? support.values : undefined);

function describe(support: FieldSupport): string {
  switch (support.kind) {
    case 'supported':
      return `supported${support.note ? `: ${support.note}` : ''}`;
    case 'elsewhere':
      return `not the node’s business: ${support.owner}`;
    case 'refused':
    case 'no effect': {
      const verdict = support.kind === 'refused' ? '**refused**' : '**without effect**, an event says so';
      return support.values ? `supported; ${support.values} ${verdict}: ${support.why}` : `${verdict}: ${support.why}`;
    }
  }
}

if (process.argv[1] === import.meta.filename) writeFileSync(PAGE_PATH, renderPage(readFileSync(PAGE_PATH, 'utf8')));
