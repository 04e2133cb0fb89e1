/**
 * The inbox of the migration, as a Bot speaks to it: one event, taken or not.
 *
 * Here: addresses, keys, retries, and what is said when it fails. Not here: what an event is. Whatever is thrown goes
 * into an AuditEvent: it holds no word of the row.
 */
import type { ProjectSetting } from '@medplum/fhirtypes';
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

/** Of the ten seconds that a Bot has by default. */
const WAITS_AT_MOST_MS = 6_000;
const ANSWERS_WITHIN_MS = 5_000;
const FOR_NOW = new Set([429, 503]);

export type Secrets = Record<string, ProjectSetting>;

/** What the inbox says of an event that it took. */
export interface Taken {
  event: string;
  landed: Record<string, number>;
  replayed: boolean;
}

/** A project secret that the Bot cannot do without. */
export function secretOf(secrets: Secrets, name: string): string {
  const value = secrets[name]?.valueString;
  if (!value) {
    throw new Error(`The project has no secret ${name}: a project admin sets it under Project Admin, Secrets.`);
  }
  return value;
}

/**
 * Sends an event and waits until it is on account.
 *
 * The same event under the same key is taken once, however often it is sent. An inbox that asks for a pause gets it, as
 * long as the Bot may live; everything else is thrown, for a Subscription to try again or a person to see.
 */
export async function send(secrets: Secrets, path: string, content: unknown, key: string): Promise<Taken> {
  const address = new URL(secretOf(secrets, 'INBOX_URL').replace(/\/$/, '') + path);
  const headers = {
    Authorization: `Bearer ${secretOf(secrets, 'INBOX_TOKEN')}`,
    'Content-Type': 'application/json',
    'Idempotency-Key': key,
  };
  const body = canonical(content); // the inbox compares bytes under a key: the same event, the same body
  let waited = 0;
  for (;;) {
    const answer = await asked(address, { method: 'POST', headers, body }, 'The inbox');
    if (answer.status === 202) {
      return (await answer.json()) as Taken;
    }
    const wait = FOR_NOW.has(answer.status) ? pauseOf(answer) : undefined;
    if (wait === undefined || waited + wait > WAITS_AT_MOST_MS) {
      throw new Error(`The inbox answered ${answer.status} to an event for ${address.pathname}.`);
    }
    waited += wait;
    await pause(wait);
  }
}

/** One request; a redirect is an error, so that a token never goes elsewhere. */
export async function asked(address: URL, request: RequestInit, who: string): Promise<Response> {
  // In a VM context there is no AbortSignal; a Lambda ends the Bot by itself.
  const limit = typeof AbortSignal === 'undefined' ? {} : { signal: AbortSignal.timeout(ANSWERS_WITHIN_MS) };
  try {
    return await fetch(address, { ...request, ...limit, redirect: 'error' });
  } catch (error) {
    const kind = error instanceof Error ? error.name : 'no answer';
    throw new Error(`${who} could not be asked for ${address.pathname} (${kind}).`);
  }
}

/** A key that is the same for the same content, whatever the order of its fields. */
export function keyOf(path: string, content: unknown): string {
  return createHash('sha256').update(`${path}\n${canonical(content)}`).digest('hex');
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (value !== null && typeof value === 'object') {
    const parts = Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`);
    return `{${parts.join(',')}}`;
  }
  return JSON.stringify(value ?? null);
}

/** Milliseconds until it may be sent again, as the answer says: seconds, or a date. */
function pauseOf(answer: Response): number {
  const said = answer.headers.get('Retry-After') ?? '';
  const seconds = /^\d+$/.test(said) ? Number(said) * 1000 : Date.parse(said) - Date.now();
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 1_000;
}
