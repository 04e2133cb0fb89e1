/** What the tests put in place of the network: answers in turn, and what was asked. Not part of any Bot. */
import type { BotEvent } from '@medplum/core';
import { vi } from 'vitest';

export interface Asked {
  method: string;
  address: URL;
  headers: Record<string, string>;
  body: unknown;
}

export const SECRETS = Object.fromEntries(
  Object.entries({
    INBOX_URL: 'https://inbox.example/',
    INBOX_TOKEN: 'invented-token',
    LEGACY_URL: 'https://legacy.example',
    LEGACY_KEY: 'invented-key',
  }).map(([name, valueString]) => [name, { name, valueString }])
);

export function eventOf<T>(input: T, secrets = SECRETS): BotEvent<T> {
  return { bot: { reference: 'Bot/1' }, contentType: 'application/json', input, secrets };
}

/** Has `fetch` answered by `answer`; returns what was asked, as it grows. */
export function served(answer: (asked: Asked, number: number) => Response): Asked[] {
  const seen: Asked[] = [];
  vi.stubGlobal('fetch', async (address: URL, request: RequestInit) => {
    const asked = {
      method: request.method ?? 'GET',
      address: new URL(address),
      headers: request.headers as Record<string, string>,
      body: request.body ? JSON.parse(String(request.body)) : undefined,
    };
    seen.push(asked);
    return answer(asked, seen.length);
  });
  return seen;
}

export function taken(): Response {
  return Response.json({ event: 'e', landed: { new: 1 }, replayed: false }, { status: 202 });
}
