/**
 * send-to-inbox: whoever can execute a Bot sends an event of the legacy system, and it is on account.
 *
 * The input is { stream, row } with a row as the legacy API would serve it ("rows" for several, "deleted": true for
 * one that is gone, "event" for an id of its own), or a FHIR resource of the service's own making. Project secrets:
 * INBOX_URL, INBOX_TOKEN.
 */
import { isResource, type BotEvent, type MedplumClient } from '@medplum/core';
import type { Resource } from '@medplum/fhirtypes';
import { keyOf, send, type Taken } from './inbox';

/** An event in the legacy system's own words. */
export interface LegacyEvent {
  stream: string;
  row?: Record<string, unknown>;
  rows?: Record<string, unknown>[];
  deleted?: boolean;
  event?: string;
}

const STREAM = /^[A-Za-z][\w-]*$/;

export async function handler(_medplum: MedplumClient, event: BotEvent<LegacyEvent | Resource>): Promise<Taken> {
  const { input, secrets } = event;
  if (isResource(input)) {
    const path = `/fhir/${input.resourceType}`;
    return send(secrets, path, input, keyOf(path, input));
  }
  const { stream, row, rows, deleted, event: id } = input ?? {};
  const content = rows ?? row;
  if (typeof stream !== 'string' || !STREAM.test(stream) || content === undefined || (row && rows)) {
    throw new Error('The input must be a FHIR resource, or { stream, row } or { stream, rows } of the legacy system.');
  }
  const path = `/events/${stream}${deleted ? '?deleted=true' : ''}`;
  return send(secrets, path, content, id ?? keyOf(path, content));
}
