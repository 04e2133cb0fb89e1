/**
 * What each fault does, as a real server, its proxies and the line do it (contract, sections 3, 4, 6 and 8).
 *
 * Where the server itself would have been misled (somebody else was faster), somebody else really writes here and
 * Medplum's own router says what follows. When a fault is due is faults.mjs'.
 */
import {
  badRequest,
  conflict,
  OperationOutcomeError,
  serverError,
  serverTimeout,
  stringify,
  unauthorized,
} from '@medplum/core';
import { FhirRouter } from '@medplum/fhir-router';
import { isOfWrites } from './faults.mjs';
import { refuse } from './outcomes.mjs';
import { COST } from './quota.mjs';
import { send } from './wire.mjs';

const THROTTLED_MS = 1000;
/** A client that has not given up by then never will. */
const PATIENCE_MS = 300_000;
const WRITES = new Set(['create', 'update', 'patch', 'delete']);
/** What stands between a client and a server says so in HTML; not observed, but no FHIR server answers these two. */
const PROXY_ANSWERS = { 502: 'Bad Gateway', 503: 'Service Temporarily Unavailable' };
const SERIALIZATION_FAILURE = 'could not serialize access due to read/write dependencies among transactions';

/** The misdeeds of one request: the fault of the request as a whole, and those of its writes. */
export class Misbehaviour {
  #inside = false;

  constructor(faults, plans, { request, response, path, body, isSeasoned, stranger }) {
    Object.assign(this, { faults, plans, request, response, stranger });
    this.bundleType = request.method === 'POST' && /^\/?(\?|$)/.test(path) ? String(body.type) : undefined;
    const isSearch = request.method === 'GET' || /\/_search(\?|$)/.test(path);
    const kind = this.bundleType ? 'bundles' : isSearch ? 'searches' : 'others';
    this.isHere = ({ on }) => on === 'any' || on === kind;
    this.fault = this.#draw(({ fault }) => {
      const isPossible = { 'fewer-entries': this.bundleType !== undefined, expire: isSeasoned }[fault] ?? true;
      return !isOfWrites(fault) && isPossible;
    });
  }

  /** Before the work: true when there is to be none and the request is dealt with. May throw an outcome. */
  async begin({ account, auth }) {
    const { fault: kind, after_work: isAfterWork, wait_ms: waitMs } = this.fault ?? {};
    if (!kind) {
      return false;
    }
    this.faults.count(kind);
    if (kind === 'reset') {
      this.response.socket.resetAndDestroy();
      return true;
    } else if (kind === 'too-many-requests') {
      account.throttle(waitMs ?? THROTTLED_MS);
    } else if (kind === 'expire') {
      auth.logout(this.request.headers.authorization);
      refuse(unauthorized);
    } else if (kind.startsWith('status-') && !isAfterWork) {
      this.#fail();
      return true;
    } else if (kind === 'late') {
      await hungUp(this.response, waitMs ?? PATIENCE_MS);
    } else {
      intercept(this.response, (...answer) => this.#spoil(...answer));
    }
    return false;
  }

  /** Around one write: `work` does it and answers. */
  async write(route, routed, repository, work) {
    const isNested = route.path === '';
    if (this.#inside || !(isNested || WRITES.has(route.data?.interaction))) {
      return work();
    }
    const fault = this.#draw(({ fault: kind }) => isOfWrites(kind) && this.#couldBe(kind, isNested, routed));
    this.#inside = true;
    try {
      if (fault) {
        await this.#wrong(fault, routed, repository);
      }
      return await work();
    } finally {
      this.#inside = false;
    }
  }

  #draw(couldBe) {
    for (const plan of this.plans) {
      const fault = plan.draw((each) => this.isHere(each) && couldBe(each));
      if (fault) {
        return fault;
      }
    }
    return undefined;
  }

  #couldBe(kind, isNested, { body, headers, params, query }) {
    switch (kind) {
      case 'lost-race': // a conditional update of a bundle that found nothing when the bundle began
        return Boolean(!isNested && this.bundleType === 'batch' && body?.id && !params.id && query?.identifier);
      case 'assigned-id-taken':
        return isNested || this.bundleType === 'transaction';
      case 'overtaken':
      case 'edited':
        // In a transaction somebody else's write would be rolled back with it.
        return Boolean(!isNested && this.bundleType !== 'transaction' && params.id && headers['if-match']);
      default:
        return true;
    }
  }

  /** Throws what the write is answered, or lets somebody else write first and leaves the answer to the router. */
  async #wrong({ fault: kind, wait_ms: waitMs }, { body, params }, repository) {
    if (kind === 'throttled') {
      this.faults.count(kind);
      repository.account.throttle(waitMs ?? THROTTLED_MS);
    }
    if (['lost-race', 'overtaken', 'edited'].includes(kind)) {
      await this.#somebodyElse(kind, body, params);
      return;
    }
    repository.account.charge(COST.write); // the attempt costs what a good one does
    this.faults.count(kind);
    const outcomes = {
      conflict: conflict(SERIALIZATION_FAILURE, '40001'),
      'assigned-id-taken': badRequest('Assigned ID is already in use'),
      'write-failed': serverError(new Error('Connection terminated unexpectedly')),
      'write-timed-out': serverTimeout(),
    };
    refuse(outcomes[kind]);
  }

  async #somebodyElse(kind, body, { resourceType, id }) {
    const before = id && (await this.stranger.readResource(resourceType, id));
    const tag = [...(before?.meta.tag ?? []), { system: 'urn:sandbox', code: 'edited' }];
    const written = {
      'lost-race': () => this.stranger.createResource(structuredClone(body)),
      overtaken: () => this.stranger.updateResource(structuredClone(body)),
      edited: () => this.stranger.updateResource({ ...before, meta: { ...before.meta, tag } }),
    };
    try {
      const after = await written[kind]();
      if (after.meta.versionId !== before?.meta.versionId) {
        this.faults.count(kind);
      }
    } catch (error) {
      if (!(error instanceof OperationOutcomeError)) {
        throw error; // what nobody may write is refused to the client itself in a moment
      }
    }
  }

  /** Gives away what the work was answered with, but not as it is. */
  #spoil(status, headers, body) {
    const { fault: kind } = this.fault;
    if (kind === 'drop') {
      this.response.destroy();
    } else if (kind === 'truncate') {
      this.response.writeHead(status, { ...headers, 'Content-Length': Buffer.byteLength(body) });
      this.response.write(body.slice(0, body.length / 2), () => this.response.destroy());
    } else if (kind === 'fewer-entries') {
      const answer = JSON.parse(body || '{}');
      answer.entry?.pop();
      send(this.response, status, stringify(answer), headers);
    } else {
      this.#fail();
    }
  }

  #fail() {
    const status = Number(this.fault.fault.slice('status-'.length));
    const text = PROXY_ANSWERS[status];
    if (text) {
      const title = `${status} ${text}`;
      const page = `<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`;
      send(this.response, status, page, { 'Content-Type': 'text/html' });
      return;
    }
    const outcome = status === 504 ? serverTimeout() : serverError(new Error('Connection terminated unexpectedly'));
    const headers = { 'Content-Type': 'application/fhir+json; charset=utf-8' };
    send(this.response, status, stringify(outcome), headers);
  }
}

/** Medplum's router, with a door at every write. */
export class FaultyRouter extends FhirRouter {
  find(method, url) {
    const route = super.find(method, url);
    const handler = (request, repository, router, options) => {
      const work = () => route.handler(request, repository, router, options);
      const isWholeBundle = route.path === '' && !options?.batch;
      return isWholeBundle ? work() : repository.misbehaviour.write(route, request, repository, work);
    };
    return route && { ...route, handler };
  }
}

/** Until the client has closed its connection. */
function hungUp(response, patienceMs) {
  if (response.destroyed) {
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, patienceMs);
    response.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Hands the finished answer (status, headers, body) to `give` instead of the client. */
function intercept(response, give) {
  let head;
  response.writeHead = (...args) => {
    head = args;
    return response;
  };
  response.end = (body = '') => {
    delete response.writeHead;
    delete response.end;
    give(...head, body);
    return response;
  };
}
