/**
 * The two limiters of a Medplum server (contract, section 8): requests per address, FHIR points per client.
 *
 * A window is fixed and starts with its first point. What an operation costs stands in repository.mjs beside the
 * operation; the texts and numbers of a refusal stand here.
 */
import { OperationOutcomeError, tooManyRequests } from '@medplum/core';

const WINDOW_MS = 60_000;

/** What one operation costs, in points. */
export const COST = { read: 1, history: 10, search: 20, write: 100 };

/** Points spent since the window began; refills as a whole when it ends. */
export class FixedWindow {
  #consumed = 0;
  #ends = 0;

  constructor(limit, now = Date.now) {
    this.limit = limit;
    this.now = now;
  }

  /** Spends points even when there are none left: the real limiter counts refused attempts too. */
  consume(points) {
    const now = this.now();
    const isFirst = now >= this.#ends;
    if (isFirst) {
      this.#ends = now + WINDOW_MS;
      this.#consumed = 0;
    }
    this.#consumed += points;
    return {
      remaining: Math.max(0, this.limit - this.#consumed),
      msBeforeNext: this.#ends - now,
      consumed: this.#consumed,
      isFirst,
      exceeded: this.#consumed > this.limit,
    };
  }

  clear() {
    this.#ends = 0;
  }
}

/** One request's account with a window. Once the request has seen it empty, it is refused without spending more. */
export class Account {
  /** Points this request spent, refused attempts included. */
  spent = 0;

  constructor(window, name) {
    this.window = window;
    this.name = name;
  }

  charge(points) {
    if (this.state?.remaining === 0) {
      throw this.#refusal();
    }
    this.state = this.window.consume(points);
    this.spent += points;
    if (this.state.exceeded) {
      throw this.#refusal();
    }
  }

  /** Refuses as if the window were empty for so long, whatever it holds: for this request only. */
  throttle(msBeforeNext) {
    this.state = { remaining: 0, msBeforeNext, consumed: this.window.limit + 1, isFirst: false, exceeded: true };
    throw this.#refusal();
  }

  /** This account's part of the `RateLimit` header; empty when nothing was charged. */
  get header() {
    return this.state ? [`"${this.name}";r=${this.state.remaining};t=${Math.ceil(this.state.msBeforeNext / 1000)}`] : [];
  }

  #refusal() {
    const { remaining, msBeforeNext, consumed, isFirst } = this.state;
    const diagnostics = JSON.stringify({
      _remainingPoints: remaining,
      _msBeforeNext: msBeforeNext,
      _consumedPoints: consumed,
      _isFirstInDuration: isFirst,
      limit: this.window.limit,
    });
    return new OperationOutcomeError({
      ...tooManyRequests,
      issue: [{ ...tooManyRequests.issue[0], diagnostics }],
    });
  }
}
