import { MockClient } from '@medplum/mock';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import './definitions';
import { eventOf, served, taken, type Asked } from './fakes';
import { handler, PULL } from './pull-stream';

const NOW = Date.parse('2026-11-21T12:00:00Z');
let sourceClock = NOW;
const row = (id: number, seconds: number) => ({ id, updated_at: new Date(NOW + seconds * 1000).toISOString() });
let medplum: MockClient;
let rows: ReturnType<typeof row>[];
let inbox: (asked: Asked) => Response;
let sent: number[][];

/** A legacy API of two rows a page, in order of change, and an inbox that remembers. */
function start(): Asked[] {
  return served((asked) => {
    if (asked.address.host === 'inbox.example') {
      const answer = inbox(asked);
      if (answer.status === 202) {
        sent.push((asked.body as typeof rows).map(({ id }) => id));
      }
      return answer;
    }
    const since = Date.parse(asked.address.searchParams.get(PULL.since) ?? '1970-01-01');
    const offset = Number(asked.address.searchParams.get('page') ?? 0);
    const changed = rows
      .filter(({ updated_at }) => !(Date.parse(updated_at) < since))
      .sort((one, other) => one.updated_at.localeCompare(other.updated_at));
    const next = new URL(asked.address);
    next.searchParams.set('page', String(offset + 2));
    const body = { rows: changed.slice(offset, offset + 2), next: changed.length > offset + 2 ? next.pathname + next.search : null };
    return Response.json(body, { headers: { Date: new Date(sourceClock).toUTCString() } });
  });
}

const run = () => handler(medplum, eventOf({}));

async function marks(): Promise<Record<string, string | undefined>> {
  const [held, ...more] = await medplum.searchResources('Basic', {}, { cache: 'reload' });
  expect(more).toEqual([]);
  return Object.fromEntries((held?.extension ?? []).map(({ url, valueInstant }) => [url.split('/').at(-1), valueInstant]));
}

beforeEach(() => {
  medplum = new MockClient();
  rows = [row(1, -9_000), row(2, -800), row(3, -700)];
  sent = [];
  sourceClock = NOW;
  inbox = taken;
  Object.assign(PULL, { pages: 20, runMs: 5_000 });
  start();
});
afterEach(() => vi.unstubAllGlobals());

test('everything is sent page by page, then only what changed, with an overlap', async () => {
  expect(await run()).toEqual({ rows: 3, pages: 2, finished: true });
  expect(sent).toEqual([[1, 2], [3]]);
  expect(await marks()).toEqual({ mark: rows[2]?.updated_at });
  rows.push(row(4, -650), row(5, -750)); // 5 was committed late
  sent = [];
  await run();
  expect(sent.flat().sort()).toEqual([2, 3, 4, 5]); // five minutes before the mark, and since
  expect(await marks()).toEqual({ mark: rows[3]?.updated_at });
});

test('the mark does not move when the inbox took less than everything', async () => {
  inbox = (asked) => ((asked.body as unknown[]).length === 1 ? new Response('', { status: 500 }) : taken());
  await expect(run()).rejects.toThrow('answered 500');
  expect(await marks()).toEqual({});
  inbox = taken;
  await run();
  expect(sent).toEqual([[1, 2], [1, 2], [3]]);
});

test('the same page sent again has the same key', async () => {
  const asked = start();
  await run();
  await medplum.deleteResource('Basic', (await medplum.searchOne('Basic', {}))?.id as string);
  await run();
  const keys = asked.filter(({ method }) => method === 'POST').map(({ headers }) => headers['Idempotency-Key']);
  expect(keys.slice(0, 2)).toEqual(keys.slice(2));
});

test('a long pass is bounded, goes on where it was, and moves the mark at its end only', async () => {
  rows = Array.from({ length: 9 }, (_, number) => row(number, number - 900));
  PULL.pages = 2;
  expect(await run()).toEqual({ rows: 4, pages: 2, finished: false });
  expect(await marks()).toMatchObject({ position: rows[3]?.updated_at });
  expect(await run()).toMatchObject({ finished: false });
  expect(await marks()).toMatchObject({ position: rows[6]?.updated_at });
  expect(await run()).toMatchObject({ finished: true });
  expect(await marks()).toEqual({ mark: rows[8]?.updated_at });
  expect([...new Set(sent.flat())]).toHaveLength(9);
});

test('a row that was committed late while a pass took several runs is for the next pass', async () => {
  rows = Array.from({ length: 9 }, (_, number) => row(number, number - 20));
  PULL.pages = 2;
  await run();
  sourceClock = NOW + 600_000;
  rows.push(row(20, 590), row(21, -19));
  PULL.pages = 20;
  expect(await run()).toMatchObject({ finished: true });
  expect(await marks()).toEqual({ mark: new Date(NOW - 1_000).toISOString() });
  expect(sent.flat()).not.toContain(21);
  await run();
  expect(sent.flat()).toContain(21);
});

test('an answer that does not say whether there is more ends nothing', async () => {
  served(() => Response.json({ rows: [] }));
  await expect(run()).rejects.toThrow('whether there is more');
  expect(await marks()).toEqual({});
});

test('a run without time left stops after a page', async () => {
  PULL.runMs = -1;
  expect(await run()).toMatchObject({ pages: 1, finished: false });
});

test('more rows of one moment than a run can send are said, not read for ever', async () => {
  rows = Array.from({ length: 9 }, (_, number) => row(number, -900));
  PULL.pages = 2;
  await run();
  await expect(run()).rejects.toThrow('in one moment');
});

test('a row of the future does not carry the mark along', async () => {
  rows.push(row(9, 3_600));
  await run();
  expect(await marks()).toEqual({ mark: new Date(NOW - 1_000).toISOString() });
});

test('a next page on another server is not followed, for the key would go along', async () => {
  served(() => Response.json({ rows: [], next: 'https://elsewhere.example/api/patients' }));
  await expect(run()).rejects.toThrow('another server');
});

test('a row without a change time stops the run before the mark moves, and is not quoted', async () => {
  rows.push({ id: 7, updated_at: 'Kanarienvogel' });
  const failure = await run().catch((error: Error) => error);
  expect(String(failure)).toContain('no readable updated_at');
  expect(String(failure)).not.toContain('Kanarienvogel');
  expect(await marks()).toEqual({});
});

test.each([
  [new Response('no', { status: 401 }), 'answered 401'],
  [Response.json({ error: 'x' }), 'without rows'],
])('a legacy API that does not answer with rows is an error', async (answer, told) => {
  served(() => answer);
  await expect(run()).rejects.toThrow(told);
});
