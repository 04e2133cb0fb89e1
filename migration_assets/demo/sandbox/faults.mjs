/**
 * Which fault is due when: plans, their dice, and the count of what was given. Off until somebody sends a plan.
 *
 * A plan is `{seed, faults: [{fault, rate | at, on, after_work, wait_ms}]}`. An occurrence is a request or an entry that
 * could have the fault; `at` lists occurrences (the first is 1), `rate` throws a seeded die for each. What a fault does
 * is misbehaviour.mjs'.
 */
import { createHash } from 'node:crypto';

/** Faults of one write: an entry of a bundle (a nested transaction is one entry), or a request that is no bundle. */
const OF_WRITES = [
  'conflict',
  'lost-race',
  'assigned-id-taken',
  'throttled',
  'overtaken',
  'edited',
  'write-failed',
  'write-timed-out',
];
/** Faults of a whole request. */
const OF_REQUESTS = [
  'too-many-requests',
  'status-500',
  'status-502',
  'status-503',
  'status-504',
  'expire',
  'reset',
  'drop',
  'truncate',
  'fewer-entries',
  'late',
];
const KINDS = new Set([...OF_WRITES, ...OF_REQUESTS]);
const PROPERTIES = {
  fault: (value) => KINDS.has(value),
  rate: (value) => typeof value === 'number' && value >= 0 && value <= 1,
  at: (value) => Array.isArray(value) && value.every((each) => Number.isInteger(each) && each > 0),
  on: (value) => ['any', 'bundles', 'searches', 'others'].includes(value),
  after_work: (value) => typeof value === 'boolean',
  wait_ms: (value) => Number.isInteger(value) && value >= 0,
};
const DEFAULTS = { on: 'any', after_work: false };

export function isOfWrites(kind) {
  return OF_WRITES.includes(kind);
}

/** One plan and how often each of its faults could have been given. Throws an Error that says what is unusable. */
export class Plan {
  constructor({ seed = 0, faults = [] }) {
    if (!Number.isInteger(seed) || !Array.isArray(faults)) {
      throw new Error('A plan has an integer seed and a list of faults.');
    }
    this.seed = seed;
    this.faults = faults.map((fault) => ({ ...DEFAULTS, ...checked(fault) }));
    this.occurrences = this.faults.map(() => 0);
  }

  /** The first fault that could happen here, by `couldBe`, and is due; undefined for none. */
  draw(couldBe) {
    return this.faults.find((fault, index) => {
      if (!couldBe(fault)) {
        return false;
      }
      this.occurrences[index] += 1;
      const occurrence = this.occurrences[index];
      return fault.at ? fault.at.includes(occurrence) : this.#die(index, occurrence) < (fault.rate ?? 1);
    });
  }

  /** In [0, 1), the same for the same seed, fault and occurrence, whatever else happened. */
  #die(index, occurrence) {
    const digest = createHash('sha256').update(`${this.seed}:${index}:${occurrence}`).digest();
    return digest.readUInt32BE(0) / 2 ** 32;
  }
}

/** The sandbox's plan, the faults asked for by one request's header, and the count of both. */
export class Faults {
  /** kind -> how often it was given */
  given = {};
  #plan = new Plan({});

  use(plan) {
    this.#plan = new Plan(plan);
  }

  /** Plans for one request, its own first. Throws an Error when the header is unusable. */
  plansFor(header) {
    return header === undefined ? [this.#plan] : [new Plan({ faults: fromHeader(header) }), this.#plan];
  }

  count(kind) {
    this.given[kind] = (this.given[kind] ?? 0) + 1;
  }
}

/** `drop`, or a fault as in a plan, or a list of them. */
function fromHeader(header) {
  return /^[a-z0-9-]+$/.test(header) ? [{ fault: header }] : [JSON.parse(header)].flat();
}

function checked(fault) {
  const wrong = Object.keys(fault).filter((name) => !PROPERTIES[name]?.(fault[name]));
  if (!fault.fault || wrong.length > 0) {
    const known = [...KINDS].join(', ');
    throw new Error(`Unknown or unusable in a fault: ${wrong.join(', ') || 'no fault'}. Faults: ${known}.`);
  }
  return fault;
}
