/**
 * What every transformer Bot needs: identifiers, references and refusals that mean to the migration what they mean here.
 *
 * They agree with migration_assets/fhir in every character: a record is found again by its identifier, whoever made it.
 */
import type { Identifier, OperationOutcome, Reference, Resource } from '@medplum/fhirtypes';

export const SOURCE = 'http://your-source-system.com';
/** The guide's one exception: `conditionId` is the system of its local condition codes. */
const NAMES: Record<string, string> = { Condition: 'patientConditionId' };

/** Control characters and lone surrogates. */
const UNREADABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]|\p{Surrogate}/u;

/** A row that must not be guessed at: `reason` in kebab-case, `field` of the row, never a value. */
export class Quarantined extends Error {
  constructor(
    readonly reason: string,
    readonly field: string
  ) {
    super(`${reason} at ${field}`);
  }
}

/** How a transformer says why a row waits for somebody. */
export function refusal({ reason, field }: Quarantined): OperationOutcome {
  return told('error', reason, [field]);
}

/** How a transformer leaves a row out on purpose. */
export function skip(reason: string): OperationOutcome {
  return told('information', reason);
}

export function identifierSystem(resourceType: string): string {
  const own = `${resourceType.charAt(0).toLowerCase()}${resourceType.slice(1)}Id`;
  return `${SOURCE}/${NAMES[resourceType] ?? own}`;
}

export function identifier(resourceType: string, value: string, field: string): Identifier {
  return { system: identifierSystem(resourceType), value: checkedKey(value, field) };
}

/** A reference by the source's key; the migration makes it literal, or waits for its target. */
export function reference<T extends Resource>(
  resourceType: T['resourceType'],
  key: string,
  field: string
): Reference<T> {
  const escaped = checkedKey(key, field).replace(/[\\,]/g, '\\$&');
  const encoded = [...new TextEncoder().encode(`${identifierSystem(resourceType)}|${escaped}`)]
    .map((byte) => String.fromCharCode(byte))
    .map((each) => (/[A-Za-z0-9_.~:/|-]/.test(each) ? each : `%${hex(each)}`))
    .join('');
  return { reference: `${resourceType}?identifier=${encoded}` };
}

/** The parts that are there: an absent one, '' and [] are never written. */
export function present<T extends object>(parts: T): { [K in keyof T]: Exclude<T[K], undefined | null> } {
  const there = Object.entries(parts).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return Object.fromEntries(there.filter(([, value]) => !Array.isArray(value) || value.length > 0)) as never;
}

function checkedKey(value: string, field: string): string {
  if (value.trim() === '') {
    throw new Quarantined('identifier-blank', field);
  }
  if (value.trim() !== value) {
    throw new Quarantined('identifier-padded', field);
  }
  if (UNREADABLE.test(value)) {
    throw new Quarantined('identifier-unreadable', field);
  }
  return value;
}

function hex(byte: string): string {
  return byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
}

function told(severity: 'error' | 'information', code: string, expression?: string[]): OperationOutcome {
  const issue = { severity, code: 'processing' as const, details: { coding: [{ code }] } };
  return { resourceType: 'OperationOutcome', issue: [expression ? { ...issue, expression } : issue] };
}
