/** `/__sandbox/…`: what the demo and the tests may ask and change. No Medplum server has this; loopback only. */
import { readBody, sendJson } from './wire.mjs';

const LOOPBACK = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1']);
/** Settings that may change while the server runs: what a project's or the server's administrator could change. */
const SETTINGS = {
  quota_per_minute: (value) => Number.isInteger(value) && value >= 0,
  token_lifetime_seconds: (value) => Number.isInteger(value) && value > 0,
  transactions: (value) => typeof value === 'boolean',
  strict: (value) => typeof value === 'boolean',
  // How long a write takes, and a search per 20 identifiers: no time at all unless somebody measures against it.
  write_ms: (value) => Number.isFinite(value) && value >= 0,
  search_ms: (value) => Number.isFinite(value) && value >= 0,
  bots: (value) => typeof value === 'boolean',
  bot_concurrency: (value) => Number.isInteger(value) && value >= 0,
};

/**
 * Answers a control request: stats, settings (POST, a partial object), faults (POST, a plan; {} for none), idle (POST,
 * answered when no request is being served), secrets (POST, the Bots': texts by name), advance (POST, { seconds } for
 * the quota windows), reset and refill (POST).
 */
export async function serveControl(sandbox, request, response, name) {
  if (!LOOPBACK.has(request.socket.remoteAddress)) {
    sendJson(response, 403, { error: 'The sandbox is controlled from its own machine only.' });
  } else if (request.method === 'GET' && name === 'stats') {
    sendJson(response, 200, sandbox.stats());
  } else if (request.method === 'POST' && name === 'settings') {
    await change(request, response, (wanted) => changeSettings(sandbox, wanted));
  } else if (request.method === 'POST' && name === 'secrets') {
    await change(request, response, (wanted) => changeSecrets(sandbox, wanted));
  } else if (request.method === 'POST' && name === 'faults') {
    await change(request, response, (wanted) => sandbox.faults.use(wanted));
  } else if (request.method === 'POST' && name === 'idle') {
    await sandbox.fhir.idle();
    sendJson(response, 200, { ok: true });
  } else if (request.method === 'POST' && name === 'advance') {
    await change(request, response, (wanted) => advance(sandbox, wanted));
  } else if (request.method === 'POST' && name === 'refill') {
    sandbox.refill();
    sendJson(response, 200, { ok: true });
  } else if (request.method === 'POST' && name === 'reset') {
    sandbox.reset();
    sendJson(response, 200, { ok: true });
  } else {
    sendJson(response, 404, { error: 'GET stats; POST settings, secrets, faults, idle, advance, refill or reset.' });
  }
}

/** Reads an object and hands it to `use`, which answers or throws an Error that says what is wrong with it. */
async function change(request, response, use) {
  try {
    const wanted = JSON.parse((await readBody(request)).toString('utf8') || '{}');
    sendJson(response, 200, use(wanted) ?? { ok: true });
  } catch (error) {
    sendJson(response, 400, { error: error instanceof SyntaxError ? 'A JSON object is needed.' : error.message });
  }
}

function changeSettings(sandbox, wanted) {
  const wrong = Object.keys(wanted).filter((name) => !SETTINGS[name]?.(wanted[name]));
  if (wrong.length > 0) {
    const known = Object.keys(SETTINGS).join(', ');
    throw new Error(`Unknown or unusable setting: ${wrong.join(', ')}. Known: ${known}.`);
  }
  return sandbox.change(wanted);
}

function changeSecrets(sandbox, wanted) {
  const wrong = Object.keys(wanted).filter((name) => typeof wanted[name] !== 'string');
  if (wrong.length > 0) {
    throw new Error(`Secrets are texts by name; these are none: ${wrong.join(', ')}.`);
  }
  sandbox.fhir.bots.secrets = Object.fromEntries(
    Object.entries(wanted).map(([name, valueString]) => [name, { name, valueString }])
  );
}

function advance(sandbox, { seconds }) {
  if (!(Number.isFinite(seconds) && seconds >= 0)) {
    throw new Error('seconds must be a number that is not negative.');
  }
  sandbox.advance(seconds * 1000);
}
