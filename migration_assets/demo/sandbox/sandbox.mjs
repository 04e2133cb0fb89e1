/**
 * The sandbox put together: who answers which path, and what is shared by all of them.
 *
 * Starting and stopping the process is server.mjs'.
 */
import { allOk, normalizeOperationOutcome, unauthorized } from '@medplum/core';
import { Auth } from './auth.mjs';
import { Binaries } from './binary.mjs';
import { serveControl } from './control.mjs';
import { Faults } from './faults.mjs';
import { FhirEndpoint } from './fhir.mjs';
import { Journal, NO_JOURNAL } from './journal.mjs';
import { Account, FixedWindow } from './quota.mjs';
import { Store } from './store.mjs';
import { parseForm, readBody, sendFhir, sendJson, sendNoSuchPage, sendText } from './wire.mjs';

const REQUESTS_PER_MINUTE = 60_000;
const LOGINS_PER_MINUTE = 160;
const NO_STATISTICS = { requests: 0, logins: 0, unchanged: 0, points: 0, executions: 0 };
/** What a project or a server lets Bots do; so many at once, as an account's Lambdas. */
const BOTS = { bots: true, bot_concurrency: 100 };

export class Sandbox {
  #skippedMs = 0;
  #now = () => Date.now() + this.#skippedMs;
  #requests = new FixedWindow(REQUESTS_PER_MINUTE, this.#now);
  #logins = new FixedWindow(LOGINS_PER_MINUTE, this.#now);

  constructor(options, baseUrl) {
    const { client_id: clientId, client_secret: clientSecret, state_folder: folder } = options;
    const { quota_per_minute, token_lifetime_seconds, transactions, strict } = options;
    this.baseUrl = baseUrl;
    this.settings = { quota_per_minute, token_lifetime_seconds, transactions, strict, write_ms: 0, search_ms: 0, ...BOTS };
    this.statistics = { ...NO_STATISTICS };
    this.store = new Store(folder ? new Journal(folder) : NO_JOURNAL);
    this.binaries = new Binaries(folder);
    this.points = new FixedWindow(quota_per_minute, this.#now);
    this.auth = new Auth({ clientId, clientSecret, tokenLifetimeSeconds: token_lifetime_seconds, baseUrl });
    this.faults = new Faults();
    this.fhir = new FhirEndpoint(this);
  }

  /** Answers one HTTP request. */
  async serve(request, response) {
    try {
      const { pathname, search } = new URL(request.url, this.baseUrl);
      const [, room, rest] = /^\/([^/]*)(.*)$/.exec(pathname);
      if (room === '__sandbox') {
        await serveControl(this, request, response, rest.slice(1));
        return;
      }
      this.statistics.requests += 1;
      this.#chargeRequest(response, room);
      if (room === 'fhir' && /^\/R4(\/|$)/.test(rest)) {
        await this.fhir.serve(request, response, rest.slice('/R4'.length) + search);
      } else if (room === 'storage') {
        this.#serveStorage(request, response);
      } else {
        await this.#serveRest(request, response, pathname);
      }
    } catch (error) {
      sendFhir(request, response, [normalizeOperationOutcome(error)], this.fhir);
    }
  }

  /** Numbers for the demo and the tests. `versions` and `deletes` count what was committed since the start. */
  stats() {
    const { requests, logins, unchanged, points, executions } = this.statistics;
    const { versions, deletes } = this.store.committed;
    const resources = this.store.counts();
    const { given: faults } = this.faults;
    const done = { requests, logins, versions, unchanged, deletes, points, executions, faults };
    return { resources, ...done, settings: this.settings };
  }

  change(settings) {
    Object.assign(this.settings, settings);
    this.points.limit = this.settings.quota_per_minute;
    this.auth.tokenLifetimeSeconds = this.settings.token_lifetime_seconds;
    return this.settings;
  }

  /** Moves the quota windows on, as if so much time had passed: who waits for points need not wait in earnest. */
  advance(milliseconds) {
    this.#skippedMs += milliseconds;
  }

  /** Begins new windows, as if a minute had passed. */
  refill() {
    [this.points, this.#requests, this.#logins].forEach((window) => window.clear());
  }

  /** Forgets all data, counts and windows; tokens, settings and the plan of faults stay. */
  reset() {
    this.store.clear();
    this.store.committed = { versions: 0, deletes: 0 };
    this.binaries.clear();
    this.fhir.bots.close();
    Object.assign(this.statistics, NO_STATISTICS);
    this.faults.given = {};
    this.refill();
  }

  close() {
    this.fhir.bots.close();
    this.store.close();
  }

  #chargeRequest(response, room) {
    const window = room === 'oauth2' || room === 'auth' ? this.#logins : this.#requests;
    const account = new Account(window, 'requests');
    try {
      account.charge(1);
    } finally {
      response.setHeader('RateLimit', account.header.join(', '));
    }
  }

  async #serveRest(request, response, pathname) {
    const { authorization } = request.headers;
    const call = `${request.method} ${pathname}`;
    if (call === 'GET /healthcheck') {
      sendJson(response, 200, { ok: true, version: '5.0.10-sandbox' });
    } else if (call === 'POST /oauth2/token') {
      await this.#serveToken(request, response);
    } else if (call === 'POST /oauth2/introspect') {
      const { token } = parseForm(await readBody(request));
      sendJson(response, 200, this.auth.introspect(token));
    } else if (call === 'POST /oauth2/logout' || call === 'GET /auth/me') {
      this.#serveOwnLogin(request, response, call, authorization);
    } else {
      sendNoSuchPage(response, request.method, pathname);
    }
  }

  async #serveToken(request, response) {
    const isForm = (request.headers['content-type'] ?? '').includes('application/x-www-form-urlencoded');
    const bytes = await readBody(request);
    const [status, body] = this.auth.token(isForm ? parseForm(bytes) : undefined, request.headers.authorization);
    this.statistics.logins += status === 200 ? 1 : 0;
    const sendBody = typeof body === 'string' ? sendText : sendJson;
    sendBody(response, status, body);
  }

  #serveOwnLogin(request, response, call, authorization) {
    if (!this.auth.isAuthorized(authorization)) {
      sendFhir(request, response, [unauthorized], this.fhir);
    } else if (call === 'GET /auth/me') {
      sendJson(response, 200, this.auth.me(this.settings.strict));
    } else {
      this.auth.logout(authorization);
      sendFhir(request, response, [allOk], this.fhir);
    }
  }

  #serveStorage(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.baseUrl);
    const place = pathname.slice('/storage/'.length);
    const [id, versionId] = place.split('/');
    const version = this.store.versions('Binary', id)?.find((candidate) => candidate.versionId === versionId);
    if (request.method !== 'GET' || !version?.resource || !this.binaries.isValid(place, searchParams)) {
      sendText(response, 401, 'Unauthorized');
    } else {
      this.fhir.sendContent(response, version.resource);
    }
  }
}
