/**
 * pull-stream: a Bot on a timer pulls what changed in one stream of the legacy API, and sends it to the inbox.
 *
 * A page is sent before anything is noted of it: a Bot that is ended in between sends it again, which changes nothing.
 * How far it got stands in a Basic resource: `mark`, up to which everything was sent, and `position`, where a pass that
 * was too long for one run goes on. Every new pass begins a while before the mark, for rows that were committed late.
 * Project secrets: LEGACY_URL, LEGACY_KEY, INBOX_URL, INBOX_TOKEN.
 */
import type { BotEvent, MedplumClient } from '@medplum/core';
import type { Basic } from '@medplum/fhirtypes';
import { asked, keyOf, secretOf, send, type Secrets } from './inbox';

/** How the stream is asked: what would be in its description if `migration` pulled it. */
export const PULL = {
  stream: 'patients',
  path: '/api/patients',
  changedAt: 'updated_at',
  since: 'updated_since',
  parameters: { limit: '100', order: 'asc', include_deleted: 'true' },
  lookbackMs: 300_000,
  /** Of the ten seconds that a Bot has; the last page and its event must fit into what is left. */
  runMs: 5_000,
  pages: 20,
};
const MARKS = 'https://migration-assets.example/bot-marks';
/** The mark stays this far behind the source's clock: its Date header has whole seconds. */
const SETTLE_MS = 1_000;

interface Page {
  rows: Record<string, unknown>[];
  next: string | null;
  serverTime: number;
}

interface Reached {
  mark?: number;
  position?: number;
  /** The source's clock when the pass began: rows committed behind it since then are for the next. */
  began?: number;
}

/** What a run did: counts, and whether the pass came to its end. */
export interface Pulled {
  rows: number;
  pages: number;
  finished: boolean;
}

export async function handler(medplum: MedplumClient, { secrets }: BotEvent): Promise<Pulled> {
  const until = Date.now() + PULL.runMs;
  const held = await heldMark(medplum);
  const before = reachedOf(held);
  const begin = before.position ?? (before.mark === undefined ? undefined : before.mark - PULL.lookbackMs);
  const path = `/events/${PULL.stream}`;
  let address = firstPage(secrets, begin);
  let [rows, pages] = [0, 0];
  let newest: number | undefined;
  for (;;) {
    const page = await pageAt(secrets, address);
    const began = (before.began ??= page.serverTime - SETTLE_MS);
    if (page.rows.length > 0) {
      await send(secrets, path, page.rows, keyOf(path, page.rows));
      newest = Math.max(newest ?? 0, ...page.rows.map(changedAt));
    }
    rows += page.rows.length;
    pages += 1;
    if (page.next === null) {
      const settled = Math.min(newest ?? 0, began);
      await note(medplum, held, { mark: Math.max(before.mark ?? 0, settled) });
      return { rows, pages, finished: true };
    }
    address = following(secrets, page.next);
    if (pages >= PULL.pages || Date.now() > until) {
      if (newest === undefined || newest === begin) {
        throw new Error(`${PULL.stream}: more rows changed in one moment than a run can send. Raise the page size.`);
      }
      await note(medplum, held, { ...before, position: Math.min(newest, page.serverTime - SETTLE_MS) });
      return { rows, pages, finished: false };
    }
  }
}

function firstPage(secrets: Secrets, begin: number | undefined): URL {
  const address = new URL(secretOf(secrets, 'LEGACY_URL').replace(/\/$/, '') + PULL.path);
  const since = begin === undefined ? {} : { [PULL.since]: new Date(begin).toISOString() };
  address.search = new URLSearchParams({ ...PULL.parameters, ...since }).toString();
  return address;
}

/** The page a page names, on the same server: the key goes nowhere else. */
function following(secrets: Secrets, next: string): URL {
  const home = new URL(secretOf(secrets, 'LEGACY_URL'));
  const address = new URL(next, home);
  if (address.origin !== home.origin) {
    throw new Error(`${PULL.stream}: the next page is said to be on another server.`);
  }
  return address;
}

async function pageAt(secrets: Secrets, address: URL): Promise<Page> {
  const headers = { 'X-API-Key': secretOf(secrets, 'LEGACY_KEY'), Accept: 'application/json' };
  const answer = await asked(address, { headers }, 'The legacy API');
  if (answer.status !== 200) {
    throw new Error(`The legacy API answered ${answer.status} for ${address.pathname}.`);
  }
  const { rows, next } = (await answer.json()) as Partial<Page>;
  if (!Array.isArray(rows)) {
    throw new Error(`The legacy API answered without rows for ${address.pathname}.`);
  }
  if (next === undefined) {
    throw new Error(`The legacy API does not say whether there is more for ${address.pathname}.`);
  }
  const serverTime = Date.parse(answer.headers.get('Date') ?? '');
  return { rows, next, serverTime: Number.isNaN(serverTime) ? Date.now() : serverTime };
}

function changedAt(row: Record<string, unknown>): number {
  const time = Date.parse(String(row[PULL.changedAt]));
  if (Number.isNaN(time)) {
    throw new Error(`${PULL.stream}: a row has no readable ${PULL.changedAt}.`);
  }
  return time;
}

async function heldMark(medplum: MedplumClient): Promise<Basic | undefined> {
  const found = await medplum.searchResources('Basic', { identifier: `${MARKS}|${PULL.stream}` }, { cache: 'reload' });
  if (found.length > 1) {
    throw new Error(`${PULL.stream}: there are ${found.length} marks; delete all but the oldest.`);
  }
  return found[0];
}

function reachedOf(held: Basic | undefined): Reached {
  const found: Reached = {};
  for (const { url, valueInstant } of held?.extension ?? []) {
    const time = Date.parse(valueInstant ?? '');
    if (!Number.isNaN(time) && url === `${MARKS}/mark`) {
      found.mark = time;
    } else if (!Number.isNaN(time) && url === `${MARKS}/position`) {
      found.position = time;
    } else if (!Number.isNaN(time) && url === `${MARKS}/began`) {
      found.began = time;
    }
  }
  return found;
}

/** Two runs at a time may both note something: the lower mark costs a second reading, no row. */
async function note(medplum: MedplumClient, held: Basic | undefined, reached: Reached): Promise<void> {
  const extension = Object.entries(reached)
    .filter(([, time]) => time > 0)
    .map(([name, time]) => ({ url: `${MARKS}/${name}`, valueInstant: new Date(time).toISOString() }));
  const mark: Basic = {
    resourceType: 'Basic',
    identifier: [{ system: MARKS, value: PULL.stream }],
    code: { coding: [{ system: MARKS, code: 'pull-mark' }] },
    extension,
  };
  if (held?.id) {
    await medplum.updateResource({ ...mark, id: held.id });
  } else {
    await medplum.createResourceIfNoneExist(mark, `identifier=${MARKS}|${PULL.stream}`);
  }
}
