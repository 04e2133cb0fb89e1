/** `/__sandbox/…`: what the demo and the tests may ask and change. No Medplum server has this; loopback only. */
import { readBody, sendJson } from './wire.mjs';

const LOOPBACK = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1']);
/** Settings that may change while the server runs: what a project's or the server's administrator could change. */
const SETTINGS = {
  quota_per_minute: (value) => Number.isInteger(value) && value >= 0,
  token_lifetime_seconds: (value) => Number.isInteger(value) && value > 0,
  transactions: (value) => typeof value === 'boolean',
  strict: (value) => typeof value === 'boolean',
};

/** Answers a control request: stats, settings (POST, a partial object), reset and refill (POST). */
export async function serveControl(sandbox, request, response, name) {
  if (!LOOPBACK.has(request.socket.remoteAddress)) {
    sendJson(response, 403, { error: 'The sandbox is controlled from its own machine only.' });
  } else if (request.method === 'GET' && name === 'stats') {
    sendJson(response, 200, sandbox.stats());
  } else if (request.method === 'POST' && name === 'settings') {
    await changeSettings(sandbox, request, response);
  } else if (request.method === 'POST' && name === 'refill') {
    sandbox.refill();
    sendJson(response, 200, { ok: true });
  } else if (request.method === 'POST' && name === 'reset') {
    sandbox.reset();
    sendJson(response, 200, { ok: true });
  } else {
    sendJson(response, 404, { error: 'GET stats; POST settings, refill or reset.' });
  }
}

async function changeSettings(sandbox, request, response) {
  let change;
  try {
    change = JSON.parse((await readBody(request)).toString('utf8') || '{}');
  } catch {
    sendJson(response, 400, { error: 'Settings are a JSON object.' });
    return;
  }
  const wrong = Object.keys(change).filter((name) => !SETTINGS[name]?.(change[name]));
  if (wrong.length > 0) {
    const known = Object.keys(SETTINGS).join(', ');
    sendJson(response, 400, { error: `Unknown or unusable setting: ${wrong.join(', ')}. Known: ${known}.` });
    return;
  }
  sendJson(response, 200, sandbox.change(change));
}
