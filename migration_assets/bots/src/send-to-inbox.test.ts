import { MockClient } from '@medplum/mock';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventOf, SECRETS, served, taken } from './fakes';
import { keyOf } from './inbox';
import { handler } from './send-to-inbox';

const ROW = { patient_id: 'P1', family: 'Kanarienvogel' };
const medplum = new MockClient();

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('a legacy event arrives with token, key and address, as it is', async () => {
  const asked = served(taken);
  const said = await handler(medplum, eventOf({ stream: 'patients', row: ROW, event: 'E-1' }));
  expect(said.replayed).toBe(false);
  expect(asked).toHaveLength(1);
  expect(asked[0]).toMatchObject({ method: 'POST', body: ROW });
  expect(asked[0]?.address.href).toBe('https://inbox.example/events/patients');
  expect(asked[0]?.headers).toMatchObject({ Authorization: 'Bearer invented-token', 'Idempotency-Key': 'E-1' });
});

test('a resource goes to the door for FHIR, and a deletion says that it is one', async () => {
  const asked = served(taken);
  await handler(medplum, eventOf({ resourceType: 'Patient', name: [{ family: 'X' }] }));
  await handler(medplum, eventOf({ stream: 'patients', row: ROW, deleted: true }));
  await handler(medplum, eventOf({ stream: 'patients', rows: [ROW, ROW] }));
  expect(asked.map(({ address }) => address.pathname + address.search)).toEqual([
    '/fhir/Patient',
    '/events/patients?deleted=true',
    '/events/patients',
  ]);
  expect(asked[2]?.body).toEqual([ROW, ROW]);
});

test('the same event sent again has the same key, and another one another', async () => {
  const asked = served(taken);
  await handler(medplum, eventOf({ stream: 'patients', row: { a: 1, b: 2 } }));
  await handler(medplum, eventOf({ stream: 'patients', row: { b: 2, a: 1 } }));
  await handler(medplum, eventOf({ stream: 'patients', row: { a: 1, b: 3 } }));
  await handler(medplum, eventOf({ stream: 'patients', row: { a: 1, b: 2 }, deleted: true }));
  const keys = asked.map(({ headers }) => headers['Idempotency-Key']);
  expect(keys[0]).toBe(keys[1]);
  expect(new Set(keys).size).toBe(3);
  expect(keyOf('/x', [{ a: undefined, b: [1, { c: null }] }])).toBe(keyOf('/x', [{ b: [1, { c: null }] }]));
});

test('an inbox that asks for a pause gets it, and the event is sent again under its key', async () => {
  const asked = served((_, number) =>
    number < 3 ? new Response('', { status: number === 1 ? 429 : 503, headers: { 'Retry-After': '0' } }) : taken()
  );
  await handler(medplum, eventOf({ stream: 'patients', row: ROW }));
  expect(asked).toHaveLength(3);
  expect(new Set(asked.map(({ headers }) => headers['Idempotency-Key'])).size).toBe(1);
});

test('a pause longer than the Bot lives is thrown at once, so that a Subscription tries again', async () => {
  const asked = served(() => new Response('', { status: 503, headers: { 'Retry-After': '60' } }));
  await expect(handler(medplum, eventOf({ stream: 'patients', row: ROW }))).rejects.toThrow('answered 503');
  const later = new Date(Date.now() + 60_000).toUTCString();
  served(() => new Response('', { status: 503, headers: { 'Retry-After': later } }));
  await expect(handler(medplum, eventOf({ stream: 'patients', row: ROW }))).rejects.toThrow('answered 503');
  expect(asked).toHaveLength(1);
});

test.each([400, 401, 403, 404, 413, 415, 422, 500])('%i is thrown, and says nothing of the row', async (status) => {
  served(() => new Response('Kanarienvogel was refused', { status }));
  const failure = await handler(medplum, eventOf({ stream: 'patients', row: ROW })).catch((error: Error) => error);
  expect(String(failure)).toContain(`answered ${status}`);
  expect(String(failure)).not.toMatch(/Kanarienvogel|P1|invented-token/);
});

test('an inbox that is not there is thrown, and nothing of the row or the token with it', async () => {
  vi.stubGlobal('fetch', async () => {
    throw new TypeError('fetch failed for Kanarienvogel');
  });
  const failure = await handler(medplum, eventOf({ stream: 'patients', row: ROW })).catch((error: Error) => error);
  expect(String(failure)).toContain('could not be asked for /events/patients (TypeError)');
  expect(String(failure)).not.toMatch(/Kanarienvogel|invented-token/);
});

test('what is no event is refused before anything is sent', async () => {
  const asked = served(taken);
  const wrong = [undefined, {}, { stream: 'patients' }, { stream: '../fhir', row: ROW }, { stream: 'a', row: ROW, rows: [] }];
  for (const each of wrong) {
    await expect(handler(medplum, eventOf(each as never))).rejects.toThrow('The input must be');
  }
  const { INBOX_TOKEN: _, ...less } = SECRETS;
  await expect(handler(medplum, eventOf({ stream: 'a', row: ROW }, less))).rejects.toThrow('no secret INBOX_TOKEN');
  expect(asked).toHaveLength(0);
});
