/**
 * Bots: `$deploy` and `$execute`, as the real server's source has them (differences.json says what nobody observed).
 *
 * Code runs in worker threads that are kept warm per version of a Bot, one execution at a time in each, as Lambdas
 * are; it may call anybody, this server included. `awslambda` and `vmcontext` differ in how they say that a Bot failed
 * or said nothing. Timers, Subscriptions that start Bots, AuditEvents and streaming are not here.
 */
import { Worker } from 'node:worker_threads';
import { allOk, badRequest, createReference, generateId, getStatus, notFound } from '@medplum/core';
import { notInSandbox, refuse } from './outcomes.mjs';

const PATH = /^\/Bot(?:\/([^/?]+))?\/(?:\$|%24)(execute|deploy)(?:\/[^?]*)?(?:\?(.*))?$/;
const WORKER = new URL('./bot_worker.mjs', import.meta.url);
/** A Lambda's, and a VM context's, unless the Bot says otherwise. */
const TIMEOUT_S = 10;
/** What is answered in the type it was asked in; everything else is answered as JSON. */
const TEXT = 'text/plain';

/** What a path wants of a Bot: { id, operation, query }, or undefined. */
export function botCall(path) {
  const [, id, operation, query] = PATH.exec(path) ?? [];
  return operation && { id, operation, query: new URLSearchParams(query) };
}

export class Bots {
  /** Version of a Bot -> workers that wait for work. */
  #idle = new Map();
  #running = 0;
  /** By name, as a project keeps them: { name, valueString }. */
  secrets = {};

  constructor(endpoint) {
    this.endpoint = endpoint;
  }

  /** Answers a call: an outcome for a deployment, { status, body, headers } for an execution. */
  async serve(call, { request, body }, repository) {
    if (call.operation === 'deploy') {
      return request.method === 'POST' ? this.#deploy(call, body, repository) : refuse(notFound);
    }
    const input = request.method === 'POST' ? body : Object.fromEntries(call.query);
    return this.#execute(call, request, input, repository);
  }

  /** Stores code as a Binary and has the Bot point at it: a new version of the Bot. */
  async #deploy(call, { code, filename = 'index.js' }, repository) {
    if (!code) {
      refuse(badRequest('Missing code'));
    }
    const bot = await repository.readResource('Bot', call.id ?? refuse(notFound));
    this.#refuseWhereOff();
    const contentType = 'text/javascript';
    const binary = repository.storeBinary({ resourceType: 'Binary', id: generateId(), contentType }, Buffer.from(code));
    const executableCode = { contentType, url: `Binary/${binary.id}`, title: filename };
    await repository.updateResource({ ...bot, executableCode });
    return [allOk];
  }

  /** Runs a Bot and answers with whatever it said. */
  async #execute(call, request, input, repository) {
    const bot = await this.#botOf(call, repository);
    const type = (request.headers['content-type'] ?? '').split(';')[0].trim();
    if (type.includes('hl7')) {
      refuse(notInSandbox('HL7 v2 as the input of a Bot'));
    }
    this.endpoint.statistics.executions += 1;
    const event = {
      bot: createReference(bot),
      contentType: type,
      input,
      secrets: this.secrets,
      requester: { reference: `ClientApplication/${this.endpoint.auth.clientId}` },
      headers: { ...request.headers, authorization: undefined },
    };
    const result = await this.#run(bot, event);
    const { success, value } = said(bot, result);
    if (value?.resourceType === 'Binary') {
      refuse(notInSandbox('Bots that answer with a Binary'));
    }
    const [body, own] = expressBody(value);
    const contentType = type === TEXT && !own ? TEXT : 'application/json';
    const headers = { 'Content-Type': `${contentType}; charset=utf-8` };
    return { status: getStatus(success ? allOk : badRequest('')), body, headers };
  }

  close() {
    [...this.#idle.values()].flat().forEach((worker) => worker.terminate());
    this.#idle.clear();
  }

  #refuseWhereOff() {
    if (!this.endpoint.settings.bots) {
      refuse(badRequest('Bots not enabled'));
    }
  }

  async #botOf({ id, query }, repository) {
    const identifier = query.get('identifier');
    if (!id && !identifier) {
      refuse(badRequest('Must specify bot ID or identifier.'));
    }
    // By its identifier it is searched for, which costs a search; the first one found is it.
    const filters = [{ code: 'identifier', operator: 'exact', value: identifier }];
    return id
      ? repository.readResource('Bot', id)
      : ((await repository.searchResources({ resourceType: 'Bot', filters, count: 1 }))[0] ?? refuse(notFound));
  }

  async #run(bot, event) {
    const { settings, store, binaries, auth, baseUrl } = this.endpoint;
    const failed = (log) => ({ success: false, log });
    if (!settings.bots) {
      return failed('Bots not enabled');
    }
    if (!['awslambda', 'vmcontext'].includes(bot.runtimeVersion)) {
      return failed('Unsupported bot runtime');
    }
    const [, codeId] = /^Binary\/([^/]+)$/.exec(bot.executableCode?.url ?? '') ?? [];
    const binary = codeId && store.get('Binary', codeId);
    if (!binary) {
      return failed(bot.executableCode?.url ? 'Executable code is not a Binary' : 'No executable code');
    }
    if (this.#running >= settings.bot_concurrency) {
      return failed('Rate Exceeded.');
    }
    this.#running += 1;
    try {
      const code = binaries.get(binary.meta.versionId).toString('utf8');
      const version = `${bot.id}/${bot.meta.versionId}`;
      const worker = this.#idle.get(version)?.pop() ?? new Worker(WORKER, { workerData: { code, baseUrl, runtime: bot.runtimeVersion } });
      return await this.#asked(worker, version, { event, accessToken: auth.tokenOfBot() }, bot.timeout ?? TIMEOUT_S);
    } finally {
      this.#running -= 1;
    }
  }

  /** What a worker answers; it is ended if it takes too long, and waits for more work otherwise. */
  #asked(worker, version, work, seconds) {
    return new Promise((resolve) => {
      const end = (result, isLasting) => {
        clearTimeout(timer);
        worker.off('message', answered).off('error', broken);
        if (isLasting) {
          this.#idle.set(version, [...(this.#idle.get(version) ?? []), worker]);
        } else {
          worker.terminate();
        }
        resolve(result);
      };
      const timer = setTimeout(() => end({ timedOut: seconds }, false), seconds * 1000);
      const answered = (result) => end(result, true);
      const broken = ({ name, message }) => end({ error: { name, message } }, false);
      worker.on('message', answered).on('error', broken);
      worker.unref();
      worker.postMessage(work);
    });
  }
}

/** What the server makes of an execution, by runtime: { success, value }. */
function said(bot, { success, log, json, error, outcome, timedOut }) {
  if (success === false) {
    return { success, value: badRequest(log) }; // it never ran
  }
  const isLambda = bot.runtimeVersion === 'awslambda';
  if (timedOut) {
    const text = `Task timed out after ${timedOut.toFixed(2)} seconds`;
    return { success: false, value: isLambda ? { errorType: 'Sandbox.Timedout', errorMessage: text } : badRequest(text) };
  }
  if (error) {
    const value = isLambda ? { errorType: error.name, errorMessage: error.message, trace: [] } : outcome;
    return { success: false, value: value ?? badRequest(error.message) };
  }
  // A Lambda says null where the handler said nothing.
  return { success: true, value: json === undefined ? (isLambda ? null : allOk) : JSON.parse(json) };
}

/** [body, whether it is JSON of express' own making], as express' `send` has it. */
function expressBody(value) {
  if (value === null) {
    return ['', false];
  }
  if (typeof value === 'string' || typeof value === 'number') {
    return [String(value), false];
  }
  return [JSON.stringify(value), true];
}
