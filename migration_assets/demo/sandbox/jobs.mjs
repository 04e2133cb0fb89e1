/**
 * Batches carried out in the server's own time (contract, section 9): handed in, asked for, cancelled.
 *
 * A job lives in memory only. Unlike the real server's it does not wait for quota: it spends beyond it.
 */
import { accepted, allOk, badRequest, generateId, isOk, normalizeOperationOutcome, notFound } from '@medplum/core';
import { refuse } from './outcomes.mjs';
import { Account } from './quota.mjs';

/** Of a job's body; other requests have 1 MiB. */
export const JOB_BODY_LIMIT = 50 * 1024 * 1024;
const STATUS_PATH = /^\/job\/([^/?]+)\/status$/;

/** Exactly this: with a second preference beside it the real server carries the batch out at once. */
export function wantsJob(request, path) {
  return request.method === 'POST' && /^\/?(\?|$)/.test(path) && request.headers.prefer === 'respond-async';
}

/** The id of the job a path asks about. */
export function jobOf(path) {
  return STATUS_PATH.exec(path)?.[1];
}

/** An account that is never refused: a real job waits until the points are there. */
export class PatientAccount extends Account {
  charge(points) {
    this.state = this.window.consume(points);
    this.spent += points;
  }

  throttle() {}
}

export class Jobs {
  #jobs = new Map();

  constructor(fhirUrl) {
    this.fhirUrl = fhirUrl;
  }

  /** Takes a batch; `work` answers [outcome, bundle], `store` keeps a result and answers its reference. */
  begin(body, isAtomic, work, store) {
    if (body.type === 'transaction' && isAtomic) {
      refuse(badRequest('Transaction batches cannot be executed asynchronously', 'Bundle.type'));
    }
    const job = {
      resourceType: 'AsyncJob',
      status: 'accepted',
      request: this.fhirUrl.replace(/\/$/, ''),
      requestTime: new Date().toISOString(),
      id: generateId(),
      meta: {},
    };
    this.#jobs.set(job.id, job);
    this.#touch(job);
    const url = `${this.fhirUrl}job/${job.id}/status`;
    return { url, outcome: accepted(url), done: this.#run(job, work, store) };
  }

  /** [outcome, AsyncJob]: 202 until it has ended. A cancelled one runs on, as on the real server. */
  status(id, isCancelling) {
    const job = this.#jobs.get(id) ?? refuse(notFound);
    if (isCancelling) {
      job.status = job.status === 'accepted' ? 'cancelled' : job.status;
      this.#touch(job);
      return [accepted('')];
    }
    const isOver = job.status === 'completed' || job.status === 'error';
    return [isOver ? allOk : accepted(''), job];
  }

  clear() {
    this.#jobs.clear();
  }

  async #run(job, work, store) {
    const [outcome, result] = await work().catch((error) => [normalizeOperationOutcome(error)]);
    const parameter = isOk(outcome)
      ? { name: 'results', valueReference: { reference: store(result) } }
      : { name: 'outcome', resource: outcome };
    job.status = isOk(outcome) ? 'completed' : 'error';
    job.output = { resourceType: 'Parameters', parameter: [parameter] };
    job.transactionTime = new Date().toISOString();
    this.#touch(job);
  }

  #touch(job) {
    job.meta = { versionId: generateId(), lastUpdated: new Date().toISOString() };
  }
}
