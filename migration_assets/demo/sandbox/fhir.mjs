/**
 * The FHIR endpoint: one request in, one answer out, everything in between by Medplum's own router.
 *
 * Requests are served one at a time, so a transaction is serializable by nature and nobody ever gets a 409 by
 * accident: lock conflicts, like time-outs and dropped connections, are faults (misbehaviour.mjs). They enter in
 * `#serveRoute`, when the body has been read and nothing has been done.
 */
import { allOk, badRequest, created, forbidden, generateId, normalizeOperationOutcome, stringify, unauthorized, validateResource } from '@medplum/core';
import { botCall, Bots } from './bots.mjs';
import { JOB_BODY_LIMIT, Jobs, PatientAccount, jobOf, wantsJob } from './jobs.mjs';
import { FaultyRouter, Misbehaviour } from './misbehaviour.mjs';
import { notInSandbox, refuse } from './outcomes.mjs';
import { Account, COST, FixedWindow } from './quota.mjs';
import { SandboxRepository } from './repository.mjs';
import { parseBody, readBody, send, sendFhir, versionHeaders } from './wire.mjs';

const CAPABILITIES = {
  resourceType: 'CapabilityStatement',
  status: 'active',
  date: '2025-01-01',
  kind: 'instance',
  software: { name: 'medplum sandbox', version: '5.0.10' },
  fhirVersion: '4.0.1',
  format: ['json'],
  // Says transaction whether or not the project has the feature, as the real server does (contract, section 0).
  rest: [{ mode: 'server', interaction: [{ code: 'transaction' }, { code: 'batch' }] }],
};

export class FhirEndpoint {
  #turn = Promise.resolve();
  /** Requests being served, whether or not their clients still wait. */
  #open = new Set();
  /** Tokens that have been accepted before: only those can expire on a client. */
  #seasoned = new Set();

  constructor({ store, binaries, auth, points, statistics, settings, faults, baseUrl }) {
    Object.assign(this, { store, binaries, auth, points, statistics, settings, faults, baseUrl });
    this.fhirUrl = `${baseUrl}fhir/R4/`;
    this.jobs = new Jobs(this.fhirUrl);
    this.bots = new Bots(this);
    this.router = new FaultyRouter();
    this.router.add('POST', ':resourceType/$validate', async ({ body }) => {
      validateResource(body);
      return [allOk];
    });
    this.router.add('POST', ':resourceType/:id/$expunge', async () => [forbidden]); // project admins only
  }

  /** Answers one request below fhir/R4; `path` is what follows, with its query. */
  async serve(request, response, path) {
    const serving = this.#serve(request, response, path);
    this.#open.add(serving);
    await serving.finally(() => this.#open.delete(serving));
  }

  /** Until every request has been served, those included whose clients have given up. */
  async idle() {
    await Promise.allSettled(this.#open);
  }

  async #serve(request, response, path) {
    try {
      if (request.method === 'GET' && path === '/metadata') {
        sendFhir(request, response, [allOk, CAPABILITIES], this);
        return;
      }
      if (!this.auth.isAuthorized(request.headers.authorization)) {
        refuse(unauthorized);
      }
      if (request.headers.prefer === 'respond-async' && !wantsJob(request, path)) {
        refuse(notInSandbox('asynchronous requests other than batches'));
      }
      if (jobOf(path)) {
        this.#serveJob(request, response, jobOf(path));
        return;
      }
      if (botCall(path)) {
        await this.#serveBot(request, response, path);
        return;
      }
      const [, id, rest] = /^\/Binary(?:\/([^/?]+))?(?:\?|$)(.*)/.exec(path) ?? [undefined, undefined, undefined];
      const isRaw = rest !== undefined && (id ? ['GET', 'PUT'] : ['POST']).includes(request.method);
      await (isRaw ? this.#serveBinary(request, response, id) : this.#serveRoute(request, response, path));
    } catch (error) {
      sendFhir(request, response, [normalizeOperationOutcome(error)], this);
    }
  }

  async #serveRoute(request, response, path) {
    const isJob = wantsJob(request, path);
    const body = parseBody(request, await readBody(request, isJob ? JOB_BODY_LIMIT : undefined));
    const account = new Account(this.points, 'fhirInteractions');
    const misbehaviour = this.#misbehaviour(request, response, path, body);
    const routed = {
      method: request.method,
      url: path || '/',
      pathname: '',
      params: {},
      query: {},
      body,
      headers: request.headers,
      config: { transactions: this.settings.transactions },
    };
    let answer;
    try {
      if (await misbehaviour.begin({ account, auth: this.auth })) {
        return;
      }
      const repository = this.#repository(account, misbehaviour);
      answer = isJob
        ? this.#beginJob(response, routed, misbehaviour)
        : await this.#inTurn(() => this.router.handleRequest(routed, repository));
    } finally {
      this.#account(response, account);
    }
    const transform = (json) => this.binaries.signAttachments(json, this.baseUrl, this.store);
    sendFhir(request, response, answer, { fhirUrl: this.fhirUrl, transform });
  }

  #account(response, account) {
    this.statistics.points += account.spent;
    if (account.header.length > 0) {
      response.setHeader('RateLimit', [response.getHeader('RateLimit'), ...account.header].join(', '));
    }
  }

  /** A batch as a job. Transactions inside one are not atomic, as observed. */
  #beginJob(response, routed, misbehaviour) {
    const account = new PatientAccount(this.points, 'fhirInteractions');
    const repository = this.#repository(account, misbehaviour);
    const sealed = { ...routed, config: { transactions: false } };
    const work = () => this.#inTurn(() => this.router.handleRequest(sealed, repository));
    const store = (bundle) => {
      this.statistics.points += account.spent;
      const binary = { resourceType: 'Binary', id: generateId(), contentType: 'application/fhir+json' };
      return `Binary/${repository.storeBinary(binary, Buffer.from(stringify(bundle))).id}`;
    };
    const { url, outcome, done } = this.jobs.begin(routed.body, this.settings.transactions, work, store);
    this.#open.add(done);
    done.finally(() => this.#open.delete(done));
    response.setHeader('Content-Location', url);
    return [outcome];
  }

  /** Out of turn: a Bot may ask this server while it runs. */
  async #serveBot(request, response, path) {
    const bytes = await readBody(request);
    const isText = (request.headers['content-type'] ?? '').startsWith('text/plain');
    const body = isText ? bytes.toString('utf8') : parseBody(request, bytes);
    const account = new Account(this.points, 'fhirInteractions');
    const misbehaviour = this.#misbehaviour(request, response, path, body);
    let answer;
    try {
      if (await misbehaviour.begin({ account, auth: this.auth })) {
        return;
      }
      answer = await this.bots.serve(botCall(path), { request, body }, this.#repository(account, misbehaviour));
    } finally {
      this.#account(response, account);
    }
    if (Array.isArray(answer)) {
      sendFhir(request, response, answer, this);
    } else {
      send(response, answer.status, answer.body, answer.headers);
    }
  }

  #serveJob(request, response, id) {
    const account = new Account(this.points, 'fhirInteractions');
    try {
      account.charge(COST.read);
    } finally {
      this.#account(response, account);
    }
    sendFhir(request, response, this.jobs.status(id, request.method === 'DELETE'), this);
  }

  #misbehaviour(request, response, path, body) {
    const { authorization, 'x-sandbox-fault': header } = request.headers;
    const isSeasoned = this.#seasoned.has(authorization);
    if (authorization.startsWith('Bearer ')) {
      this.#seasoned.add(authorization);
    }
    let plans;
    try {
      plans = this.faults.plansFor(header);
    } catch (error) {
      refuse(badRequest(`X-Sandbox-Fault: ${error.message}`));
    }
    const stranger = this.#repository(new Account(new FixedWindow(Infinity), 'somebody else'));
    return new Misbehaviour(this.faults, plans, { request, response, path, body, isSeasoned, stranger });
  }

  /** Raw content: no quota, no size limit. A Binary in FHIR JSON with data is unpacked by the repository. */
  async #serveBinary(request, response, id) {
    const repository = this.#repository(new Account(this.points, 'fhirInteractions'));
    if (request.method === 'GET') {
      const binary = await repository.readResource('Binary', id);
      const wantsJson = (request.headers.accept ?? '').includes('application/fhir+json');
      return wantsJson ? sendFhir(request, response, [allOk, binary], this) : this.sendContent(response, binary);
    }
    const bytes = await readBody(request, Infinity);
    const type = request.headers['content-type'] ?? 'application/octet-stream';
    const isJson = type.includes('application/fhir+json');
    const { contentType, data } = isJson ? parseBody(request, bytes) : { contentType: type };
    const content = isJson ? Buffer.from(String(data ?? ''), 'base64') : bytes;
    const stored = await this.#inTurn(async () => {
      if (id) {
        await repository.readResource('Binary', id); // 404 or 410: no client-assigned ids here either
      }
      return repository.storeBinary({ resourceType: 'Binary', id: id ?? generateId(), contentType }, content);
    });
    // Only raw content is answered with a link, as observed.
    const link = isJson ? {} : { url: this.binaries.signedUrl(this.baseUrl, stored) };
    return sendFhir(request, response, [id ? allOk : created, { ...stored, ...link }], this);
  }

  /** The bytes of a Binary, as the type it was given. */
  sendContent(response, binary) {
    const { contentType = 'application/octet-stream', meta } = binary;
    const isBareText = contentType.startsWith('text/') && !contentType.includes('charset');
    const type = isBareText ? `${contentType}; charset=utf-8` : contentType;
    const content = this.binaries.get(meta.versionId) ?? Buffer.alloc(0);
    send(response, 200, content, { 'Content-Type': type, ...versionHeaders(binary) });
  }

  #repository(account, misbehaviour) {
    const { store, binaries, statistics, fhirUrl, settings } = this;
    return new SandboxRepository({ store, binaries, account, statistics, fhirUrl, settings, misbehaviour });
  }

  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
